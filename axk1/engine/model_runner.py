"""``ModelRunner``: puts the scheduled tokens of all sequences through the network in one pass.

Shapes: T tokens of a pass, H hidden_size, V vocab_size.
"""

import torch
from torch import Tensor

from axk1.engine.paged_cache import PagedCache, order
from axk1.engine.sampler import logprobs, sample
from axk1.engine.scheduler import Scheduled
from axk1.engine.sequence import Sequence
from axk1.model.transformer import Transformer

_LOGIT_ROWS = 256
"""Most prompt positions whose logits exist at once."""


class ModelRunner:
    """The network, its paged cache and the sampler."""

    def __init__(self, model: Transformer, num_blocks: int, block_size: int, vocab_size: int) -> None:
        """Args: num_blocks, block_size: size of the cache; vocab_size: entries of the tokenizer."""
        self._model, self._vocab_size = model.eval(), vocab_size
        self._device = model.output_weight.device
        self._cache = PagedCache(model.config, num_blocks, block_size, model.embed_tokens.weight)

    @torch.inference_mode()
    def run(self, scheduled: list[Scheduled]) -> list[tuple[Sequence, int]]:
        """One pass. Returns the next token of every sequence that the pass brought to its end.

        Log-probabilities that a sequence asks for are appended to it; the token itself is left to the caller.
        """
        scheduled = order(scheduled)
        states_TH = self._forward(scheduled)
        ends, start = [], 0
        for part in scheduled:
            self._score_prompt(part, states_TH[start : start + part.num_tokens])
            start += part.num_tokens
            ends.append(start - 1)
        rows = [(end, part.sequence) for end, part in zip(ends, scheduled, strict=True) if part.samples]
        if not rows:
            return []
        logits_BV = states_TH[[end for end, _ in rows]] @ self._model.output_weight.T
        sequences = [sequence for _, sequence in rows]
        tokens = sample(logits_BV, sequences, self._vocab_size)
        self._record(logits_BV, sequences, tokens)
        return list(zip(sequences, tokens, strict=True))

    def _forward(self, scheduled: list[Scheduled]) -> Tensor:
        tokens: list[int] = []
        positions: list[int] = []
        for sequence, count in scheduled:
            start = sequence.num_computed_tokens
            tokens += sequence.token_ids[start : start + count]
            positions += range(start, start + count)
        self._cache.plan(scheduled)
        tokens_1T = torch.tensor([tokens], device=self._device)
        positions_1T = torch.tensor([positions], device=self._device)
        return self._model.hidden(tokens_1T, positions_1T, cache=self._cache).states_BTH[0]

    def _score_prompt(self, part: Scheduled, states_TH: Tensor) -> None:
        """Pools the states that are asked for, and appends the log-probabilities of the prompt tokens that follow the
        chunk's, but for those known already."""
        sequence, first = part.sequence, part.sequence.num_computed_tokens
        if sequence.pooler is not None:
            sequence.pooler.add(first, states_TH)
        if not sequence.wants_prompt_logprobs:
            return
        start = len(sequence.prompt_logprobs)  # the state at position p predicts the token at p + 1
        stop = min(first + part.num_tokens, sequence.num_prompt_tokens - 1)
        for place in range(start, stop, _LOGIT_ROWS):
            end = min(place + _LOGIT_ROWS, stop)
            logits = states_TH[place - first : end - first] @ self._model.output_weight.T
            tokens = sequence.token_ids[place + 1 : end + 1]
            sequence.prompt_logprobs += logprobs(logits, tokens, sequence.params.prompt_logprobs)

    @staticmethod
    def _record(logits_BV: Tensor, sequences: list[Sequence], tokens: list[int]) -> None:
        asked = [row for row, sequence in enumerate(sequences) if sequence.params.logprobs is not None]
        if asked:
            most = max(sequences[row].params.logprobs for row in asked)
            found = logprobs(logits_BV[asked], [tokens[row] for row in asked], most)
            for row, each in zip(asked, found, strict=True):
                count = sequences[row].params.logprobs
                sequences[row].logprobs.append(each._replace(top=each.top[:count]))
