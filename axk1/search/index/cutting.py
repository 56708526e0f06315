"""A document -> spans of text that a person reads in one go, each within one section.

A span ends, in this order of preference, at the end of a paragraph, a line, a sentence, a word; of several such places
the one that makes the spans of a section equally long.
"""

import re
from collections.abc import Iterator

from axk1.search.documents.document import SearchDocument

MOST = 1000
"""Most characters of a passage."""
_ENDS = (
    re.compile(r"\n[ \t]*\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?。！？])[\"'”’)\]」』]*\s+"),
    re.compile(r"\s+"),
)


def cut(document: SearchDocument, most: int = MOST) -> Iterator[tuple[int, int]]:
    """Start and end of each passage, in order; spans do not overlap, and only white space lies outside them.

    Args:
        document: what to cut.
        most: most characters of a passage; a section that is longer gives passages of ``most / 2`` or more,
            as far as its words let it.
    """
    for start, end in _sections(document):
        while end - start > most:
            middle = _end(document.text, start, end, most)
            if span := _stripped(document.text, start, middle):
                yield span
            start = middle
        if span := _stripped(document.text, start, end):
            yield span


def _sections(document: SearchDocument) -> Iterator[tuple[int, int]]:
    """Stretches between headings; a heading without a text of its own belongs to the next stretch."""
    begin, headed = 0, 0
    for heading in document.headings:
        if document.text[headed : heading.start].strip():
            yield begin, heading.start
            begin = heading.start
        line_end = document.text.find("\n", heading.start)
        headed = len(document.text) if line_end < 0 else line_end
    if begin < len(document.text):
        yield begin, len(document.text)


def _end(text: str, start: int, end: int, most: int) -> int:
    """Where the first passage of a long stretch ends."""
    pieces = -(-(end - start) // most)
    target = start + (end - start) // pieces
    low, high = start + (target - start) * 3 // 5, start + most
    for pattern in _ENDS:
        ends = [match.end() for match in pattern.finditer(text, low, high)]
        if ends:
            return min(ends, key=lambda place: abs(place - target))
    return high


def _stripped(text: str, start: int, end: int) -> tuple[int, int] | None:
    piece = text[start:end]
    begin = start + len(piece) - len(piece.lstrip())
    return (begin, begin + len(piece.strip())) if piece.strip() else None
