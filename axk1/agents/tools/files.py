"""Files of the workspace: listed, read, written, deleted; no path leads out of it."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from axk1.agents.tool import Effect, Outcome, Slot, Tool, ToolContext, ToolRefusal, tool

_MOST_CHARACTERS = 20_000
"""Of a file that the model reads at once."""
_MOST_FILES = 200


def file_tools() -> list[Tool]:
    """The tools for files."""
    return [list_files, read_file, write_file, delete_file]


@tool(effect=Effect.READ)
def list_files(context: ToolContext, folder: str = "") -> Outcome:
    """Lists the files of a folder of the workspace, with those of its folders."""
    top = inside(context, folder)
    root = context.workspace.resolve()
    found = sorted(path for path in top.rglob("*") if path.is_file() and not path.is_symlink())
    named = [{"path": str(path.relative_to(root)), "bytes": path.stat().st_size} for path in found[:_MOST_FILES]]
    return Outcome(named if len(found) <= _MOST_FILES else [*named, f"and {len(found) - _MOST_FILES} more"])


@tool(effect=Effect.READ)
def read_file(context: ToolContext, path: str) -> Outcome:
    """Reads a text file of the workspace."""
    try:
        text = inside(context, path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ToolRefusal(f"path = {path!r} does not exist; list_files says what does") from None
    except (IsADirectoryError, UnicodeDecodeError):
        raise ToolRefusal(f"path = {path!r} is no text file") from None
    cut = f"\n[{len(text) - _MOST_CHARACTERS} more characters]" if len(text) > _MOST_CHARACTERS else ""
    return Outcome(text[:_MOST_CHARACTERS] + cut)


def _put_back(context: ToolContext, undo: Mapping[str, Any]) -> str:
    path = inside(context, undo["path"])
    if undo["before"] is None:
        path.unlink(missing_ok=True)
        return f"{undo['path']} is gone again"
    _write(path, undo["before"])
    return f"{undo['path']} is as it was"


@tool(effect=Effect.WRITE, undo=_put_back)
def write_file(context: ToolContext, path: str, text: str) -> Outcome:
    """Writes a text file into the workspace, in place of what was there."""
    there = inside(context, path)
    try:
        before = there.read_text(encoding="utf-8") if there.exists() else None
        there.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeDecodeError):
        raise ToolRefusal(f"path = {path!r} is a folder or no text file, so it is not overwritten") from None
    _write(there, text)
    name = str(there.relative_to(context.workspace.resolve()))
    return Outcome(f"wrote {len(text)} characters to {name}", files=(name,), undo={"path": name, "before": before})


@tool(effect=Effect.DELETE, preview=lambda context, path: _deletion(context, path))
def delete_file(
    context: ToolContext, path: Annotated[str, Slot(ko="어느 파일을 지울까요?", en="Which file is to be deleted?")]
) -> Outcome:
    """Deletes a file of the workspace."""
    there = inside(context, path)
    if not there.is_file():
        raise ToolRefusal(f"path = {path!r} does not exist; list_files says what does")
    there.unlink()
    return Outcome(f"deleted {path}")


def inside(context: ToolContext, path: str) -> Path:
    """A path of the workspace. Raises ToolRefusal for one that leads out of it, also by a link."""
    root = context.workspace.resolve()
    there = (root / path).resolve()
    if "\0" in path or not there.is_relative_to(root):
        raise ToolRefusal(f"path = {path!r} is not allowed; allowed: paths inside the workspace")
    return there


def _deletion(context: ToolContext, path: str) -> str:
    there = inside(context, path)
    if not there.is_file():
        raise ToolRefusal(f"path = {path!r} does not exist; list_files says what does")
    size = there.stat().st_size
    return f"**{path}** ({size:,} B) 삭제" if context.language == "ko" else f"Delete **{path}** ({size:,} B)"


def _write(path: Path, text: str) -> None:
    """All of it or nothing."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as part:
        part.write(text)
        part.flush()
        os.fsync(part.fileno())
    os.replace(part.name, path)
