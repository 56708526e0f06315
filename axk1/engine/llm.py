"""``LLM``: a checkpoint that writes and scores text, in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from axk1.core.config import from_dict, require
from axk1.core.language_model import Generation, TextScore
from axk1.engine import sequence
from axk1.engine.config import EngineConfig
from axk1.engine.llm_engine import LLMEngine
from axk1.engine.quantised.folder import open_model
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.scoring import score
from axk1.engine.sequence import TokenLogprobs
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Completion(Generation):
    """One generated text with its tokens."""

    token_ids: tuple[int, ...]
    """The generated tokens, the one that ended the text included."""
    logprobs: tuple[TokenLogprobs, ...] | None
    """One entry per token; None unless asked for."""
    prompt_logprobs: tuple[TokenLogprobs, ...] | None
    """One entry per token of the prompt but the first; None unless asked for."""
    cached_tokens: int
    """Tokens of the prompt that the prefix cache held."""
    stop_reason: str | int | None
    """The stop string, or the token among ``stop_token_ids``, that ended the text."""


class LLM:
    """A model and its tokenizer, behind the ``LanguageModel`` protocol. Make one with ``LLM.load(folder)``.

    Attributes:
        engine: what does the work; ``LLMEngine`` explains it.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, **options: Any) -> None:
        """
        Args:
            model: the network, on the device where it shall run.
            tokenizer: the tokenizer that it was trained with.
            options: fields of ``EngineConfig``.
        """
        self.model, self.tokenizer = model, tokenizer
        self.engine = LLMEngine(model, tokenizer, from_dict(EngineConfig, options))
        self._count = 0

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "cpu", dtype: torch.dtype | None = None, **options: Any
    ) -> "LLM":
        """Opens a checkpoint folder with its tokenizer. Raises ArtifactError with what is wrong with it."""
        model = open_model(folder, device=device, dtype=dtype)
        return cls(model, Tokenizer.load(folder), **options)

    def generate(
        self,
        prompts: Sequence[str | Sequence[int]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Completion]:
        """Continues each prompt until it ends, meets a stop string or has ``max_tokens`` new tokens.

        Args:
            prompts: rendered texts or token ids.
            sampling_params: how to write, for all prompts or one for each; the other arguments are then left out.
                With ``n`` above 1 the ``n`` texts of a prompt stand one after another.
            max_tokens, temperature, stop, seed: as in ``LanguageModel``; each prompt draws numbers of its own.
        """
        if sampling_params is not None:
            require(max_tokens is None, "max_tokens", max_tokens, "nothing beside sampling_params")
        if sampling_params is None:
            seeds = (seed * 1_000_003 + place for place in range(len(prompts)))
            chosen = [_params(max_tokens, temperature, stop, one) for one in seeds]
        else:
            each_its_own = not isinstance(sampling_params, SamplingParams)
            chosen = list(sampling_params) if each_its_own else [sampling_params] * len(prompts)
            require(
                len(chosen) == len(prompts), "sampling_params", len(chosen), f"one, or {len(prompts)} as the prompts"
            )
        waiting = list(zip(prompts, chosen, strict=True))
        for prompt, params in waiting:
            self.engine.check(self._ids(prompt), params)  # all of them, before any is written
        sequences = [each for prompt, params in waiting for each in self._add(prompt, params)]
        try:
            while any(each.finish_reason is None for each in sequences):
                self.engine.step()
        finally:
            self._abort(sequences)
        return [_completion(each) for each in sequences]

    def stream(
        self, prompt: str, *, max_tokens: int, temperature: float = 0.0, stop: Sequence[str] = (), seed: int = 0
    ) -> Iterator[str]:
        """Continues one prompt and yields whole characters as they appear, never past a stop string."""
        sequences, shown = self._add(prompt, _params(max_tokens, temperature, stop, seed * 1_000_003)), 0
        try:
            while sequences[0].finish_reason is None:
                self.engine.step()
                text = sequences[0].detokenizer.text
                if len(text) > shown:
                    yield text[shown:]
                    shown = len(text)
        finally:
            self._abort(sequences)

    def score(self, texts: Sequence[str]) -> list[TextScore]:
        """The log-likelihood of each text. Texts beyond the context are scored in pieces."""
        return score(self.model, self.tokenizer, texts)

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        return self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)

    def _add(self, prompt: str | Sequence[int], params: SamplingParams) -> list[sequence.Sequence]:
        self._count += 1
        return self.engine.add_request(str(self._count), self._ids(prompt), params)

    def _abort(self, sequences: list[sequence.Sequence]) -> None:
        for each in sequences:
            if each.finish_reason is None:
                self.engine.abort_request(each.request_id)


def _params(max_tokens: int | None, temperature: float, stop: Sequence[str], seed: int) -> SamplingParams:
    return SamplingParams(max_tokens=max_tokens, temperature=temperature, stop=tuple(stop), seed=seed)


def _completion(written: sequence.Sequence) -> Completion:
    params = written.params
    return Completion(
        text=written.detokenizer.text,
        prompt_tokens=written.num_prompt_tokens,
        completion_tokens=written.num_output_tokens,
        finish_reason=str(written.finish_reason),
        token_ids=tuple(written.output_token_ids),
        logprobs=None if params.logprobs is None else tuple(written.logprobs),
        prompt_logprobs=None if params.prompt_logprobs is None else tuple(written.prompt_logprobs),
        cached_tokens=written.num_cached_tokens or 0,
        stop_reason=written.stop_reason,
    )
