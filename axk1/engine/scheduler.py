"""``Scheduler``: which sequences go through the network in the next pass, and with how many tokens each."""

import time
from collections import deque
from typing import NamedTuple

from axk1.engine.block_manager import BlockManager
from axk1.engine.config import EngineConfig
from axk1.engine.sequence import Sequence


class Scheduled(NamedTuple):
    """A sequence's part of a pass."""

    sequence: Sequence
    num_tokens: int
    """How many tokens after its computed ones go through: one while it is written, a chunk of its prompt before;
    drafted ones count."""
    draft_token_ids: tuple[int, ...] = ()
    """Tokens that are guessed to follow the sequence's own; the pass tells how many of them do."""

    @property
    def own_tokens(self) -> int:
        """How many of the tokens are the sequence's own."""
        return self.num_tokens - len(self.draft_token_ids)

    @property
    def samples(self) -> bool:
        """Whether the pass reaches the sequence's end, so that a token follows."""
        return self.sequence.num_computed_tokens + self.own_tokens == self.sequence.num_tokens

    @property
    def token_ids(self) -> list[int]:
        """The tokens that go through."""
        start = self.sequence.num_computed_tokens
        return [*self.sequence.token_ids[start : start + self.own_tokens], *self.draft_token_ids]


class Scheduler:
    """First come, first served, with chunked prompts; when the cache is full, the youngest sequence waits again.

    Attributes:
        waiting: sequences that hold no blocks, in order.
        running: sequences that hold blocks, in order of admission.
        num_preemptions: how often a running sequence had to wait again.
    """

    def __init__(self, config: EngineConfig, blocks: BlockManager) -> None:
        """Args: config: the limits of a pass; blocks: the blocks of the cache."""
        self._config, self._blocks = config, blocks
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.num_preemptions = 0

    def add(self, sequence: Sequence) -> None:
        """Puts a new sequence at the end of the queue. It must fit into the cache alone."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Takes a finished or aborted sequence out and frees its blocks."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._blocks.free(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def schedule(self) -> list[Scheduled]:
        """The next pass. Empty only when there is nothing to do."""
        scheduled, budget, preempted = [], self._config.max_num_batched_tokens, False
        place = 0
        while place < len(self.running) and budget > 0:
            sequence = self.running[place]
            preempted |= self._make_room(sequence, budget)
            if place == len(self.running):  # it was the youngest itself
                break
            scheduled.append(self._take(sequence, budget))
            budget -= scheduled[-1].num_tokens
            place += 1
        while not preempted and self.waiting and budget > 0 and len(self.running) < self._config.max_num_seqs:
            if not self._blocks.admit(self.waiting[0]):
                break
            sequence = self._start(self.waiting.popleft())
            self._make_room(sequence, budget)
            scheduled.append(self._take(sequence, budget))
            budget -= scheduled[-1].num_tokens
        return scheduled

    def _take(self, sequence: Sequence, budget: int) -> Scheduled:
        part = Scheduled(sequence, min(sequence.num_tokens - sequence.num_computed_tokens, budget))
        self._blocks.publish(sequence, sequence.num_computed_tokens + part.num_tokens)
        return part

    def _make_room(self, sequence: Sequence, budget: int) -> bool:
        """Finds blocks for a running sequence's next tokens; returns whether younger ones, or it, had to go for it."""
        preempted = False
        tokens = min(sequence.num_tokens, sequence.num_computed_tokens + budget)
        while not self._blocks.grow(sequence, tokens):
            preempted = True
            youngest = self.running.pop()
            self._blocks.free(youngest)
            self.waiting.appendleft(youngest)
            self.num_preemptions += 1
            if youngest is sequence:
                break
        return preempted

    def _start(self, sequence: Sequence) -> Sequence:
        self.running.append(sequence)
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = sequence.num_computed_tokens
            sequence.times.scheduled = time.monotonic()
        return sequence
