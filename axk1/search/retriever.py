"""``Retriever``: a question -> passages. The index on disk is one; a connector to the live web is another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from axk1.search.passage import Hit


@dataclass(frozen=True)
class Bounds:
    """What a search may find."""

    since: str = ""
    """First day of a document, YYYY-MM-DD; documents without a date are left out where a day is given."""
    until: str = ""
    """Last day of a document."""
    documents: tuple[str, ...] = ()
    """Beginnings of documents' names (a folder, a site such as ``https://example.org/``); none means all."""


class Retriever(Protocol):
    """Whoever finds passages."""

    def search(self, question: str, *, limit: int = 10, bounds: Bounds = Bounds()) -> Sequence[Hit]:
        """The best passages for a question in any language, best first.

        Args:
            question: what is asked; plain text.
            limit: most passages.
            bounds: what may be found.

        Raises:
            AXK1Error: the index is damaged, or the other side does not answer.
        """
        ...
