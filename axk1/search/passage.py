"""``Passage``: what is indexed, found and cited; ``Hit``: a passage that a question found; ``DocumentFacts``."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Passage:
    """A stretch of one document."""

    id: str
    """Stable: of the document's content and the span, so that it is the same after the index is built anew."""
    document: str
    """Where the document is: a path below the indexed folder, or an address."""
    title: str
    """Of the document."""
    section: str
    """Headings above the passage, outermost first, joined by ``" > "``; empty where there are none."""
    page: int | None
    """Page on which it begins, from 1; None where the format has no pages."""
    start: int
    """First character in the document's text."""
    end: int
    """Behind its last character: ``text == document_text[start:end]``."""
    text: str
    date: str = ""
    """Day of the document as YYYY-MM-DD; empty where nobody knows."""


@dataclass(frozen=True)
class Hit:
    """A passage that a question found."""

    passage: Passage
    score: float
    """Higher is better; comparable within one answer only."""
    ranks: tuple[tuple[str, int], ...] = ()
    """Which ranking had it where, from 1: ``(("bm25", 3), ("dense", 1))``."""


class DocumentFacts(NamedTuple):
    """What an index says of a document without its text."""

    name: str
    title: str
    date: str
    characters: int
