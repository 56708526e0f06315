"""Kind ``topk``: how the teacher's distribution at one position is stored as its most probable tokens and the rest.

Stored are the K most probable tokens with their log-probabilities, the mass of all other tokens (the tail), the
entropy of the whole distribution, and S tokens drawn from the tail. Each of the S stands for 1/S of the tail's mass,
so that the stored distribution equals the teacher's in expectation; with S = 0 the tail is only a mass.

A token is its rank by frequency in the text, a log-probability its distance below the one before it, on a grid of
``steps_per_nat``. Rounding moves a log-probability by half a step. It also moves their sum, which is put right when
they are read, and so could move all of them by another half; the grid is laid so that the sum stays where it is.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np

from axk1.core.config import require
from axk1.distill.coding import LARGEST, Layout, Statistics

FINE_STEPS = 1024
"""Steps in a nat of the tail's log-odds, which few bits make exact."""
ENTROPY_STEPS = 256
"""Steps in a nat of the entropy."""
_FLOOR = 64.0
"""A log-probability further below the largest is stored as this far below; exp(-64) is 2e-28."""
_PHASES = 16
"""Positions of the grid that are tried."""
RowsT = TypeVar("RowsT")


class Rows(Protocol):
    """What the teacher says at R positions: a dataclass of arrays, one row per position."""


@runtime_checkable
class Records(Protocol):
    """A kind of cache: how rows become the bytes of a chunk, and bytes become rows."""

    kind: ClassVar[str]
    vocab_size: int

    def describe(self) -> dict[str, Any]:
        """What ``cache.json`` says about the format."""

    def files(self) -> dict[str, np.ndarray]:
        """Arrays that the cache holds once, by file name."""

    def pack(self, rows: Any, offsets: np.ndarray) -> tuple[bytes, list[bytes]]:
        """A chunk's head, and the bytes of each sample; rows ``offsets[i]`` to ``offsets[i + 1]`` are sample i's."""

    def open_head(self, head: bytes) -> Any:
        """What ``unpack`` needs of a chunk's head. Raises ArtifactError where it is corrupt."""

    def unpack(self, head: Any, content: bytes, rows: int) -> np.ndarray:
        """The stored numbers of one sample, a row each. Raises ArtifactError where they are corrupt."""

    def rows(self, numbers: np.ndarray) -> Any:
        """What stored numbers, of any samples one after the other, mean."""

    @property
    def expected_bytes(self) -> float:
        """Bytes at each position, about; what is coded depends on the teacher."""


@dataclass(frozen=True)
class Distributions:
    """The teacher's distributions at R positions."""

    ids_RK: np.ndarray
    """The K most probable tokens, the most probable first."""
    log_probs_RK: np.ndarray
    """Their natural log-probabilities."""
    log_tail_R: np.ndarray
    """Log of the mass of all other tokens."""
    tail_ids_RS: np.ndarray
    """Tokens drawn from the tail by their probability; one can come several times."""
    entropy_R: np.ndarray
    """Entropy of the whole distribution, in nats."""


class TokenRanks:
    """Token ids as their rank by frequency and back."""

    def __init__(self, order_V: np.ndarray) -> None:
        self.order_V = np.ascontiguousarray(order_V, "<u4")
        self._rank_V = np.empty(len(order_V), np.int32)
        self._rank_V[self.order_V] = np.arange(len(order_V))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenRanks) and np.array_equal(self.order_V, other.order_V)

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Ranks of ids, int32."""
        return self._rank_V[ids]

    def ids(self, ranks: np.ndarray) -> np.ndarray:
        """Ids of ranks, int64."""
        return self.order_V[ranks].astype(np.int64)


ORDER = "token_order.bin"


class CodedRecords:
    """A record format of whole numbers in columns, coded with a chunk's own statistics."""

    ranks: TokenRanks

    @property
    def layout(self) -> Layout:
        """The columns of a row."""
        raise NotImplementedError

    def numbers(self, rows: Any) -> np.ndarray:
        """The columns of R positions. Raises ValueError where the rows cannot be a teacher's."""
        raise NotImplementedError

    def files(self) -> dict[str, np.ndarray]:
        return {ORDER: self.ranks.order_V}

    def pack(self, rows: Any, offsets: np.ndarray) -> tuple[bytes, list[bytes]]:
        numbers_RC = self.numbers(rows)
        statistics = Statistics.of(self.layout, numbers_RC)
        pieces = [numbers_RC[first:last] for first, last in itertools.pairwise(offsets)]
        return statistics.to_bytes(), [statistics.encode(piece) for piece in pieces]

    def open_head(self, head: bytes) -> Statistics:
        return Statistics.from_bytes(self.layout, head)

    def unpack(self, head: Statistics, content: bytes, rows: int) -> np.ndarray:
        return head.decode(content, rows)


@dataclass(frozen=True)
class TopKRecords(CodedRecords):
    """The record format of kind ``topk``."""

    top_k: int
    """K, tokens stored at each position."""
    tail_samples: int
    """S, tokens drawn from the tail at each position."""
    vocab_size: int
    """Size of the teacher's vocabulary."""
    ranks: TokenRanks = field(repr=False)
    """The tokens by frequency."""
    steps_per_nat: int = 28
    """Resolution of a stored log-probability; with 28 it is off by at most 0.02 nat."""

    kind: ClassVar[str] = "topk"

    def __post_init__(self) -> None:
        require(1 <= self.top_k < self.vocab_size, "top_k", self.top_k, f"1 to {self.vocab_size - 1}")
        require(self.tail_samples >= 0, "tail_samples", self.tail_samples, "0 or more")
        limit = LARGEST // int(_FLOOR + 1)
        require(1 <= self.steps_per_nat <= limit, "steps_per_nat", self.steps_per_nat, f"1 to {limit}")

    @property
    def layout(self) -> Layout:
        """Columns: entropy, the tail's log-odds, K - 1 steps down, K ranks, S differences of ranks."""
        return Layout((-1,) * (2 * self.top_k + 1 + self.tail_samples))

    @property
    def expected_bytes(self) -> float:
        bits = 0.8 * np.log2(self.vocab_size)
        return (24 + self.top_k * (bits + 3) + self.tail_samples * bits / 2) / 8

    def describe(self) -> dict[str, Any]:
        sizes = {name: getattr(self, name) for name in ("top_k", "tail_samples", "vocab_size", "steps_per_nat")}
        return {"kind": self.kind, **sizes}

    def numbers(self, rows: Distributions) -> np.ndarray:
        """The columns of R positions. Raises ValueError where a log-probability is NaN or above zero."""
        log_probs_RK, log_tail_R = rows.log_probs_RK.astype(np.float64), rows.log_tail_R.astype(np.float64)
        known = np.concatenate((rows.entropy_R[:, None], -log_tail_R[:, None], -log_probs_RK), axis=1)
        if not (known > -1e-3).all():  # NaN fails as well; rounding may leave a hair above log 1
            raise ValueError("the teacher gives a log-probability that is NaN or above zero")
        order_RK = np.argsort(-log_probs_RK, axis=1, kind="stable")
        log_probs_RK = np.take_along_axis(log_probs_RK, order_RK, 1)
        down_RK = np.minimum(log_probs_RK[:, :1] - np.maximum(log_probs_RK, -1e9), _FLOOR)
        odds_R = log_tail_R - log_probs_RK[:, 0] - _log_sum(-down_RK)
        ranks_RK = self.ranks.of(np.take_along_axis(rows.ids_RK, order_RK, 1))
        drawn_RS = np.sort(self.ranks.of(rows.tail_ids_RS), axis=1)
        columns = (
            np.rint(np.minimum(rows.entropy_R, _FLOOR) * ENTROPY_STEPS)[:, None],
            np.rint((np.clip(odds_R, -_FLOOR, _FLOOR) + _FLOOR) * FINE_STEPS)[:, None],
            np.diff(on_grid(down_RK, self.steps_per_nat), axis=1),
            ranks_RK,
            np.diff(drawn_RS, axis=1, prepend=0),
        )
        return np.concatenate([np.asarray(column, np.int32) for column in columns], axis=1)

    def rows(self, numbers: np.ndarray) -> Distributions:
        """Ids in int64, the rest in fp32; the K probabilities and the tail's mass sum to one."""
        K = self.top_k
        ends = np.cumsum([1, 1, K - 1, K])
        entropy, odds, down, ranks, drawn = np.split(numbers, ends, axis=1)
        down_RK = np.cumsum(np.pad(down, ((0, 0), (1, 0))), axis=1, dtype=np.int32) / np.float32(-self.steps_per_nat)
        odds_R = odds[:, 0] / np.float32(FINE_STEPS) - np.float32(_FLOOR)
        log_top_R = -np.logaddexp(0, odds_R)
        log_probs_RK = down_RK + (log_top_R - _log_sum(down_RK))[:, None]
        drawn_RS = self.ranks.ids(np.cumsum(drawn, axis=1, dtype=np.int32))
        entropy_R = entropy[:, 0] / np.float32(ENTROPY_STEPS)
        return Distributions(self.ranks.ids(ranks), log_probs_RK, odds_R + log_top_R, drawn_RS, entropy_R)


def on_grid(down_RK: np.ndarray, steps: int) -> np.ndarray:
    """Distances below the first, in whole steps, int32, such that the sum of the exponentials hardly changes.

    Of ``_PHASES`` grids the one is taken whose sum is nearest. One is always near: as the grid moves, the error of
    the log-sum grows steadily and jumps back, so it passes zero.
    """
    wanted_RK = down_RK * steps
    true_R, best_RK = _log_sum(-down_RK), np.rint(wanted_RK)
    best_R = np.abs(_log_sum(-best_RK / steps) - true_R)
    open_R = np.flatnonzero(best_R > 1 / (4 * _PHASES * steps))
    for phase in np.arange(1, _PHASES) / _PHASES - 0.5:
        tried_RK = np.rint(wanted_RK[open_R] + phase)
        off_R = np.abs(_log_sum(-(tried_RK - phase) / steps) - true_R[open_R])
        better = off_R < best_R[open_R]
        best_R[open_R[better]] = off_R[better]
        best_RK[open_R[better]] = tried_RK[better] - tried_RK[better, :1]
    return best_RK.astype(np.int32)


def concatenate(parts: Sequence[RowsT]) -> RowsT:
    """Rows of several samples, one after the other."""
    names = [one.name for one in fields(parts[0])]
    return type(parts[0])(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _log_sum(x_RK: np.ndarray) -> np.ndarray:
    """Log of the sum of the exponentials of each row, whose largest entry is near zero."""
    return np.log(np.exp(x_RK).sum(axis=1))
