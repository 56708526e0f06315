"""The workspace: paths that stay inside it, files that are replaced whole, and what they were before.

What a call replaces is kept under ``.history/<call>``, so that it can be taken back.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from axk1.agents.tool import ToolContext, ToolRefusal

HIDDEN = (".history", ".outbox")
"""Folders of our own, which no tool's path reaches."""
_WAIT_SECONDS = 30
"""How long a call waits for others that change the same file; each takes milliseconds."""


def inside(context: ToolContext, path: str, *, there: bool = False) -> Path:
    """Where a path of a run's workspace is; as ``place_in``."""
    return place_in(context.workspace, path, there=there)


def place_in(workspace: Path, path: str, *, there: bool = False) -> Path:
    """Where a path of a workspace is.

    Args:
        workspace: its folder.
        path: relative to the workspace.
        there: whether a file must be there already.

    Raises:
        ToolRefusal: it leads out of the workspace, by ``..``, by a link or by being absolute, or nothing is there.
    """
    if not path.strip() or "\0" in path or len(path.encode()) > 1000:
        raise ToolRefusal(f"path = {path[:100]!r} is not a file's name; allowed: such as reports/plan.docx")
    root = workspace.resolve()
    place = (root / path).resolve()
    outside = place != root and root not in place.parents
    if outside or Path(path).is_absolute():
        raise ToolRefusal(f"path = {path!r} leads out of the workspace; allowed: a path inside it, such as plan.docx")
    if place != root and place.relative_to(root).parts[0] in HIDDEN:
        raise ToolRefusal(f"path = {path!r} is kept for the runs themselves; choose another name")
    if there and not place.is_file():
        raise ToolRefusal(f"path = {path!r} does not exist; list_files says what does")
    return place


def relative(context: ToolContext, place: Path) -> str:
    """A file's path as the person and the model see it."""
    return place.relative_to(context.workspace.resolve()).as_posix()


def files_in(workspace: Path, folder: Path | None = None) -> list[str]:
    """The files of a workspace, or of one of its folders, as paths relative to the workspace, sorted; not our own."""
    top = workspace.resolve()
    return [
        path.relative_to(top).as_posix()
        for path in sorted((folder or top).rglob("*"))
        if path.is_file() and not path.is_symlink() and path.relative_to(top).parts[0] not in HIDDEN
    ]


def replace_file(context: ToolContext, place: Path, write: Callable[[Path], None]) -> dict[str, Any]:
    """Puts a file in its place, whole or not at all, and keeps what was there.

    Args:
        context: the call's.
        place: of ``inside``.
        write: writes the new file to the path that it is given, and checks it.

    Returns:
        What ``put_back`` needs.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        raise ToolRefusal(f"path = {relative(context, place)!r} is a folder")
    number, name = tempfile.mkstemp(dir=place.parent, prefix=".writing-", suffix=place.suffix)
    os.close(number)
    made = Path(name)
    try:
        write(made)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        kept = keep(context, place)
        made.chmod(0o644)
        made.replace(place)
    finally:
        made.unlink(missing_ok=True)
    return {"path": relative(context, place), "kept": kept, "now": digest(place)}


@contextlib.contextmanager
def alone(context: ToolContext, name: str) -> Iterator[None]:
    """Waits until no other call, in any thread or process, changes what the lock of this name guards.

    For files that are read, changed and written back: of two calls at once, the second would write over the first.
    """
    folder = context.workspace / ".history"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock", timeout=_WAIT_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise ToolRefusal(f"{name} is being changed by another call, which does not end; try again later") from None
    try:
        yield
    finally:
        lock.release()


def keep(context: ToolContext, place: Path) -> str | None:
    """Keeps a copy of what stands at a place; a second attempt of the same call keeps what the first one found."""
    copy = kept_copy(context, place)
    folder = copy.parent
    absent = folder / ".absent"
    if not copy.exists() and not absent.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if place.is_file():
            shutil.copy2(place, copy.with_name(f"{copy.name}.part"))
            copy.with_name(f"{copy.name}.part").replace(copy)
        else:
            absent.touch()
    return copy.relative_to(context.workspace).as_posix() if copy.exists() else None


def kept_copy(context: ToolContext, place: Path) -> Path:
    """Where ``keep`` puts what a call found at a place; a file is there only if one was found."""
    folder = context.workspace / ".history" / hashlib.sha256(context.idempotency_key.encode()).hexdigest()[:24]
    return folder / place.name


def put_back(context: ToolContext, undo: Mapping[str, Any]) -> str:
    """Takes a change back: the file is as it was before. Raises ToolRefusal where somebody has changed it since.

    An ``undo`` without ``now`` is of a file that was deleted: whatever stands there is newer, unless it is the old one.
    """
    place = inside(context, undo["path"])
    kept = context.workspace / undo["kept"] if undo["kept"] is not None else None
    known = (undo.get("now"), digest(kept) if kept else None)
    if place.exists() and (place.is_dir() or digest(place) not in known):
        raise ToolRefusal(f"{undo['path']} has been changed since, so it stays as it is")
    if kept is None:
        place.unlink(missing_ok=True)
        return f"{undo['path']} ✕"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(kept, place)
    return f"{undo['path']} ↩"


def digest(place: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
