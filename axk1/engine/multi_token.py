"""``MultiTokenDrafter``: the checkpoint's own multi-token-prediction module drafts (DeepSeek-V3, arXiv 2412.19437).

From the state of a token and the next token it predicts the one after that; for tokens still further on, its own states
stand in for the model's, as transformers has it. Its entries lie in one more layer of the model's cache, in the slots
of the tokens whose states they come from. A block's last entry thus depends on a token beyond the block, which may be
another one where texts part there; drafts are then a little worse, and texts the same.

Shapes: T tokens of a pass, B sequences, H hidden_size, V vocab_size.
"""

import copy

import torch
from torch import Tensor

from axk1.engine.model_runner import ModelRunner, Verified
from axk1.engine.paged_cache import order
from axk1.engine.sampler import sample
from axk1.engine.scheduler import Scheduled
from axk1.engine.sequence import Sequence
from axk1.model.transformer import Hidden, Transformer


class MultiTokenDrafter:
    """Follows every pass of a runner, so that the module's entries are complete whenever a draft is wanted."""

    def __init__(self, model: Transformer, runner: ModelRunner, vocab_size: int) -> None:
        """Args: model: one with the module; runner: its runner; vocab_size: entries of the tokenizer."""
        self._model, self._cache, self._vocab_size = model, runner.cache, vocab_size
        self._states: dict[Sequence, Tensor] = {}
        runner.observe = self.observe

    def observe(self, scheduled: list[Scheduled], states_TH: Tensor, verified: list[Verified]) -> None:
        """Puts a pass's tokens through the module, and keeps the states that predict what comes after its end."""
        found = {each.part.sequence: each.token_ids for each in verified}
        next_ids: list[int] = []
        positions: list[int] = []
        last: dict[Sequence, int] = {}
        for part in scheduled:
            start = part.sequence.num_computed_tokens
            positions += range(start, start + part.num_tokens)
            if part.sequence in found:
                tokens = [*part.token_ids[1 : part.own_tokens], *found[part.sequence]]
                last[part.sequence] = len(next_ids) + len(tokens) - 1
                tokens += [0] * (part.num_tokens - len(tokens))  # behind the first wrong draft: computed again later
            else:
                tokens = part.sequence.token_ids[start + 1 : start + part.num_tokens + 1]
            next_ids += tokens
        self._cache.plan(scheduled)
        second_TH = self._second(states_TH, next_ids, positions)
        for sequence, row in last.items():
            self._states[sequence] = second_TH[row]

    @torch.inference_mode()
    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        """See ``Drafter``."""
        drafts: dict[Sequence, list[int]] = {sequence: [] for sequence, _ in wanted}
        open_, states = [each for each in wanted if each[0] in self._states], self._states
        while open_:
            sequences = [sequence for sequence, _ in open_]
            logits_BV = self._model.lm_head(torch.stack([states[sequence] for sequence in sequences]))
            ahead = [tuple(drafts[sequence]) for sequence in sequences]
            for sequence, token in zip(sequences, sample(logits_BV, sequences, self._vocab_size, ahead), strict=True):
                drafts[sequence].append(token)
            open_ = [(sequence, count) for sequence, count in open_ if len(drafts[sequence]) < count]
            states = self._further([sequence for sequence, _ in open_], states, drafts) if open_ else {}
        return [drafts[sequence] for sequence, _ in wanted]

    def forget(self, sequence: Sequence) -> None:
        """See ``Drafter``."""
        self._states.pop(sequence, None)

    def reset(self) -> None:
        """See ``Drafter``."""
        self._states.clear()

    def _further(
        self, sequences: list[Sequence], states: dict[Sequence, Tensor], drafts: dict[Sequence, list[int]]
    ) -> dict[Sequence, Tensor]:
        """The module's states one token further on, from its own states and the tokens drafted last."""
        places: dict[Sequence, Sequence] = {}
        for sequence in sequences:
            place = copy.copy(sequence)  # shares tokens and blocks; stands where the next entry goes
            place.num_computed_tokens = sequence.num_tokens + len(drafts[sequence]) - 2
            places[place] = sequence
        scheduled = order([Scheduled(place, 1) for place in places])
        self._cache.plan(scheduled)
        ordered = [places[part.sequence] for part in scheduled]
        states_BH = torch.stack([states[sequence] for sequence in ordered])
        next_ids = [drafts[sequence][-1] for sequence in ordered]
        positions = [part.sequence.num_computed_tokens for part in scheduled]
        return dict(zip(ordered, self._second(states_BH, next_ids, positions), strict=True))

    def _second(self, states_TH: Tensor, next_ids: list[int], positions: list[int]) -> Tensor:
        ids_1T, positions_1T = (torch.tensor([each], device=states_TH.device) for each in (next_ids, positions))
        hidden = Hidden(states_TH.unsqueeze(0).to(self._model.norm.weight.dtype), [])
        return self._model.predict_second(hidden, ids_1T, positions_1T, cache=self._cache)[0]
