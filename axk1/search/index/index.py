"""``Index``: a folder that ``axk1 search build`` made, opened for questions; a ``Retriever``.

A build may run meanwhile: each question sees the newest state that was finished, and no passage that is gone.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from axk1.core.errors import ArtifactError, ConfigError
from axk1.search.documents.dates import day_of
from axk1.search.encoder import Encoder
from axk1.search.encoders.open import open_encoder
from axk1.search.index.deriving import identity
from axk1.search.index.fusion import Weights, fuse, most_possible
from axk1.search.index.inverted import InvertedIndex
from axk1.search.index.store import Store
from axk1.search.index.vectors import VectorIndex
from axk1.search.index.words import Words
from axk1.search.passage import DocumentFacts, Hit, Passage
from axk1.search.retriever import Bounds

_DEPTH = 100
"""How many passages each ranking gives at least."""
_FEW = 5_000
"""Within bounds that leave no more passages than this, vectors are compared one by one."""


class Index:
    """Passages, found by words and by vectors. For any number of threads."""

    def __init__(self, folder: Path, encoder: Encoder | None, weights: Weights) -> None:
        """Use ``Index.open``."""
        self._folder, self._encoder, self._weights = folder, encoder, weights
        self._store = Store(folder)
        self._analyser = Words()
        self._lock = threading.Lock()  # of the analyser and of looking for a newer state
        self._words: InvertedIndex | None = None
        self._vectors: VectorIndex | None = None
        self._state: tuple[str, ...] = ()
        self._refresh()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        encoder: Encoder | None = None,
        vectors: bool = True,
        weights: Weights = Weights(),
    ) -> "Index":
        """Opens an index.

        Args:
            folder: what ``axk1 search build`` wrote.
            encoder: the model that made its vectors; nothing for the one that its recipe named.
            vectors: False to find passages by words alone, without a model.
            weights: how much words and vectors count.

        Raises:
            ArtifactError: there is no index, it is damaged, or its vectors are another encoder's.
            AXK1Error: its encoder cannot be had.
        """
        store = Store(Path(folder))
        held, name = store.fact("encoder"), store.fact("encoder_opened")
        finished = bool(store.fact("generation"))
        store.close()
        if not finished:
            raise ArtifactError(f"the index {str(folder)!r} was never finished", repair="axk1 search build RECIPE")
        if vectors and held and encoder is None and name:
            encoder = open_encoder(name)
        if vectors and held != (identity(encoder) if encoder else ""):
            problem = f"the index {str(folder)!r} holds vectors of {held or 'no encoder'}"
            problem += f", not of {identity(encoder)}" if encoder else ""
            raise ArtifactError(problem, repair="open it with that encoder, or build it with this one")
        return cls(Path(folder), encoder if vectors else None, weights)

    def search(self, question: str, *, limit: int = 10, bounds: Bounds = Bounds()) -> Sequence[Hit]:
        """The best passages for a question, best first; see ``Retriever``."""
        _check(bounds)
        if limit < 1:
            return []
        self._refresh()
        depth = max(_DEPTH, limit)
        with self._lock:
            terms = self._analyser.terms(question)
        bm25 = self._words.search(terms, depth, bounds)
        nearest = self._nearest(question, depth, bounds, tuple(bm25)) if self._vectors is not None else {}
        dense = {number: rank for rank, number in enumerate(list(nearest)[:depth], 1)}
        words = {number: rank for rank, number in enumerate(bm25, 1)}
        possible = most_possible(self._words.frequencies(terms), len(self._words))
        fused = fuse(bm25, nearest, possible=possible, weights=self._weights)
        found = self._store.passages([number for number, _ in fused[: 2 * limit]])  # some may be gone meanwhile
        return [
            Hit(
                found[number],
                score,
                tuple((n, ranks[number]) for n, ranks in (("bm25", words), ("dense", dense)) if number in ranks),
            )
            for number, score in fused
            if number in found
        ][:limit]

    def passage(self, identifier: str) -> Passage | None:
        """The passage with this id; None where there is none."""
        return self._store.passage(identifier)

    def document_text(self, name: str) -> str:
        """The whole text of a document. Raises ConfigError where there is none of this name."""
        text = self._store.document_text(name)
        if text is None:
            raise ConfigError(f"the index holds no document {name!r}", repair="see Index.documents()")
        return text

    def documents(self) -> Iterator[DocumentFacts]:
        """Name, title, date and length of each document, by name."""
        return map(DocumentFacts._make, self._store.documents())

    def problems(self) -> list[tuple[str, str]]:
        """Files that could not be read, with the reasons."""
        return self._store.problems()

    def __len__(self) -> int:
        """How many passages it holds."""
        return self._store.counts()[1]

    def close(self) -> None:
        """Closes this thread's connection to the store."""
        self._store.close()

    def _nearest(self, question: str, depth: int, bounds: Bounds, others: Sequence[int]) -> dict[int, float]:
        """Exact cosines, the highest first, of the nearest passages and of those that were found otherwise."""
        vector = self._encoder.encode([question], kind="query")[0]
        near = self._vectors.search(vector, depth) if bounds == Bounds() else self._inside(vector, depth, bounds)
        return self._compared(vector, list(dict.fromkeys([*near, *others])))

    def _inside(self, vector: np.ndarray, depth: int, bounds: Bounds) -> list[int]:
        """The nearest within bounds: of more and more of the nearest, or of all inside where these are few."""
        most, asked = 4 * depth, False
        while True:
            near = self._vectors.search(vector, most)
            inside = self._store.within(bounds, among=near)
            if len(inside) >= depth or most >= len(self._vectors):
                kept = set(inside)
                return [number for number in near if number in kept][:depth]
            share = len(inside) / most
            if not asked and share * len(self._vectors) < 2 * _FEW:
                asked = True
                if len(few := self._store.within(bounds, most=_FEW + 1)) <= _FEW:
                    return list(self._compared(vector, few))[:depth]
            most = min(4 * most, max(2 * most, int(1.3 * depth / share))) if share else 4 * most

    def _compared(self, vector: np.ndarray, numbers: Sequence[int]) -> dict[int, float]:
        """Exact cosines, the highest first."""
        cosines: dict[int, float] = {}
        for start in range(0, len(numbers), 4096):
            held, vectors = self._store.vectors_of(numbers[start : start + 4096])
            if held:
                cosines |= zip(held, (vectors.astype(np.float32) @ vector).tolist(), strict=True)
        return dict(sorted(cosines.items(), key=lambda each: -each[1]))

    def _refresh(self) -> None:
        """Opens what a build has finished since the last question."""
        state = tuple(self._store.fact(name) for name in ("generation", "words_folder", "vectors_file"))
        if state == self._state:
            return
        with self._lock:
            _, words, vectors = state
            if self._words is None or words != self._state[1]:
                self._words = self._open_words(words)
            else:
                self._words.reload()
            if not self._encoder or not vectors:
                self._vectors = None
            elif self._vectors is None or vectors != self._state[2]:
                self._vectors = VectorIndex.open(self._folder / vectors)
            self._state = state

    def _open_words(self, name: str) -> InvertedIndex | None:
        if not name or self._store.fact("words_identity") != Words.identity:
            raise ArtifactError(
                f"the words of the index {str(self._folder)!r} were made by another version", repair="build it again"
            )
        try:
            return InvertedIndex(self._folder / name)
        except (ValueError, OSError) as error:
            raise ArtifactError(f"{str(self._folder / name)!r} is damaged: {error}", repair="build it again") from None


def _check(bounds: Bounds) -> None:
    for name, value in (("since", bounds.since), ("until", bounds.until)):
        if value and day_of(value) != value:
            raise ConfigError(f"{name} = {value!r} is not allowed; allowed: a day such as 2026-01-31")
