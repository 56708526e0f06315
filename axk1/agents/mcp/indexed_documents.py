"""Documents and passages of a search index as resources: ``axk1://documents/manual.md``, ``axk1://passages/1f0c...``."""

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote

import mcp_types as types

from axk1.agents.mcp.served import Content, ServedResource
from axk1.core.errors import ConfigError
from axk1.search.passage import Passage
from axk1.search.router import Library
from axk1.serve.caller import Caller

_DOCUMENTS, _PASSAGES = "axk1://documents/", "axk1://passages/"
_TEXT = "text/plain"


def indexed_documents(get_library: Callable[[], Library]) -> list[ServedResource]:
    """Everything that the index holds; all callers of a server search the same index.

    Args:
        get_library: the index as it is now.
    """

    def document(_: Caller, values: Mapping[str, str]) -> Content | None:
        try:
            return Content(get_library().document_text(values["name"]), _TEXT)
        except ConfigError:
            return None

    def passage(_: Caller, values: Mapping[str, str]) -> Content | None:
        found = get_library().passage(values["id"])
        return None if found is None else shown(found)

    def entries(_: Caller) -> Iterator[types.Resource]:
        for one in get_library().documents():
            told = {"uri": _DOCUMENTS + quote(one.name), "name": one.name, "title": one.title or None}
            yield types.Resource(**told, description=one.date or None, mime_type=_TEXT)

    return [
        ServedResource(
            uri=_DOCUMENTS + "{+name}",
            name="documents",
            description="The text of an indexed document.",
            mime_type=_TEXT,
            read=document,
            entries=entries,
            complete={"name": document_names(get_library)},
        ),
        ServedResource(
            uri=_PASSAGES + "{id}",
            name="passages",
            description="A passage of a document, by the id that search and answer give.",
            mime_type=_TEXT,
            read=passage,
        ),
    ]


def document_names(get_library: Callable[[], Library]) -> Callable[[Caller, str, Mapping[str, str]], Iterator[str]]:
    """Completes names of documents by a part of their name or title."""

    def complete(_: Caller, beginning: str, __: Mapping[str, str]) -> Iterator[str]:
        written = beginning.casefold()
        facts = get_library().documents()
        return (one.name for one in facts if written in one.name.casefold() or written in one.title.casefold())

    return complete


def passage_uri(passage: Passage) -> str:
    """Where a passage is read."""
    return _PASSAGES + quote(passage.id, safe="")


def shown(passage: Passage) -> Content:
    """A passage, under a line that says where it stands."""
    page = f"p. {passage.page}" if passage.page else ""
    where = ", ".join(filter(None, (passage.document, passage.title, passage.section, page, passage.date)))
    return Content(f"{where}\n\n{passage.text}", _TEXT)
