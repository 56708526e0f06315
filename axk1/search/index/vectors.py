"""``VectorIndex``: vectors -> their nearest passages by the cosine, kept by usearch (HNSW).

Each state is one file with its generation in the name; a new one is written beside it and renamed, so that readers keep
what they have opened (memory-mapped) until they look again.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import usearch.index

from axk1.core.errors import ArtifactError


class VectorIndex:
    """Vectors by number of passage."""

    def __init__(self, dimensions: int, precision: str = "f16") -> None:
        """Args: dimensions: length of a vector; precision: ``f16`` or ``i8`` (half the memory)."""
        self._index = usearch.index.Index(ndim=dimensions, metric="cos", dtype=precision)

    @classmethod
    def open(cls, path: Path, *, writes: bool = False) -> "VectorIndex":
        """Reads a file: a reader maps it into memory, a writer loads it. Raises ArtifactError when it is damaged."""
        index = cls.__new__(cls)
        try:
            found = usearch.index.Index.restore(str(path), view=not writes) if path.exists() else None
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"{str(path)!r} is damaged: {error}", repair=f"rm {path}, build again") from None
        if found is None:
            raise ArtifactError(f"{str(path)!r} is no vector index", repair="axk1 search build RECIPE")
        index._index = found
        return index

    def __len__(self) -> int:
        return len(self._index)

    @property
    def kind(self) -> tuple[int, str]:
        """Dimensions and precision."""
        return self._index.ndim, str(self._index.dtype.name).lower()

    def add(self, numbers: Sequence[int], vectors: np.ndarray, threads: int = 1) -> None:
        """Adds vectors [passages, dimensions]; a number that is there already stays as it is."""
        fresh = ~np.asarray(self._index.contains(np.asarray(numbers, np.uint64)))
        if fresh.any():
            keys = np.asarray(numbers, np.uint64)[fresh]
            self._index.add(keys, np.ascontiguousarray(vectors[fresh], np.float32), threads=threads)

    def remove(self, numbers: Sequence[int]) -> None:
        """Forgets numbers; unknown ones are passed over."""
        for number in numbers:
            if number in self._index:
                self._index.remove(number)

    def search(self, vector: np.ndarray, limit: int) -> list[int]:
        """Numbers of the nearest passages, nearest first; approximate."""
        if not len(self._index) or limit < 1:
            return []
        matches = self._index.search(np.asarray(vector, np.float32), min(limit, len(self._index)), threads=1)
        return [int(key) for key in matches.keys]

    def save(self, path: Path) -> None:
        """Writes the file: whole or not at all."""
        temporary = path.with_name(f".{path.name}.tmp")
        self._index.save(str(temporary))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
