"""Near-duplicates, and held-out text that training has seen.

Both look at shingles: all runs of 30 characters, white space evened out. A document's MinHash signature estimates the
share of shingles that two documents have in common (their Jaccard similarity), and datasketch's locality-sensitive
hashing finds the candidates. The signatures are computed here with one permutation of vectorised hashes (Li, Owen and
Zhang 2012, empty bins filled by rotation after Shrivastava and Li 2014), which is about 20 times as fast on long
documents as 128 permutations of hashes computed one by one. Overlap with training is counted exactly.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy
from datasketch import MinHash, MinHashLSH

from axk1.core.config import require
from axk1.data.document import Document

_PERMUTATIONS = 128
_BIN_SHIFT = numpy.uint64(64 - 7)  # the top 7 bits choose one of the 128 bins
_PREFIX_BITS = 24
_PREFIX_SHIFT = numpy.uint64(64 - _PREFIX_BITS)
_ODD = numpy.uint64(0x9E3779B97F4A7C15)
_MIX = numpy.uint64(0xFF51AFD7ED558CCD)
_ROTATION = numpy.uint64(0xD6E8FEB86659FD93)


@dataclasses.dataclass(frozen=True)
class DeduplicateConfig:
    """What counts as a duplicate."""

    shingle_characters: int = 30
    """How many characters a shingle has."""
    max_similarity: float = 0.7
    """Remove a document whose estimated share of common shingles with an earlier one is this or more."""
    max_heldout_overlap: float = 0.5
    """Remove a held-out document when this share of its shingles or more stands in the training text."""

    def __post_init__(self) -> None:
        require(self.shingle_characters >= 1, "shingle_characters", self.shingle_characters, "1 or more")
        for name in ("max_similarity", "max_heldout_overlap"):
            value = getattr(self, name)
            require(0 < value <= 1, name, value, "above 0 and at most 1")


def shingle_hashes(text: str, length: int) -> numpy.ndarray:
    """The hashes of all runs of ``length`` characters in order, uint64; one hash of the whole when it is shorter."""
    even = " ".join(text.split())
    codes = numpy.frombuffer(even.encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32).astype(numpy.uint64)
    codes = _mixed(codes + numpy.uint64(1))
    return _mixed(_rolling(codes, max(1, min(length, len(codes)))))


def signature(hashes: numpy.ndarray) -> numpy.ndarray:
    """The MinHash signature of a set of shingle hashes: 128 values, uint64."""
    ordered = numpy.sort(hashes)
    bins = (ordered >> _BIN_SHIFT).astype(numpy.int64)
    first = numpy.flatnonzero(numpy.diff(bins, prepend=-1))
    filled = bins[first]
    # an empty bin takes the value of the next filled one, changed by the distance so that it tells something else
    every = numpy.arange(_PERMUTATIONS)
    following = numpy.searchsorted(filled, every) % len(filled)
    distance = (filled[following] - every) % _PERMUTATIONS
    return ordered[first][following] + distance.astype(numpy.uint64) * _ROTATION


class NearDuplicates:
    """Finds the earlier document that a new one nearly repeats.

    Args:
        config: what counts as a duplicate.
    """

    def __init__(self, config: DeduplicateConfig) -> None:
        self._config = config
        # candidates are checked by their signatures, so a wrong one costs little and a missed one is a duplicate kept
        weights = (0.1, 0.9)
        self._index = MinHashLSH(threshold=config.max_similarity, num_perm=_PERMUTATIONS, weights=weights)
        self._kept: list[tuple[str, numpy.ndarray]] = []

    def add(self, document: Document, hashes: numpy.ndarray) -> str | None:
        """The id of the most similar earlier document, if it is too similar; otherwise None, and this one is kept."""
        values = signature(hashes)
        sketch = _sketch(values)
        best, found = 0.0, None
        for candidate in sorted(self._index.query(sketch)):
            earlier, its_values = self._kept[candidate]
            similarity = float(numpy.mean(its_values == values))
            if similarity > best:
                best, found = similarity, earlier
        if best >= self._config.max_similarity:
            return found
        self._index.insert(len(self._kept), sketch, check_duplication=False)
        self._kept.append((document.id, values))
        return None


class HeldoutOverlap:
    """Counts, exactly, how much of each held-out document stands in the training text.

    Memory is that of the held-out shingles; the training text streams by.

    Args:
        documents: the shingle hashes of each held-out document.
    """

    def __init__(self, documents: Sequence[numpy.ndarray]) -> None:
        self._documents = documents
        self._known = numpy.unique(numpy.concatenate([numpy.zeros(0, numpy.uint64), *documents]))
        self._seen = numpy.zeros(len(self._known), dtype=bool)
        self._maybe = numpy.zeros(1 << _PREFIX_BITS, dtype=bool)  # most training shingles are ruled out by a prefix
        self._maybe[self._known >> _PREFIX_SHIFT] = True

    def see(self, hashes: numpy.ndarray) -> None:
        """Counts a training document, by its shingle hashes."""
        hashes = hashes[self._maybe[hashes >> _PREFIX_SHIFT]]
        if len(hashes):
            at = numpy.minimum(numpy.searchsorted(self._known, hashes), len(self._known) - 1)
            self._seen[at[self._known[at] == hashes]] = True

    def shares(self) -> list[float]:
        """For each held-out document, the share of its shingles that the training text has, 0 to 1."""
        return [float(self._seen[numpy.searchsorted(self._known, hashes)].mean()) for hashes in self._documents]


def _mixed(values: numpy.ndarray) -> numpy.ndarray:
    values = values * _MIX
    return values ^ (values >> numpy.uint64(32))


def _rolling(codes: numpy.ndarray, length: int) -> numpy.ndarray:
    """The polynomial hash of every window of ``length`` values, by doubling: log2(length) passes over the array."""
    if not len(codes):
        return numpy.zeros(1, dtype=numpy.uint64)
    result, covered = None, 0
    power, width, factor = codes, 1, _ODD
    while True:
        if length & 1:
            if result is None:
                result, covered = power, width
            else:
                count = len(codes) - (covered + width) + 1
                result = result[:count] * factor + power[covered : covered + count]
                covered += width
        length >>= 1
        if not length:
            return result
        count = len(power) - width
        power = power[:count] * factor + power[width : width + count]
        with numpy.errstate(over="ignore"):
            width, factor = width * 2, factor * factor


@functools.cache
def _permutations() -> numpy.ndarray:
    return MinHash(num_perm=_PERMUTATIONS, scheme="affine64").permutations


def _sketch(values: numpy.ndarray) -> MinHash:
    return MinHash(hashvalues=values, permutations=_permutations(), scheme="affine64")
