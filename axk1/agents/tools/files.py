"""Files of the workspace."""

from typing import Annotated

from axk1.agents.tool import Effect, Outcome, Slot, Tool, ToolContext, ToolRefusal, tool
from axk1.agents.tools.workspace import files_in, inside, keep, put_back, replace_file

_MOST_FILES = 500
_LONGEST = 200_000
"""Characters of a file that are read at once, and the most that are written."""


@tool(effect=Effect.READ)
def list_files(context: ToolContext, folder: str = "") -> Outcome:
    """Lists the files of the workspace, or of one of its folders."""
    root = inside(context, folder) if folder else context.workspace.resolve()
    if not root.is_dir():
        raise ToolRefusal(f"folder = {folder!r} does not exist")
    found = [
        {"path": name, "bytes": (context.workspace / name).stat().st_size} for name in files_in(context.workspace, root)
    ]
    return Outcome({"files": found[:_MOST_FILES], "more": max(len(found) - _MOST_FILES, 0)})


@tool(effect=Effect.READ, untrusted=True)
def read_file(context: ToolContext, path: str) -> Outcome:
    """Reads a text file of the workspace."""
    content = inside(context, path, there=True).read_bytes()[: 4 * _LONGEST]
    try:
        text = content.decode("utf-8", errors="strict")
    except UnicodeDecodeError:
        raise ToolRefusal(f"path = {path!r} is no text; read_document reads documents") from None
    cut = len(text) - _LONGEST
    return Outcome(text[:_LONGEST] + (f"\n[{cut} more characters]" if cut > 0 else ""))


@tool(effect=Effect.WRITE, undo=put_back)
def write_file(context: ToolContext, path: str, text: str) -> Outcome:
    """Writes a text file into the workspace; what stood there before is kept."""
    if len(text) > _LONGEST:
        raise ToolRefusal(f"text has {len(text)} characters; allowed: {_LONGEST}")
    place = inside(context, path)
    undo = replace_file(context, place, lambda made: made.write_text(text, encoding="utf-8"))
    return Outcome({"path": undo["path"], "bytes": place.stat().st_size}, files=(undo["path"],), undo=undo)


def _show_deletion(context: ToolContext, path: str) -> str:
    size = inside(context, path, there=True).stat().st_size
    said = {"ko": "이 파일을 지웁니다. 되돌릴 수 있습니다.", "en": "This file is deleted. It can be brought back."}
    return f"{said[context.language]}\n\n- `{path}` ({size:,} B)"


def _was_deleted(context: ToolContext, path: str) -> Outcome | None:
    place = inside(context, path)
    if place.exists():
        return None
    return Outcome({"deleted": path}, undo={"path": path, "kept": keep(context, place)})


@tool(effect=Effect.DELETE, preview=_show_deletion, recover=_was_deleted, undo=put_back)
def delete_file(
    context: ToolContext, path: Annotated[str, Slot(ko="어느 파일을 지울까요?", en="Which file shall be deleted?")]
) -> Outcome:
    """Deletes a file of the workspace."""
    place = inside(context, path, there=True)
    kept = keep(context, place)
    place.unlink()
    return Outcome({"deleted": path}, undo={"path": path, "kept": kept})


def file_tools() -> list[Tool]:
    """The tools of this file."""
    return [list_files, read_file, write_file, delete_file]
