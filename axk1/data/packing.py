"""Shards -> training batches: samples packed into rows, as a pure function of (seed, step).

Any step can be asked for at once, so a run resumes anywhere without replay, and the global batch is the same whatever
the number of ranks. Attention is block-diagonal over ``segments_BT``, so what a position sees does not depend on what
else lies in its row.

- *Window*: 65,536 consecutive samples (stored in random order) are packed together; ``best_fit`` leaves little
  padding and its pattern depends on the lengths alone. A billion samples are 15,259 windows, of which only those at
  hand are planned; finding a step costs one count of rows per window before it, in its first epoch.
- *Epoch*: every sample exactly once. Each epoch has its own order of windows, choice of samples for the places of the
  pattern, and order of rows.
- *Mixture*: rows of several shards are dealt in proportion to weights, which are shares of tokens.

Shapes: B rows of this rank, T positions.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from axk1.core.config import require
from axk1.core.errors import ArtifactError, TokenizerMismatch
from axk1.data import best_fit
from axk1.data.random_order import random_keys, random_order
from axk1.data.shards import Shards, require_same_tokenizer

WINDOW = 1 << 16
"""Samples packed together."""
NO_TARGET = -100
"""Target where there is no loss, as in torch's cross_entropy."""
SAMPLE_DTYPE = np.dtype([("row", "i4"), ("column", "i4"), ("shard", "i4"), ("sample", "i8"), ("length", "i4")])
_BLOCK = 1 << 12
"""Rows over which a mixture's proportions hold exactly (to one row)."""


@dataclass(frozen=True)
class Batch:
    """The rows of one rank at one step."""

    tokens_BT: np.ndarray
    """Token ids, int64; 0 in the padding."""
    targets_BT: np.ndarray
    """The next token of the same sample, int64; -100 where there is no loss."""
    positions_BT: np.ndarray
    """Position within the sample, int64."""
    segments_BT: np.ndarray
    """Which sample of the row, from 1, int32; 0 in the padding."""
    samples: np.ndarray
    """Where each sample lies and which it is: row, column, shard (index in the list), sample, length."""

    @property
    def target_count(self) -> int:
        """Number of positions with a loss."""
        return int(np.count_nonzero(self.targets_BT != NO_TARGET))


class PackedBatches:
    """Batches of packed rows from one or several shards; ``batch(step)`` for any step from 0 on, without end.

    Attributes:
        rows_per_epoch: rows in which every sample of each shards folder comes once.
        fill_rate: expected share of positions that are no padding.
    """

    def __init__(
        self,
        shards: Sequence[Shards],
        weights: Sequence[float],
        *,
        sequence_length: int,
        rows: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        window: int = WINDOW,
    ) -> None:
        """Checks that the shards fit together and the settings fit them.

        Args:
            shards: where the samples come from.
            weights: share of the tokens that each contributes, relative to the others; 0 leaves it out.
            sequence_length: positions in a row (T).
            rows: rows of the global batch; each rank gets ``rows / world_size`` consecutive ones (B).
            seed: other seeds give other orders.
            rank, world_size: which part of the global batch to make.
            window: samples packed together.

        Raises:
            TokenizerMismatch: the shards were made with different tokenizers.
            ArtifactError: a folder has no samples.
            ConfigError: a sample is longer than a row, rows cannot be dealt evenly, or a weight is not allowed.
        """
        _check_shards(shards, sequence_length)
        divides = world_size > 0 and rows > 0 and rows % world_size == 0
        require(divides, "rows", rows, f"a multiple of the {world_size} ranks")
        require(0 <= rank < world_size, "rank", rank, f"a number from 0 to {world_size - 1}")
        require(window > 0, "window", window, "a number above 0")
        self.shards, self.sequence_length, self.rows, self.seed = list(shards), sequence_length, rows, seed
        self.rank, self.world_size = rank, world_size
        self._streams = [_RowStream(one, sequence_length, window, seed, i) for i, one in enumerate(shards)]
        self._row_shares = _row_shares(weights, [stream.tokens_per_row for stream in self._streams])
        self._block = functools.lru_cache(maxsize=2)(self._deal)

    @property
    def rows_per_epoch(self) -> list[int]:
        """For each shards folder, the number of rows in which each of its samples comes once."""
        return [stream.rows_per_epoch for stream in self._streams]

    @property
    def fill_rate(self) -> float:
        """Expected share of positions that are no padding, from the first window of each folder."""
        filled = [stream.tokens_per_row / self.sequence_length for stream in self._streams]
        return float(np.dot(self._row_shares, filled))

    def batch(self, step: int) -> Batch:
        """The rows of this rank at a step.

        Raises:
            ArtifactError: a token id is not below the vocabulary size that the shards name.
        """
        require(step >= 0, "step", step, "a number from 0 on")
        count = self.rows // self.world_size
        first = step * self.rows + self.rank * count
        picked = [self._row(first + row) for row in range(count)]
        table = np.zeros(sum(len(samples) for _, samples in picked), SAMPLE_DTYPE)
        begin = 0
        for row, (shard, samples) in enumerate(picked):
            part = table[begin : begin + len(samples)]
            lengths = self.shards[shard].lengths[samples]
            part["row"], part["shard"], part["sample"], part["length"] = row, shard, samples, lengths
            part["column"] = np.cumsum(lengths) - lengths
            begin += len(samples)
        return self._fill(table, count)

    def _row(self, number: int) -> tuple[int, np.ndarray]:
        """Row ``number`` of the mixture: from which shards, and its samples."""
        if len(self._streams) == 1:
            return 0, self._streams[0].row(number)
        block, place = divmod(number, _BLOCK)
        streams, numbers = self._block(block)
        stream = int(streams[place])
        return stream, self._streams[stream].row(int(numbers[place]))

    def _deal(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """For each row of a block: the stream it comes from, and its number within that stream."""
        borders = np.concatenate([[0.0], np.cumsum(self._row_shares)[:-1], [1.0]])
        before = np.diff(np.floor(block * _BLOCK * borders).astype(np.int64))
        after = np.diff(np.floor((block + 1) * _BLOCK * borders).astype(np.int64))
        streams = np.repeat(np.arange(len(before)), after - before)
        numbers = np.concatenate([np.arange(a, b) for a, b in zip(before, after, strict=True)])
        order = random_order(_BLOCK, self.seed, block, 3)
        shuffled = streams[order]
        # Each stream's rows keep their own order, whatever the order of the streams.
        result = np.empty(_BLOCK, np.int64)
        result[np.argsort(shuffled, kind="stable")] = numbers
        return shuffled, result

    def _fill(self, table: np.ndarray, rows: int) -> Batch:
        width = self.sequence_length
        tokens, positions = np.zeros(rows * width, np.int64), np.zeros(rows * width, np.int64)
        targets, segments = np.full(rows * width, NO_TARGET, np.int64), np.zeros(rows * width, np.int32)
        numbers = np.arange(len(table)) - np.searchsorted(table["row"], table["row"])
        for shard in np.unique(table["shard"]):
            part = table[table["shard"] == shard]
            lengths = part["length"].astype(np.int64)
            within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            place = np.repeat(part["row"].astype(np.int64) * width + part["column"], lengths) + within
            ids, next_ids = self._read(self.shards[shard], part["sample"], lengths, within)
            tokens[place], targets[place], positions[place] = ids, next_ids, within
            segments[place] = np.repeat(numbers[table["shard"] == shard] + 1, lengths)
        shape = (rows, width)
        return Batch(*(values.reshape(shape) for values in (tokens, targets, positions, segments)), table)

    @staticmethod
    def _read(
        shards: Shards, samples: np.ndarray, lengths: np.ndarray, within: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The samples' tokens one after another, and for each token its target."""
        where = np.repeat(shards.offsets[samples], lengths) + within
        ids = shards.tokens[where].astype(np.int64)
        if (largest := int(ids.max(initial=0))) >= shards.vocab_size:
            raise ArtifactError(
                f"shards {str(shards.folder)!r} hold token id {largest}, but their vocabulary has {shards.vocab_size}",
                repair=shards.repair,
            )
        targets = np.append(ids[1:], NO_TARGET)
        if shards.loss_mask is not None:
            targets[np.append(shards.loss_mask[where[1:]] == 0, True)] = NO_TARGET
        targets[np.cumsum(lengths) - 1] = NO_TARGET
        return ids, targets


class _RowStream:
    """The endless packed rows of one shards folder; row n is a pure function of (seed, index, n)."""

    def __init__(self, shards: Shards, width: int, window: int, seed: int, index: int) -> None:
        self._shards, self._width, self._seeds = shards, width, (seed, index)
        self._windows = -(-len(shards) // window)
        self._row_counts = np.full(self._windows, -1, np.int64)  # -1: not yet counted
        self._pattern = functools.lru_cache(maxsize=2)(self._make_pattern)
        self._plan = functools.lru_cache(maxsize=2)(self._make_plan)
        self._at_hand = (0, 0, 0, 0)  # epoch, window, its first row, the row behind its last
        first = slice(*self._borders(0))
        self.tokens_per_row = float(shards.lengths[first].sum() / self._rows_in(0))

    @property
    def rows_per_epoch(self) -> int:
        return sum(self._rows_in(window) for window in range(self._windows))

    def row(self, number: int) -> np.ndarray:
        """The samples of a row."""
        epoch, window, begin, end = self._at_hand
        if not begin <= number < end:
            self._at_hand = epoch, window, begin, end = self._find(number)
        begins, samples = self._plan(epoch, window)
        return samples[begins[number - begin] : begins[number - begin + 1]]

    def _find(self, number: int) -> tuple[int, int, int, int]:
        """The epoch and window of a row, and the range of rows of that window. Counts no more windows than needed."""
        epoch, begin = 0, 0
        if self._row_counts.min() > 0:
            total = int(self._row_counts.sum())
            epoch, begin = number // total, number // total * total
        while True:
            for window in random_order(self._windows, *self._seeds, epoch, 0).tolist():
                end = begin + self._rows_in(window)
                if number < end:
                    return epoch, window, begin, end
                begin = end
            total = int(self._row_counts.sum())
            epoch, begin = number // total, number // total * total

    def _borders(self, window: int) -> tuple[int, int]:
        """First sample of a window and the one behind its last; windows are equally large, to a sample."""
        return window * len(self._shards) // self._windows, (window + 1) * len(self._shards) // self._windows

    def _rows_in(self, window: int) -> int:
        if self._row_counts[window] < 0:
            lengths = self._shards.lengths[slice(*self._borders(window))]
            self._row_counts[window] = best_fit.count_rows(lengths, self._width)
        return int(self._row_counts[window])

    def _make_pattern(self, window: int) -> best_fit.Pattern:
        return best_fit.pack(self._shards.lengths[slice(*self._borders(window))], self._width)

    def _make_plan(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Where each row of a window begins among the samples, and the samples, row after row."""
        pattern = self._pattern(window)
        first, last = self._borders(window)
        lengths = self._shards.lengths[first:last]
        keys = random_keys(last - first, *self._seeds, epoch, window, 1)
        samples = np.empty(last - first, np.int64)
        samples[np.argsort(pattern.lengths, kind="stable")] = first + np.lexsort((keys, lengths))
        order = random_order(pattern.rows, *self._seeds, epoch, window, 2)
        sizes = np.diff(pattern.begins)[order]
        begins = np.concatenate([[0], np.cumsum(sizes)])
        where = np.repeat(pattern.begins[:-1][order] - begins[:-1], sizes) + np.arange(begins[-1])
        return begins, samples[where]


def _check_shards(shards: Sequence[Shards], sequence_length: int) -> None:
    require(len(shards) > 0, "shards", [], "at least one folder")
    require_same_tokenizer(shards)
    for one in shards:
        if one.vocab_size != shards[0].vocab_size:
            raise TokenizerMismatch(
                f"shards {str(one.folder)!r} have a vocabulary of {one.vocab_size}, "
                f"but those of {str(shards[0].folder)!r} one of {shards[0].vocab_size}",
                repair=one.repair,
            )
        if not len(one):
            raise ArtifactError(f"shards {str(one.folder)!r} have no samples", repair=one.repair)
        longest = int(one.lengths.max())
        require(
            longest <= sequence_length,
            "sequence_length",
            sequence_length,
            f"at least {longest}, the longest sample of {str(one.folder)!r}",
            repair=f"set sequence_length = {longest}, or make the shards again with max_length = {sequence_length}",
        )


def _row_shares(weights: Sequence[float], tokens_per_row: Sequence[float]) -> np.ndarray:
    """Shares of tokens as shares of rows, for rows that are not equally full."""
    fits = len(weights) == len(tokens_per_row)
    require(fits, "weights", list(weights), f"one for each of the {len(tokens_per_row)} shards folders")
    require(min(weights) >= 0 and sum(weights) > 0, "weights", list(weights), "numbers from 0 on, not all 0")
    shares = np.asarray(weights, np.float64) / tokens_per_row
    shares /= shares.sum()
    smallest = min(shares[shares > 0])
    require(smallest * _BLOCK >= 1, "weights", list(weights), f"0, or shares of at least {1 / _BLOCK:.2%}")
    return shares
