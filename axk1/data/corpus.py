"""From what the sources hold to what is kept: sample, split off the held-out part, filter, remove duplicates.

Memory is that of the sampled text, so a source is bounded by its ``max_bytes`` however large it is. One process reads
one source after another; a corpus beyond some gigabytes is built as several artifacts, one recipe each (the jobs are
independent, so a cluster runs them side by side), and mixed when shards are packed.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy

from axk1.core.progress import Meter, human, progress
from axk1.data.deduplicate import DeduplicateConfig, HeldoutOverlap, NearDuplicates, shingle_hashes
from axk1.data.document import Document
from axk1.data.filters import FilterConfig, reason_to_remove
from axk1.data.sampling import Sample, draw
from axk1.data.sources import Source
from axk1.guard import redact


@dataclasses.dataclass(frozen=True)
class Collected:
    """What was drawn from one source."""

    train: list[Document]
    """For training, in the order of their draws."""
    heldout: list[Document]
    """For evaluation, in the order of their draws."""
    read: tuple[int, int]
    """Documents and bytes that the source holds."""
    not_drawn: tuple[int, int]
    """Documents and bytes left out only because of max_bytes or heldout_documents."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What is kept, and what was removed and why."""

    train: list[Document]
    heldout: list[Document]
    removed: list[tuple[Document, str]]


def collect(documents: Iterable[Document], source: Source, seed: int, *, max_bytes: int | None = None) -> Collected:
    """Splits a source's documents into training and held-out and draws a sample of each, for training of max_bytes."""
    train = Sample(max_bytes=max_bytes)
    heldout = Sample(max_documents=source.heldout_documents)
    count = size = 0
    for document in documents:
        count, size = count + 1, size + document.bytes
        part = heldout if is_heldout(document, source, seed) else train
        part.add(document, draw(document, "sample", seed))
    left_out = train.left_out_documents + heldout.left_out_documents, train.left_out_bytes + heldout.left_out_bytes
    return Collected(train.documents(), heldout.documents(), (count, size), left_out)


def is_heldout(document: Document, source: Source, seed: int) -> bool:
    """Whether a document belongs to the held-out part, by its date or by its draw."""
    if source.heldout_from:
        return document.date is not None and document.date >= source.heldout_from
    return draw(document, "heldout", seed) < source.heldout_fraction


def clean(collected: Sequence[Collected], filters: FilterConfig, duplicates: DeduplicateConfig, seed: int) -> Corpus:
    """Filters and deduplicates what was collected, sources in the order of the recipe.

    Of near-duplicates the first stays. Held-out documents are compared with each other and with all training text.
    The result is in the order of the draws, so that every beginning of it is a fair mix.
    """
    removed: list[tuple[Document, str]] = []
    train = [document for part in collected for document in part.train]
    heldout = [document for part in collected for document in part.heldout]
    total = sum(document.bytes for document in train + heldout)
    with progress("cleaning", total=total, unit="bytes") as meter:
        heldout, heldout_hashes = _clean(heldout, filters, duplicates, removed, meter, overlap=None)
        overlap = HeldoutOverlap(heldout_hashes)
        train, _ = _clean(train, filters, duplicates, removed, meter, overlap=overlap)
    kept = []
    for document, share in zip(heldout, overlap.shares(), strict=True):
        if share >= duplicates.max_heldout_overlap:
            removed.append((document, f"held-out text seen in training: {share:.0%} of its shingles"))
        else:
            kept.append(document)
    return Corpus(_ordered(train, seed), _ordered(kept, seed), removed)


def mask(corpus: Corpus) -> Corpus:
    """Puts placeholders in the place of personal data, in what is kept and in what was removed."""
    everything = [*corpus.train, *corpus.heldout, *(document for document, _ in corpus.removed)]
    with progress("masking personal data", total=sum(document.bytes for document in everything), unit="bytes") as meter:

        def masked(document: Document) -> Document:
            meter.advance(document.bytes)
            return dataclasses.replace(document, text=redact(document.text)[0])

        return Corpus(
            [masked(document) for document in corpus.train],
            [masked(document) for document in corpus.heldout],
            [(masked(document), reason) for document, reason in corpus.removed],
        )


def count_reasons(removed: Iterable[tuple[Document, str]]) -> dict[str, int]:
    """How often each reason was given, without its particulars."""
    return dict(sorted(Counter(reason.partition(":")[0] for _, reason in removed).items()))


def _clean(
    documents: list[Document],
    filters: FilterConfig,
    duplicates: DeduplicateConfig,
    removed: list[tuple[Document, str]],
    meter: Meter,
    overlap: HeldoutOverlap | None,
) -> tuple[list[Document], list[numpy.ndarray]]:
    """The documents that stay; their shingle hashes too, unless an overlap counter takes them as they come."""
    near = NearDuplicates(duplicates)
    kept: list[Document] = []
    hashes: list[numpy.ndarray] = []
    for document in documents:
        meter.advance(document.bytes, note=f"{human(len(kept))} documents kept")
        reason = reason_to_remove(document, filters)
        shingles = numpy.zeros(0, numpy.uint64)
        if reason is None:
            shingles = shingle_hashes(document.text, duplicates.shingle_characters)
            earlier = near.add(document, shingles)
            reason = f"near-duplicate: of {earlier}" if earlier is not None else None
        if reason is not None:
            removed.append((document, reason))
            continue
        kept.append(document)
        if overlap is None:
            hashes.append(shingles)
        else:
            overlap.see(shingles)
    return kept, hashes


def _ordered(documents: list[Document], seed: int) -> list[Document]:
    return sorted(documents, key=lambda document: (draw(document, "order", seed), document.id))
