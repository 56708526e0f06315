"""``Index``: a folder that ``axk1 search build`` made, opened for questions; a ``Retriever``.

A build may run meanwhile: each question sees the newest state that was finished, and no passage that is gone.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from axk1.core.errors import ArtifactError, ConfigError
from axk1.search.documents.dates import day_of
from axk1.search.encoder import Encoder
from axk1.search.index.fusion import Fusion
from axk1.search.index.inverted import InvertedIndex
from axk1.search.index.store import Store
from axk1.search.index.vectors import VectorIndex
from axk1.search.index.words import Words
from axk1.search.passage import Hit, Passage
from axk1.search.retriever import Bounds

_EXACT = 20_000
"""Within bounds that leave no more passages than this, vectors are compared one by one."""


class DocumentFacts(NamedTuple):
    """What an index says of a document without its text."""

    name: str
    title: str
    date: str
    characters: int


class Index:
    """Passages, found by words and by vectors. For any number of threads."""

    def __init__(self, folder: Path, encoder: Encoder | None, fusion: Fusion) -> None:
        """Use ``Index.open``."""
        self._folder, self._encoder, self._fusion = folder, encoder, fusion
        self._store = Store(folder)
        self._analyser = Words()
        self._lock = threading.Lock()  # of the analyser and of looking for a newer state
        self._words: InvertedIndex | None = None
        self._vectors: VectorIndex | None = None
        self._state: tuple[str, ...] = ()
        if not self._store.fact("generation"):
            raise ArtifactError(f"the index {str(folder)!r} was never finished", repair="axk1 search build RECIPE")
        if encoder and self._store.fact("encoder") not in ("", f"{encoder.name}/{encoder.dimensions}"):
            held = self._store.fact("encoder_name")
            raise ArtifactError(
                f"the index {str(folder)!r} holds vectors of {held!r}, not of {encoder.name!r}",
                repair="open it with that encoder, or build it with this one",
            )
        self._refresh()

    @classmethod
    def open(cls, folder: str | Path, *, encoder: Encoder | None = None, fusion: Fusion = Fusion()) -> "Index":
        """Opens an index.

        Args:
            folder: what ``axk1 search build`` wrote.
            encoder: the model that made its vectors; without one, passages are found by words alone.
            fusion: how much words and vectors count.

        Raises:
            ArtifactError: there is no index, it is damaged, or its vectors are another encoder's.
        """
        return cls(Path(folder), encoder, fusion)

    def search(self, question: str, *, limit: int = 10, bounds: Bounds = Bounds()) -> Sequence[Hit]:
        """The best passages for a question, best first; see ``Retriever``."""
        _check(bounds)
        if limit < 1:
            return []
        self._refresh()
        depth = max(self._fusion.depth, limit)
        rankings: dict[str, Sequence[int]] = {}
        if self._fusion.bm25 and self._words is not None:
            with self._lock:
                terms = self._analyser.terms(question)
            rankings["bm25"] = self._words.search(terms, depth, bounds)
        if self._fusion.dense and self._vectors is not None:
            rankings["dense"] = self._nearest(question, depth, bounds)
        fused = self._fusion.fuse(rankings)
        found = self._store.passages([number for number, _, _ in fused[: 2 * limit]])
        hits = [Hit(found[number], score, ranks) for number, score, ranks in fused if number in found]
        return hits[:limit]

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

    def _nearest(self, question: str, depth: int, bounds: Bounds) -> list[int]:
        vector = self._encoder.encode([question], kind="query")[0]
        if bounds == Bounds():
            return self._vectors.search(vector, depth)
        inside = self._store.numbers_within(bounds.since, bounds.until, bounds.documents, _EXACT + 1)
        if len(inside) <= _EXACT:
            return self._compared(vector, inside)[:depth]
        allowed, most = set(self._store.numbers_within(bounds.since, bounds.until, bounds.documents, -1)), depth
        while True:  # more than enough lie inside, so some doublings find them
            nearest = self._vectors.search(vector, most)
            kept = [number for number in nearest if number in allowed]
            if len(kept) >= depth or most >= len(self._vectors):
                return kept[:depth]
            most *= 4

    def _compared(self, vector: np.ndarray, numbers: Sequence[int]) -> list[int]:
        scored: list[tuple[float, int]] = []
        for start in range(0, len(numbers), 4096):
            held, vectors = self._store.vectors_of(numbers[start : start + 4096])
            if held:
                scored += zip((-(vectors.astype(np.float32) @ vector)).tolist(), held, strict=True)
        return [number for _, number in sorted(scored)]

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
