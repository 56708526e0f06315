"""Two tokenizations of one text, cut into the smallest spans whose ends both have.

A text lies on a line of symbols (bytes, see ``spelling.py``), and every token covers a stretch of it. Where a token of
either side ends, or begins after a gap, that side has a boundary; spans lie between boundaries that both sides have.
The probability of a span is the product of its tokens' probabilities, on either side (the chain rule), so what two
models say of it can be compared although they cut it differently.

Shapes: n, m tokens of the two sides, s spans.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stretch:
    """Where the tokens of one side lie, in the order of the line."""

    starts: np.ndarray
    """First symbol of each token [n], int64, rising; no token is empty and none reaches into the next."""
    ends: np.ndarray
    """The symbol behind each token [n]."""
    samples: np.ndarray
    """The sample that each token belongs to [n]; a span that lies in two samples is nobody's."""

    @classmethod
    def of_lengths(cls, lengths: np.ndarray) -> "Stretch":
        """Tokens of one sample, one behind the other from 0 on."""
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls(ends - lengths, ends, np.zeros(len(ends), np.int64))

    def boundaries(self) -> np.ndarray:
        """Where tokens end, or begin after a gap, rising."""
        after_gap = np.ones(len(self.starts), dtype=bool)
        after_gap[1:] = self.starts[1:] != self.ends[:-1]
        return np.sort(np.concatenate((self.ends, self.starts[after_gap])), kind="stable")


@dataclass(frozen=True)
class Spans:
    """The smallest common spans, in the order of the line."""

    starts: np.ndarray
    """First symbol [s]."""
    ends: np.ndarray
    """The symbol behind the span [s]."""
    first: np.ndarray
    """First token on either side [2, s]."""
    last: np.ndarray
    """The token behind the span's last one, on either side [2, s]."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, which: np.ndarray) -> "Spans":
        """Some of the spans."""
        return Spans(self.starts[which], self.ends[which], self.first[:, which], self.last[:, which])

    @property
    def tokens(self) -> np.ndarray:
        """How many tokens a span has on either side [2, s]."""
        return self.last - self.first


def align(one: Stretch, other: Stretch) -> Spans:
    """The smallest spans that are whole tokens of one sample on both sides.

    Symbols that one side alone covers belong to no span, and neither does a token that reaches over one sample's end.
    """
    mine, theirs = one.boundaries(), other.boundaries()
    place = np.searchsorted(theirs, mine)
    shared = mine[theirs[np.minimum(place, len(theirs) - 1)] == mine] if len(theirs) else mine[:0]
    starts, ends = shared[:-1], shared[1:]
    sides = (one, other)
    first = np.stack([np.searchsorted(side.starts, starts) for side in sides])
    last = np.stack([np.searchsorted(side.ends, ends, side="right") for side in sides])
    spans = Spans(starts, ends, first, last)
    return spans[_covered(one, spans, 0) & _covered(other, spans, 1)]


def span_sums(values: np.ndarray, spans: Spans, side: int) -> np.ndarray:
    """The sum over each span's tokens [s] of what every token of a side has [n]: of log-probabilities, the span's."""
    before = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    return before[spans.last[side]] - before[spans.first[side]]


def members(spans: Spans, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of all spans on a side, one after the other, and the number of the span that each belongs to."""
    counts = spans.tokens[side]
    numbers = np.repeat(np.arange(len(spans)), counts)
    tokens = np.arange(len(numbers)) + np.repeat(spans.first[side] - np.cumsum(counts) + counts, counts)
    return tokens, numbers


def _covered(side: Stretch, spans: Spans, number: int) -> np.ndarray:
    """Which spans consist of tokens of one sample, without gaps."""
    first, last = spans.first[number], spans.last[number]
    held = last > first
    before = np.concatenate(([0], np.cumsum(side.ends - side.starts)))
    held &= before[np.maximum(last, first)] - before[first] == spans.ends - spans.starts
    if len(side.samples):
        top = len(side.samples) - 1
        held &= side.samples[np.minimum(first, top)] == side.samples[np.clip(last - 1, 0, top)]
    return held
