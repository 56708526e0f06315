"""Files of the workspace as resources: ``axk1://workspace/reports/plan.docx``.

Each organisation sees its own folder. An address that leads out of it, into folders of our own, or nowhere is not
there: whoever tries learns nothing.
"""

import mimetypes
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import mcp_types as types

from axk1.agents.mcp.served import Content, ServedResource
from axk1.agents.tool import ToolRefusal
from axk1.agents.tools.workspace import files_in, place_in
from axk1.core.errors import AXK1Error
from axk1.serve.caller import Caller

ADDRESS = "axk1://workspace/"
_LARGEST = 10_000_000
"""Bytes of a file that is read at once."""
_SOUNDS = {"audio/x-wav": "audio/wav"}


def workspace_files(folder_of: Callable[[Caller], Path]) -> ServedResource:
    """The files of the callers' workspaces.

    Args:
        folder_of: a caller's folder; it need not be there yet.
    """

    def read(caller: Caller, values: Mapping[str, str]) -> Content | None:
        place = _place(folder_of(caller), values["path"])
        if place is None:
            return None
        if place.stat().st_size > _LARGEST:
            raise AXK1Error(f"{values['path']} has {place.stat().st_size:,} bytes; {_LARGEST:,} are read at once")
        return content_of(place)

    def version(caller: Caller, values: Mapping[str, str]) -> str:
        place = _place(folder_of(caller), values["path"])
        if place is None:
            return ""
        facts = place.stat()
        return f"{facts.st_ino}-{facts.st_mtime_ns}-{facts.st_size}"

    def entries(caller: Caller) -> Iterator[types.Resource]:
        folder = folder_of(caller)
        links = (link_to(folder, name) for name in files_in(folder))
        return (types.Resource(**link.model_dump(exclude={"type"})) for link in links if link is not None)

    return ServedResource(
        uri=ADDRESS + "{+path}",
        name="files",
        description="A file of the workspace, which the tools and agents read and write.",
        read=read,
        entries=entries,
        version=version,
        complete={"path": file_names(folder_of)},
    )


def file_names(folder_of: Callable[[Caller], Path]) -> Callable[[Caller, str, Mapping[str, str]], Iterator[str]]:
    """Completes names of files: what was written is part of them, in any case of letters."""

    def complete(caller: Caller, beginning: str, _: Mapping[str, str]) -> Iterator[str]:
        written = beginning.casefold()
        return (name for name in files_in(folder_of(caller)) if written in name.casefold())

    return complete


def link_to(workspace: Path, name: str) -> types.ResourceLink | None:
    """A link to a file of a workspace; None where there is no such file."""
    place = _place(workspace, name)
    if place is None:
        return None
    uri = ADDRESS + quote(name)
    return types.ResourceLink(uri=uri, name=name, mime_type=_kind(name), size=place.stat().st_size)


def content_of(place: Path) -> Content:
    """What stands in a file: text wherever it is text."""
    data, kind = place.read_bytes(), _kind(place.name)
    if kind.split("/")[0] in ("image", "audio", "video") or b"\0" in data:
        return Content(data, kind)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Content(data, kind)
    return Content(text, "text/plain" if kind == "application/octet-stream" else kind)


def _kind(name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _SOUNDS.get(kind, kind)


def _place(folder: Path, path: str) -> Path | None:
    try:
        return place_in(folder, path, there=True)
    except ToolRefusal:
        return None
