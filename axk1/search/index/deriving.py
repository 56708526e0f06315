"""What SQLite says -> the inverted index and the vectors: only what is new, and what is gone.

Each step ends with a transaction that says how far the derived index goes. A killed step is done again from there: the
inverted index first forgets what lies above that number, the vector index is a file that was not renamed yet. A derived
index that is missing, damaged or of another kind is made anew in a folder of another name, while readers keep the old.
"""

import contextlib
import shutil
from pathlib import Path

from axk1.core.errors import ArtifactError
from axk1.core.progress import Meter
from axk1.search.encoder import Encoder
from axk1.search.index.inverted import InvertedIndex, Posting
from axk1.search.index.store import Store
from axk1.search.index.vectors import VectorIndex
from axk1.search.index.words import Words
from axk1.search.passage import Passage

WORDS_BATCH = 10_000
VECTORS_BATCH = 256
COPY_BATCH = 8_192


def searchable(passage: Passage) -> str:
    """What of a passage is searched: its text, after the title and the section that it stands in."""
    return "\n".join(filter(None, (passage.title, passage.section, passage.text)))


def identity(encoder: Encoder) -> str:
    """What an index remembers of the model that made its vectors."""
    return f"{encoder.name} ({encoder.dimensions} dimensions)"


def words_behind(store: Store) -> int:
    """How many passages the inverted index has yet to take in."""
    through = int(store.fact("words_through", "0")) if store.fact("words_identity") == Words.identity else 0
    return store.connection.execute("SELECT count(*) FROM passages WHERE number > ?", (through,)).fetchone()[0]


def update_words(folder: Path, store: Store, words: Words, meter: Meter) -> None:
    """Brings the inverted index to what the store holds."""
    index = _inverted(folder, store)
    first, removed = True, store.to_forget("words")
    while True:
        through = int(store.fact("words_through", "0"))
        batch = store.passages_after(through, WORDS_BATCH)
        if not batch and not (first and (removed or through < 1)):
            break
        terms = words.batch(searchable(passage) for _, _, passage in batch)
        postings = [
            Posting(number, each, passage.document, passage.date)
            for (number, _, passage), each in zip(batch, terms, strict=True)
        ]
        index.change(postings, removed if first else (), after=through if first else None)
        with store:
            store.remember(words_through=batch[-1][0] if batch else through)
            if first:
                store.forgot("words")
        meter.advance(len(batch))
        first = False
    if len(index) != store.counts()[1]:
        raise ArtifactError(
            f"the inverted index holds {len(index)} passages, the store {store.counts()[1]}",
            repair=f"rm -r {folder / store.fact('words_folder')}, then build again",
        )


def _inverted(folder: Path, store: Store) -> InvertedIndex:
    """The inverted index to go on with, or an empty one where there is none that fits."""
    name = store.fact("words_folder")
    if name and (folder / name).is_dir() and store.fact("words_identity") == Words.identity:
        with contextlib.suppress(ValueError, OSError):  # damaged: made anew below
            index = InvertedIndex(folder / name)
            if len(index) >= store.counts()[1] - words_behind(store):
                return index
    turn = int(name.rpartition("-")[2] or 0) + 1 if name else 1
    shutil.rmtree(folder / f"words-{turn}", ignore_errors=True)  # of a run that was killed before it was noted
    index = InvertedIndex(folder / f"words-{turn}")
    with store:
        store.remember(words_folder=f"words-{turn}", words_identity=Words.identity, words_through=0)
    return index


def encode_passages(store: Store, encoder: Encoder, meter: Meter) -> None:
    """Gives every passage without a vector one; those of another encoder are forgotten first."""
    if store.fact("encoder") != identity(encoder):
        with store:
            store.drop_vectors()
            store.remember(encoder=identity(encoder), vectors_file="", vectors_through=0)
    while batch := store.without_vectors(VECTORS_BATCH):
        vectors = encoder.encode([searchable(passage) for _, passage in batch], kind="passage")
        with store:
            store.put_vectors([number for number, _ in batch], vectors)
        meter.advance(len(batch))


def update_vectors(folder: Path, store: Store, dimensions: int, precision: str, threads: int) -> None:
    """Brings the vector index to what the store holds, as a new file."""
    index, through = _vector_index(folder, store, dimensions, precision)
    removed, start = store.to_forget("vectors"), through
    index.remove(removed)
    while True:
        numbers, vectors = store.vectors_after(through, COPY_BATCH)
        if not numbers:
            break
        index.add(numbers, vectors, threads)
        through = numbers[-1]
    if through > start or removed or not store.fact("vectors_file"):
        turn = int(store.fact("vectors_turn", "0")) + 1
        name = f"vectors-{turn}.usearch"
        index.save(folder / name)
        with store:
            store.remember(vectors_file=name, vectors_turn=turn, vectors_through=through)
            store.forgot("vectors")


def _vector_index(folder: Path, store: Store, dimensions: int, precision: str) -> tuple[VectorIndex, int]:
    """The vector index to go on with and how far it goes, or an empty one where there is none that fits."""
    name = store.fact("vectors_file")
    if name:
        with contextlib.suppress(ArtifactError):  # missing or damaged: made anew below
            index = VectorIndex.open(folder / name, writes=True)
            if index.kind == (dimensions, precision):
                return index, int(store.fact("vectors_through", "0"))
    return VectorIndex(dimensions, precision), 0


def forget_vectors(store: Store) -> None:
    """For an index without an encoder: no vectors, and nothing to forget in them."""
    with store:
        store.drop_vectors()
        store.remember(encoder="", encoder_opened="", vectors_file="", vectors_through=0)
        store.forgot("vectors")


def sweep(folder: Path, store: Store) -> None:
    """Deletes derived indices of earlier turns; readers that have them open keep them until they close."""
    for path in folder.iterdir():
        if path.name.startswith("words-") and path.name != store.fact("words_folder"):
            shutil.rmtree(path, ignore_errors=True)
        if path.name.lstrip(".").startswith("vectors-") and path.name != store.fact("vectors_file"):
            path.unlink(missing_ok=True)
