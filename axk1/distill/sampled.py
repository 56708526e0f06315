"""Kind ``sampled``: tokens drawn from the teacher's distribution, as in Sparse Logit Sampling (arXiv 2503.16870).

Of S draws by the teacher's own probabilities, token i comes ``counts_i`` times, and ``counts_i / S`` is an unbiased
estimate of its probability: cross-entropy with it and its gradient are those of the whole distribution in
expectation. The draws are spread (one from each S-th of the mass), which keeps the counts within one of S p_i.

Stored are the distinct tokens in the order of their rank by frequency, as differences, each with its count.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from axk1.core.config import require
from axk1.distill.coding import Layout
from axk1.distill.records import ENTROPY_STEPS, CodedRecords, TokenRanks


@dataclass(frozen=True)
class Draws:
    """Tokens drawn from the teacher's distributions at R positions."""

    ids_RS: np.ndarray
    """The distinct tokens, in no order that matters; unused places hold token 0."""
    counts_RS: np.ndarray
    """How often each came, which over S is its weight; 0 in unused places. Each row sums to S."""
    entropy_R: np.ndarray
    """Entropy of the whole distribution, in nats: the cross-entropy with the draws less this estimates the KL."""

    @classmethod
    def of(cls, drawn_RS: np.ndarray, entropy_R: np.ndarray) -> "Draws":
        """Counts draws."""
        sorted_RS = np.sort(drawn_RS, axis=1)
        place_RS = np.cumsum(np.diff(sorted_RS, axis=1, prepend=sorted_RS[:, :1]) != 0, axis=1)
        flat = (place_RS + np.arange(len(drawn_RS))[:, None] * drawn_RS.shape[1]).reshape(-1)
        ids_RS = np.zeros(drawn_RS.shape, np.int64)
        np.put(ids_RS, flat, sorted_RS)
        counts_RS = np.bincount(flat, minlength=drawn_RS.size).reshape(drawn_RS.shape)
        return cls(ids_RS, counts_RS, entropy_R)


@dataclass(frozen=True)
class SampledRecords(CodedRecords):
    """The record format of kind ``sampled``."""

    draws: int
    """S, tokens drawn at each position."""
    vocab_size: int
    """Size of the teacher's vocabulary."""
    ranks: TokenRanks = field(repr=False)
    """The tokens by frequency."""

    kind: ClassVar[str] = "sampled"

    def __post_init__(self) -> None:
        require(self.draws >= 1, "draws", self.draws, "1 or more")

    @property
    def layout(self) -> Layout:
        """Columns: entropy, then S times how far the next rank is (0 ends the row), then S counts less one."""
        chain = tuple(range(1, self.draws + 1))
        return Layout((-1, -1, *chain[:-1], *chain))

    @property
    def expected_bytes(self) -> float:
        distinct = self.draws**0.7
        return (14 + distinct * (0.6 * np.log2(self.vocab_size) + 1.5)) / 8

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "draws": self.draws, "vocab_size": self.vocab_size}

    def numbers(self, rows: Draws) -> np.ndarray:
        """The columns of R positions. Raises ValueError where counts do not sum to S."""
        counts_RS = rows.counts_RS
        if (counts_RS.sum(1) != self.draws).any() or (counts_RS < 0).any():
            raise ValueError(f"the counts of a row do not sum to {self.draws} draws")
        if not (rows.entropy_R >= 0).all():  # NaN fails as well
            raise ValueError("the teacher gives an entropy that is NaN or negative")
        used_RS = counts_RS > 0
        ranks_RS = np.where(used_RS, self.ranks.of(rows.ids_RS), self.vocab_size)
        order_RS = np.argsort(ranks_RS, axis=1, kind="stable")
        used_RS, ranks_RS, counts_RS = (
            np.take_along_axis(values, order_RS, 1) for values in (used_RS, ranks_RS, counts_RS)
        )
        steps_RS = np.where(used_RS, np.diff(ranks_RS, axis=1, prepend=-1), 0)
        entropy_R1 = np.rint(rows.entropy_R * ENTROPY_STEPS)[:, None]
        columns = (entropy_R1, steps_RS, np.where(used_RS, counts_RS - 1, 0))
        return np.concatenate([np.asarray(column, np.int32) for column in columns], axis=1)

    def rows(self, numbers: np.ndarray) -> Draws:
        """Ids and counts in int64, the entropy in fp32."""
        steps_RS, more_RS = numbers[:, 1 : 1 + self.draws], numbers[:, 1 + self.draws :]
        used_RS = steps_RS > 0
        ranks_RS = np.where(used_RS, np.cumsum(steps_RS, axis=1) - 1, 0)
        ids_RS = np.where(used_RS, self.ranks.ids(ranks_RS), 0)
        counts_RS = np.where(used_RS, more_RS + 1, 0).astype(np.int64)
        return Draws(ids_RS, counts_RS, numbers[:, 0] / np.float32(ENTROPY_STEPS))
