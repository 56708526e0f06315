"""Entropy coding of columns of whole numbers: a chunk's own statistics, one independent stream of bytes per sample.

A number is split like a float: its **class** says its size to an eighth of an octave (0 to 15 are classes of their
own), its **remainder** says which of the class. Classes follow the statistics of their column and are coded with them
(asymmetric numeral systems, Duda, arXiv:1311.2540, by the ``constriction`` library); remainders are nearly uniform and
take their bits plain. The statistics stand once at the head of a chunk, as whole numbers, so that a stream means the
same on every machine.

Shapes: R rows, C columns, L classes.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np

from axk1.core.errors import ArtifactError

LARGEST = 2**24 - 1
"""The largest number that can be coded."""
_Ans = constriction.stream.stack.AnsCoder
_categorical = constriction.stream.model.Categorical
_uniform = constriction.stream.model.Uniform()


def _classes() -> tuple[np.ndarray, np.ndarray]:
    """The first number of each class [L], and how many bits tell its numbers apart [L]."""
    octaves = np.repeat(np.arange(4, 24), 8)
    first = np.concatenate((np.arange(16), (8 + np.arange(len(octaves)) % 8) << (octaves - 3)))
    return first.astype(np.int32), np.concatenate((np.zeros(16, int), octaves - 3)).astype(np.int32)


_FIRST, _BITS = _classes()
N_CLASSES = len(_FIRST)


def split(numbers: np.ndarray) -> np.ndarray:
    """The class of each number (0 to ``LARGEST``), int32."""
    octave = np.frexp(np.maximum(numbers, 16))[1].astype(np.int32) - 1
    large = 16 + (octave - 4) * 8 + ((numbers >> (octave - 3)) & 7)
    return np.where(numbers < 16, numbers, large).astype(np.int32)


@dataclass(frozen=True)
class Layout:
    """Which columns a row has."""

    after: tuple[int, ...]
    """For each column the earlier column that must not be zero for it to exist, or -1; what does not exist is zero."""

    def present(self, classes_RC: np.ndarray, column: int) -> np.ndarray | slice:
        """The rows that have a column, by the classes of the columns before it."""
        after = self.after[column]
        return slice(None) if after < 0 else np.flatnonzero(classes_RC[:, after])


class Statistics:
    """How often each class comes in each column of a chunk, and the coder that follows from it."""

    def __init__(self, layout: Layout, counts_CL: np.ndarray) -> None:
        self.layout, self._counts_CL = layout, counts_CL.astype("<u2")
        self._models: list = [None] * len(layout.after)

    @classmethod
    def of(cls, layout: Layout, numbers_RC: np.ndarray) -> "Statistics":
        """Counts the classes of a chunk."""
        classes_RC, counts_CL = split(numbers_RC), np.zeros((len(layout.after), N_CLASSES), np.int64)
        for column in range(len(layout.after)):
            present = classes_RC[layout.present(classes_RC, column), column]
            counts_CL[column] = np.bincount(present, minlength=N_CLASSES)
        largest_C1 = np.maximum(counts_CL.max(1, keepdims=True), 1)
        # Rounded up, so that what comes has a count.
        scaled_CL = -(-counts_CL * (2**16 - 1) // np.maximum(largest_C1, 2**16 - 1))
        return cls(layout, scaled_CL)

    def to_bytes(self) -> bytes:
        """The head of a chunk; ends with its CRC-32."""
        body = zlib.compress(self._counts_CL.tobytes(), 9)
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def from_bytes(cls, layout: Layout, head: bytes) -> "Statistics":
        """Reads the head of a chunk. Raises ArtifactError where it does not match its checksum."""
        body, checksum = head[:-4], head[-4:]
        if len(checksum) < 4 or struct.pack("<I", zlib.crc32(body)) != checksum:
            raise ArtifactError("the statistics at its head do not match their checksum")
        counts = np.frombuffer(zlib.decompress(body), "<u2").reshape(len(layout.after), N_CLASSES)
        return cls(layout, counts)

    def encode(self, numbers_RC: np.ndarray) -> bytes:
        """The numbers of one sample as bytes."""
        classes_RC, coder = split(numbers_RC), _Ans()
        wanted = [self.layout.present(classes_RC, column) for column in range(len(self.layout.after))]
        rest_RC, bits_RC = numbers_RC - _FIRST[classes_RC], _BITS[classes_RC]
        rest, bits = _flat(rest_RC, wanted), _flat(bits_RC, wanted)
        # A stack: what is decoded last goes in first.
        coder.encode_reverse(rest[bits > 0], _uniform, np.left_shift(1, bits[bits > 0], dtype=np.int32))
        for column in reversed(range(len(wanted))):
            symbols = np.ascontiguousarray(classes_RC[wanted[column], column])
            if len(symbols):
                coder.encode_reverse(symbols, self._model(column))
        return coder.get_compressed().astype("<u4").tobytes()

    def decode(self, content: bytes, rows: int) -> np.ndarray:
        """The numbers [R, C] of one sample, int32. Raises ArtifactError where the bytes do not end with the last."""
        columns = len(self.layout.after)
        coder = _Ans(np.frombuffer(content, "<u4").astype(np.uint32))
        classes_CR, wanted = np.zeros((columns, rows), np.int32), []
        for column in range(columns):
            wanted.append(self.layout.present(classes_CR.T, column))
            amount = rows if isinstance(wanted[-1], slice) else len(wanted[-1])
            if amount:
                classes_CR[column, wanted[-1]] = coder.decode(self._model(column), amount)
        numbers_CR, bits_CR = _FIRST[classes_CR], _BITS[classes_CR]  # what is absent has class 0, so no remainder
        where = np.flatnonzero(bits_CR)
        if len(where):
            sizes = np.left_shift(1, bits_CR.reshape(-1)[where], dtype=np.int32)
            numbers_CR.reshape(-1)[where] += coder.decode(_uniform, sizes)
        if not coder.is_empty():
            raise ArtifactError("a sample's bytes do not end where its rows end")
        return numbers_CR.T

    def _model(self, column: int) -> Any:
        if self._models[column] is None:
            counts = self._counts_CL[column].astype(np.float64)
            self._models[column] = _categorical((counts / max(counts.sum(), 1)).astype(np.float32), perfect=False)
        return self._models[column]


def _flat(values_RC: np.ndarray, wanted: Sequence[np.ndarray | slice]) -> np.ndarray:
    """The values of the rows that each column has, one column after the other."""
    parts = [values_RC[rows, column] for column, rows in enumerate(wanted)]
    return np.concatenate(parts).astype(np.int32)


def token_order(counts_V: np.ndarray) -> np.ndarray:
    """Token ids [V], uint32, the most frequent first; what comes equally often in the order of the vocabulary.

    Byte-pair vocabularies are themselves ordered by frequency, so this also serves tokens that were never counted.
    """
    return np.argsort(-counts_V, kind="stable").astype("<u4")
