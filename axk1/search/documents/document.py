"""``SearchDocument``: the text of one document, and where in it headings stand and pages begin."""

import bisect
import dataclasses
import hashlib
import json
import re

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})")


@dataclasses.dataclass(frozen=True)
class Heading:
    """One heading."""

    start: int
    """First character of its line in the text."""
    level: int
    """1 for the outermost."""
    text: str
    """Its words, in one line."""


@dataclasses.dataclass(frozen=True)
class SearchDocument:
    """What a reader makes of a file, or of one record in it."""

    name: str
    """The path below the indexed folder; for a record in a file ``path#record``."""
    text: str
    """The whole text, lines ended by ``\\n``, with nothing but words at its ends."""
    title: str = ""
    headings: tuple[Heading, ...] = ()
    """In the order of the text."""
    pages: tuple[int, ...] = ()
    """Where each page begins; empty for formats without pages."""
    date: str = ""
    """YYYY-MM-DD, or empty."""

    @property
    def content_hash(self) -> str:
        """SHA-256 over all that an index keeps of it, the name included."""
        values = json.dumps(dataclasses.astuple(self), ensure_ascii=False)
        return hashlib.sha256(values.encode("utf-8", "surrogatepass")).hexdigest()

    def section(self, position: int) -> str:
        """The headings above a character, outermost first, joined by ``" > "``."""
        path: list[Heading] = []
        for heading in self.headings[: bisect.bisect_right(self.headings, position, key=lambda each: each.start)]:
            path = [above for above in path if above.level < heading.level] + [heading]
        return " > ".join(heading.text for heading in path)

    def page(self, position: int) -> int | None:
        """The page that holds a character, from 1; None where there are no pages."""
        return max(bisect.bisect_right(self.pages, position), 1) if self.pages else None


def markdown_headings(text: str) -> tuple[Heading, ...]:
    """The headings of Markdown (``#`` to ``######``) outside fenced code."""
    headings, start, fence = [], 0, ""
    for line in text.split("\n"):
        if mark := _FENCE.match(line):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        elif not fence and (match := _HEADING.match(line)):
            headings.append(Heading(start, len(match[1]), plain(match[2])))
        start += len(line) + 1
    return tuple(headings)


def plain(text: str) -> str:
    """A heading or title in one line, without Markdown's emphasis and code marks."""
    return re.sub(r"\s+", " ", re.sub(r"[*`]+", "", text)).strip()
