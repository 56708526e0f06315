"""``Speculator``: how many tokens are drafted for which sequence, and what became of them.

A drafter guesses the next tokens of a sequence. They go through the network in the same pass as the sequence's own
last token, and the sampler says for each place which token stands there: those drafted tokens count that are the same,
and the first that is not gives way to the sampler's. Since a place has its own random numbers (``sequence.Noise``), the
text for a seed is the one without speculation, at any temperature, up to the rounding of passes of other sizes.

The rule of Leviathan and Chen (arXiv 2211.17192, 2302.01318) keeps the distribution too, but its texts depend on the
drafts. It accepts one minus the distance of the two distributions; a draft model that draws by the same numbers as the
model comes near to that: with the nano student and teacher 0.58 of 0.67 at temperature 1, 0.58 of 0.65 at 0.7 and 0.62
of 0.64 at 0.3. Where a draft is one token for certain, as that of a look-up is, both rules accept as much.
"""

from typing import Protocol

from axk1.engine.block_manager import BlockManager
from axk1.engine.config import EngineConfig
from axk1.engine.model_runner import Verified
from axk1.engine.scheduler import Scheduled
from axk1.engine.sequence import Sequence

_LONGEST_PAUSE = 32
"""Most tokens of a sequence between two drafts that try whether it can be guessed now."""


class Drafter(Protocol):
    """Guesses the next tokens of sequences."""

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        """At most so many tokens for each sequence; all of a sequence's tokens but the last are in the cache."""
        ...

    def forget(self, sequence: Sequence) -> None:
        """Frees what is kept of a sequence that has ended."""
        ...

    def reset(self) -> None:
        """Forgets everything, after a pass that failed."""
        ...


class Pace:
    """How many tokens to draft for one sequence: fewer after wrong ones, then none for longer and longer."""

    def __init__(self, most: int) -> None:
        """Args: most: most tokens at once."""
        self._most = self._length = most
        self._misses = self._pause = 0

    def next(self) -> int:
        """Tokens to draft in this pass."""
        if self._pause:
            self._pause -= 1
            return 0
        return self._length

    def learn(self, drafted: int, accepted: int) -> None:
        """Takes how many tokens were drafted, and how many of them were right."""
        self._misses = 0 if accepted else self._misses + 1
        if accepted == drafted:
            self._length = min(2 * self._length, self._most)
        elif 2 * accepted < drafted:
            self._length = max(1, self._length // 2)
        if self._misses > 2:
            self._pause = min(2 ** (self._misses - 2), _LONGEST_PAUSE)


class Speculator:
    """Adds drafts to a pass, with what it leaves of tokens and blocks: no sequence waits or goes because of a draft.

    Attributes:
        num_drafts: drafts so far.
        num_draft_tokens, num_accepted_tokens: their tokens, and those that were right.
    """

    def __init__(self, config: EngineConfig, blocks: BlockManager, drafter: Drafter) -> None:
        """Args: config: the limits of a pass and of drafts; blocks: the blocks of the cache; drafter: guesses."""
        self._config, self._blocks, self._drafter = config, blocks, drafter
        self._paces: dict[Sequence, Pace] = {}
        self.num_drafts = self.num_draft_tokens = self.num_accepted_tokens = 0

    def extend(self, scheduled: list[Scheduled]) -> list[Scheduled]:
        """The parts of a pass, with drafts where they pay."""
        if len(scheduled) > self._config.speculative_config.largest_batch:
            return scheduled
        spare = self._config.max_num_batched_tokens - sum(part.num_tokens for part in scheduled)
        wanted: dict[Sequence, int] = {}
        for part in scheduled:
            count = min(self._wish(part), spare)
            if count > 0:
                wanted[part.sequence] = count
                spare -= count
        if not wanted:
            return scheduled
        found = dict(zip(wanted, self._drafter.propose(list(wanted.items())), strict=True))
        return [_with_draft(part, found.get(part.sequence, [])) for part in scheduled]

    def learn(self, verified: list[Verified]) -> None:
        """Takes what a pass said of its drafts, after their sequences have got their tokens."""
        for part, tokens in verified:
            drafted, accepted = len(part.draft_token_ids), len(tokens) - 1
            if drafted:
                self.num_drafts += 1
                self.num_draft_tokens += drafted
                self.num_accepted_tokens += accepted
            pace = self._paces.get(part.sequence)
            if pace is not None:  # it has ended otherwise
                self._blocks.trim(part.sequence)
                if drafted:
                    pace.learn(drafted, accepted)

    def forget(self, sequence: Sequence) -> None:
        """Frees what is kept of a sequence that has ended."""
        self._paces.pop(sequence, None)
        self._drafter.forget(sequence)

    def reset(self) -> None:
        """Forgets what drafters hold, after a pass that failed."""
        self._paces.clear()
        self._drafter.reset()

    def _wish(self, part: Scheduled) -> int:
        """Tokens to draft behind a part: none beyond the text's end, and none for which no block is free.

        None either where a guide decides: it must see each token before the next.
        """
        sequence = part.sequence
        decoding = part.samples and part.num_tokens == 1 and sequence.num_output_tokens
        if not decoding or sequence.guide is not None:
            return 0
        most = self._config.speculative_config.num_speculative_tokens
        pace = self._paces.setdefault(sequence, Pace(most))
        count = min(pace.next(), sequence.max_tokens - sequence.num_output_tokens - 1)
        if count > 0 and not self._blocks.grow(sequence, sequence.num_tokens + count):
            count = min(count, len(sequence.block_table) * self._blocks.block_size - sequence.num_tokens)
        return count


def _with_draft(part: Scheduled, draft: list[int]) -> Scheduled:
    return part._replace(num_tokens=part.num_tokens + len(draft), draft_token_ids=tuple(draft))
