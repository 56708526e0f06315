"""``masked``: a document -> the same with placeholders, ``[PHONE_1]``, in the place of personal data."""

import bisect
import dataclasses
import itertools

from axk1.guard import Redaction, redact, redactions
from axk1.search.documents.document import SearchDocument


def masked(document: SearchDocument) -> SearchDocument:
    """Its text, title and headings without personal data; headings and pages begin where they now stand."""
    found = redactions(document.text)
    ends = [one.end for one in found]
    longer = list(itertools.accumulate((len(one.placeholder) - (one.end - one.start) for one in found), initial=0))

    def place(position: int) -> int:
        """Where a character is afterwards; within what is replaced, where its placeholder begins."""
        before = bisect.bisect_right(ends, position)
        inside = before < len(found) and found[before].start < position
        return (found[before].start if inside else position) + longer[before]

    return dataclasses.replace(
        document,
        text=_put(document.text, found),
        title=redact(document.title)[0],
        headings=tuple(
            dataclasses.replace(heading, start=place(heading.start), text=redact(heading.text)[0])
            for heading in document.headings
        ),
        pages=tuple(place(page) for page in document.pages),
    )


def _put(text: str, found: list[Redaction]) -> str:
    starts = [0, *(one.end for one in found)]
    ends = [*(one.start for one in found), len(text)]
    placeholders = [*(one.placeholder for one in found), ""]
    return "".join(text[a:b] + mark for a, b, mark in zip(starts, ends, placeholders, strict=True))
