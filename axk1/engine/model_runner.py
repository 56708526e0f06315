"""``ModelRunner``: puts the scheduled tokens of all sequences through the network in one pass.

Shapes: T tokens of a pass, H hidden_size, V vocab_size.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from axk1.engine.kernel.decoder import Decoder
from axk1.engine.paged_cache import PagedCache, order
from axk1.engine.sampler import logprobs, sample
from axk1.engine.scheduler import Scheduled
from axk1.engine.sequence import Sequence
from axk1.model.transformer import Transformer

_LOGIT_ROWS = 256
"""Most prompt positions whose logits exist at once."""


class Verified(NamedTuple):
    """What a pass tells of a part that it brought to the end of its sequence."""

    part: Scheduled
    token_ids: list[int]
    """The next tokens: the drafted ones that are right, and the one behind them."""


class _Place(NamedTuple):
    """A token to choose: the state that predicts it, and what stands before it."""

    row: int
    sequence: Sequence
    ahead: tuple[int, ...]
    """Drafted tokens between the sequence's own and this one."""


class ModelRunner:
    """The network, its paged cache and the sampler.

    Attributes:
        cache: the paged cache.
        observe: is shown the parts of every pass, their states [T, H] and what was verified.
    """

    def __init__(
        self,
        model: Transformer,
        num_blocks: int,
        block_size: int,
        vocab_size: int,
        *,
        extra_layers: int = 0,
        enforce_eager: bool = False,
    ) -> None:
        """
        Args:
            model: the network.
            num_blocks, block_size, extra_layers: size of the cache.
            vocab_size: entries of the tokenizer.
            enforce_eager: leave the kernel out.
        """
        self._model, self._vocab_size = model.eval(), vocab_size
        self._device = model.norm.weight.device
        num_layers = model.config.num_hidden_layers + extra_layers
        self.cache = PagedCache(model.config, num_blocks, block_size, model.norm.weight, num_layers=num_layers)
        self._decoder = Decoder(model, self.cache) if not enforce_eager and Decoder.fits(model) else None
        self.observe: Callable[[list[Scheduled], Tensor, list[Verified]], None] | None = None

    @torch.inference_mode()
    def run(self, scheduled: list[Scheduled]) -> list[Verified]:
        """One pass. Returns the next tokens of every sequence that the pass brought to its end.

        Log-probabilities that a sequence asks for are appended to it; the tokens themselves are left to the caller.
        """
        scheduled, states_TH = self._forward(scheduled)
        places, start = [], 0
        for part in scheduled:
            self._score_prompt(part, states_TH[start : start + part.num_tokens])
            start += part.num_tokens
            if part.samples:
                drafts = part.draft_token_ids
                first = start - 1 - len(drafts)
                places += [_Place(first + n, part.sequence, drafts[:n]) for n in range(len(drafts) + 1)]
        verified = self._verify(states_TH, places, [part for part in scheduled if part.samples])
        if self.observe is not None:
            self.observe(scheduled, states_TH, verified)
        return verified

    def _verify(self, states_TH: Tensor, places: list[_Place], parts: list[Scheduled]) -> list[Verified]:
        """Chooses a token at every place and keeps those of each part up to the first that was drafted otherwise."""
        if not places:
            return []
        logits_BV = self._logits(states_TH[[place.row for place in places]])
        sequences = [place.sequence for place in places]
        tokens = sample(logits_BV, sequences, self._vocab_size, [place.ahead for place in places])
        verified, kept, start = [], [], 0
        for part in parts:
            drafts = part.draft_token_ids
            chosen = tokens[start : start + len(drafts) + 1]
            right = next((n for n, draft in enumerate(drafts) if draft != chosen[n]), len(drafts))
            verified.append(Verified(part, chosen[: right + 1]))
            kept += range(start, start + right + 1)
            start += len(chosen)
        if any(sequences[row].params.logprobs is not None for row in kept):  # the copy takes as long as the sampler
            self._record(logits_BV[kept], [sequences[row] for row in kept], [tokens[row] for row in kept])
        return verified

    def _forward(self, scheduled: list[Scheduled]) -> tuple[list[Scheduled], Tensor]:
        """The sequences in the order in which their tokens went through, and the tokens' states.

        Which way a sequence goes depends on its own tokens alone, so that neighbours do not change its text. It comes
        after those scheduled before it, since it may read the blocks that they fill.
        """
        done, states = [], []
        for short, parts in itertools.groupby(scheduled, self._decodes):
            ordered = order(list(parts))
            done += ordered
            states.append(self._decoder.forward(ordered) if short else self._through_modules(ordered))
        return done, states[0] if len(states) == 1 else torch.cat(states)

    def _decodes(self, part: Scheduled) -> bool:
        return self._decoder is not None and self._decoder.takes(part)

    def _through_modules(self, scheduled: list[Scheduled]) -> Tensor:
        tokens: list[int] = []
        positions: list[int] = []
        for part in scheduled:
            start = part.sequence.num_computed_tokens
            tokens += part.token_ids
            positions += range(start, start + part.num_tokens)
        self.cache.plan(scheduled)
        tokens_1T = torch.tensor([tokens], device=self._device)
        positions_1T = torch.tensor([positions], device=self._device)
        return self._model.hidden(tokens_1T, positions_1T, cache=self.cache).states_BTH[0]

    def _logits(self, states_TH: Tensor) -> Tensor:
        """[T, V]. One way for all, so that neighbours do not change a row."""
        return self._model.lm_head(states_TH) if self._decoder is None else self._decoder.logits(states_TH)

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
            logits = self._logits(states_TH[place - first : end - first])
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
