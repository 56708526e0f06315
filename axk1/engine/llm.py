"""``LLM``: a checkpoint that writes and scores text, in this process.

Shapes: B sequences, T tokens, V vocab_size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from axk1.core.config import require
from axk1.core.errors import TokenizerMismatch
from axk1.core.language_model import Generation, TextScore
from axk1.engine.cache import ContiguousCache
from axk1.engine.sampler import sample
from axk1.model.checkpoint import load_model
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer

_SCORED_TOKENS = 4096
"""Most tokens that one pass of ``score`` holds, padding counted."""
_LOGIT_ROWS = 1024
"""Most positions whose logits exist at once."""


@dataclass
class _Sequence:
    """One text being written."""

    index: int
    prompt: list[int]
    generator: torch.Generator
    output: list[int] = field(default_factory=list)
    finish_reason: str = "length"


class LLM:
    """A model and its tokenizer, behind the ``LanguageModel`` protocol. Make one with ``LLM.load(folder)``."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, *, max_batch: int = 64, top_p: float = 1.0) -> None:
        """
        Args:
            model: the network, on the device where it shall run.
            tokenizer: the tokenizer that it was trained with.
            max_batch: most texts written at once.
            top_p: nucleus of sampling at temperatures above 0.
        """
        require(max_batch > 0, "max_batch", max_batch, "a positive number")
        require(0 < top_p <= 1, "top_p", top_p, "above 0, at most 1")
        if tokenizer.vocab_size > model.config.vocab_size:
            raise TokenizerMismatch(
                f"the tokenizer has {tokenizer.vocab_size} entries, the model's embedding {model.config.vocab_size}"
            )
        self.model, self.tokenizer, self.max_batch, self.top_p = model.eval(), tokenizer, max_batch, top_p
        self.device = next(model.parameters()).device

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "cpu", dtype: torch.dtype | None = None, **options: int
    ) -> "LLM":
        """Opens a checkpoint folder with its tokenizer. Raises ArtifactError with what is wrong with it."""
        return cls(load_model(folder, device=device, dtype=dtype), Tokenizer.load(folder), **options)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Generation]:
        """Continues each prompt until it ends, meets a stop string or has ``max_tokens`` new tokens."""
        results: dict[int, Generation] = {}
        sequences = [self._sequence(i, prompt, seed) for i, prompt in enumerate(prompts)]
        sequences.sort(key=lambda s: len(s.prompt))  # neighbours of one length need little padding
        for start in range(0, len(sequences), self.max_batch):
            batch = sequences[start : start + self.max_batch]
            for sequence in self._write(batch, max_tokens, temperature, stop):
                results[sequence.index] = self._finished(sequence, stop)
        return [results[i] for i in range(len(prompts))]

    def stream(
        self, prompt: str, *, max_tokens: int, temperature: float = 0.0, stop: Sequence[str] = (), seed: int = 0
    ) -> Iterator[str]:
        """Continues one prompt and yields whole characters as they appear, never past a stop string."""
        sequence, shown = self._sequence(0, prompt, seed), 0
        held = max(map(len, stop), default=1) - 1  # a stop string may have begun at the end
        for _ in self._steps([sequence], max_tokens, temperature, stop):
            text = self._text(sequence, stop)
            safe = len(text.rstrip("\ufffd")) - held
            if safe > shown:
                yield text[shown:safe]
                shown = safe
        rest = self._text(sequence, stop)[shown:]
        if rest:
            yield rest

    @torch.inference_mode()
    def score(self, texts: Sequence[str]) -> list[TextScore]:
        """The log-likelihood of each text. Texts beyond the context are scored in pieces."""
        window = self.model.config.max_position_embeddings - 1
        tokens = [self.tokenizer.encode(text, special=False) for text in texts]
        pieces = [(i, ids[k : k + window]) for i, ids in enumerate(tokens) for k in range(0, len(ids), window)]
        pieces.sort(key=lambda piece: len(piece[1]))
        sums = [0.0] * len(texts)
        while pieces:
            rows = max(1, _SCORED_TOKENS // (len(pieces[-1][1]) + 1))
            batch, pieces = pieces[-rows:], pieces[:-rows]
            for (i, _), value in zip(batch, self._log_likelihoods([ids for _, ids in batch]), strict=True):
                sums[i] += value
        sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
        return [TextScore(s, len(ids), size) for s, ids, size in zip(sums, tokens, sizes, strict=True)]

    def _log_likelihoods(self, batch: list[list[int]]) -> list[float]:
        """Log-likelihood of each token list, given the begin-of-text token. The last list is the longest."""
        width = len(batch[-1])
        inputs_BT = torch.full((len(batch), width), self.tokenizer.bos_id)
        targets_BT = torch.full((len(batch), width), -1)
        for row, ids in enumerate(batch):
            targets_BT[row, : len(ids)] = torch.tensor(ids)
            inputs_BT[row, 1 : len(ids)] = torch.tensor(ids[:-1])
        targets_BT = targets_BT.to(self.device)
        states_BTH = self.model.hidden(inputs_BT.to(self.device)).states_BTH
        scored = targets_BT >= 0
        states_NH, targets_N = states_BTH[scored], targets_BT[scored]
        parts = []
        for start in range(0, targets_N.numel(), _LOGIT_ROWS):
            logits = (states_NH[start : start + _LOGIT_ROWS] @ self.model.output_weight.T).float()
            chosen = logits.gather(1, targets_N[start : start + _LOGIT_ROWS, None]).squeeze(1)
            parts.append(chosen - logits.logsumexp(dim=-1))
        values = torch.zeros(targets_BT.shape, dtype=torch.float64, device=self.device)
        values[scored] = torch.cat(parts).double()
        return values.sum(1).tolist()

    def _sequence(self, index: int, prompt: str, seed: int) -> _Sequence:
        ids = self.tokenizer.encode(prompt)
        room = self.model.config.max_position_embeddings
        require(0 < len(ids) < room, "prompt", f"{len(ids)} tokens", f"1 to {room - 1} tokens, the model's context")
        return _Sequence(index, ids, torch.Generator(self.device).manual_seed(seed * 1_000_003 + index))

    def _write(
        self, batch: list[_Sequence], max_tokens: int, temperature: float, stop: Sequence[str]
    ) -> list[_Sequence]:
        for _ in self._steps(batch, max_tokens, temperature, stop):
            pass
        return batch

    @torch.inference_mode()
    def _steps(
        self, batch: list[_Sequence], max_tokens: int, temperature: float, stop: Sequence[str]
    ) -> Iterator[None]:
        """Writes one token of every unfinished sequence per step."""
        longest = max(len(s.prompt) for s in batch)
        limit = min(max_tokens, self.model.config.max_position_embeddings - longest)
        cache = ContiguousCache(len(batch), longest + limit)
        tokens_BT, positions_BT, segments_BT = self._left_padded(batch, longest)
        active = list(batch)
        for step in range(limit):
            states_BTH = self.model.hidden(tokens_BT, positions_BT, segments_BT, cache).states_BTH
            logits_BV = (states_BTH[:, -1] @ self.model.output_weight.T)[:, : self.tokenizer.vocab_size]
            generators = [s.generator for s in active]
            chosen_B = sample(logits_BV, temperature=temperature, top_p=self.top_p, generators=generators)
            for sequence, token in zip(active, chosen_B.tolist(), strict=True):
                sequence.output.append(token)
            yield
            going_on = [row for row, s in enumerate(active) if not self._ends(s, stop)]
            if not going_on or step == limit - 1:
                return
            tokens_BT, positions_BT = chosen_B[:, None], positions_BT[:, -1:] + 1
            if len(going_on) < len(active):
                rows = torch.tensor(going_on, device=self.device)
                cache.keep(rows)
                tokens_BT, positions_BT = tokens_BT[rows], positions_BT[rows]
                active = [active[row] for row in going_on]
            segments_BT = torch.ones_like(tokens_BT)

    def _left_padded(self, batch: list[_Sequence], width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Prompts aligned at their ends, with the padding in a segment of its own."""
        tokens_BT = torch.full((len(batch), width), self.tokenizer.eos_id)
        positions_BT, segments_BT = torch.zeros_like(tokens_BT), torch.zeros_like(tokens_BT)
        for row, sequence in enumerate(batch):
            start = width - len(sequence.prompt)
            tokens_BT[row, start:] = torch.tensor(sequence.prompt)
            positions_BT[row, start:] = torch.arange(len(sequence.prompt))
            segments_BT[row, start:] = 1
        return tokens_BT.to(self.device), positions_BT.to(self.device), segments_BT.to(self.device)

    def _ends(self, sequence: _Sequence, stop: Sequence[str]) -> bool:
        if sequence.output[-1] in self.tokenizer.stop_ids:
            sequence.finish_reason = "stop"
        elif stop:
            text = self.tokenizer.decode(sequence.output)
            if any(s in text for s in stop):
                sequence.finish_reason = "stop"
        return sequence.finish_reason == "stop"

    def _text(self, sequence: _Sequence, stop: Sequence[str]) -> str:
        """The text so far, cut before the token or string that ended it."""
        ended = sequence.output and sequence.output[-1] in self.tokenizer.stop_ids
        text = self.tokenizer.decode(sequence.output[:-1] if ended else sequence.output)
        cuts = [text.index(s) for s in stop if s in text]
        return text[: min(cuts)] if cuts else text

    def _finished(self, sequence: _Sequence, stop: Sequence[str]) -> Generation:
        return Generation(
            text=self._text(sequence, stop),
            prompt_tokens=len(sequence.prompt),
            completion_tokens=len(sequence.output),
            finish_reason=sequence.finish_reason,
        )
