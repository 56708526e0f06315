"""Files to read documents from: straight out of a source distribution, or out of a folder, local or remote.

An archive is read as a stream. Nothing is extracted to disk, so a member's name can point nowhere; links and devices
are passed over, and a name that tries to climb out of the archive is an error, because no honest archive has one.
"""

import fnmatch
import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from datatrove.io import get_datafolder

from axk1.core.errors import SourceError

_LARGEST_MEMBER = 1 << 30
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)


class Member(NamedTuple):
    """One file: read it before asking for the next one."""

    name: str
    """Its path, below the archive's top folder."""
    file: BinaryIO
    """Its bytes."""


def archive_members(path: Path, include: Sequence[str], exclude: Sequence[str] = ()) -> Iterator[Member]:
    """The files in a ``.tar.gz`` or ``.zip`` whose names match, in the archive's order.

    Args:
        path: the archive.
        include: patterns for names below the top folder; ``*`` also crosses folders. None given means all.
        exclude: patterns for names to leave out.

    Raises:
        SourceError: the archive is truncated or corrupt, or a member is not safe to read.
    """
    reader = _zip_members if path.suffix == ".zip" else _tar_members
    try:
        for name, size, read in reader(path):
            inside = _inside(path, name)
            if not matches(inside, include, exclude):
                continue
            if size > _LARGEST_MEMBER:
                raise SourceError(f"{path}: {name!r} has {size:,} bytes; at most {_LARGEST_MEMBER:,} are read")
            yield Member(inside, io.BytesIO(read()))  # whole, so that damage shows here and not in a parser
    except _BROKEN as error:
        raise SourceError(
            f"{path} is truncated or corrupt: {error or type(error).__name__}",
            repair=f"delete it and run the command again: rm {path}",
        ) from None


def folder_members(place: str, include: Sequence[str], exclude: Sequence[str] = ()) -> Iterator[Member]:
    """The files in a folder whose names match, sorted by name.

    Args:
        place: a folder on disk, or a remote one that fsspec knows (``s3://bucket/folder``).
        include: patterns for names below the folder; ``*`` also crosses folders. None given means all.
        exclude: patterns for names to leave out.

    Raises:
        SourceError: the folder holds no such file.
    """
    folder = get_datafolder(place)
    names = [name for name in sorted(folder.list_files(recursive=True)) if matches(name, include, exclude)]
    if not names:
        raise SourceError(f"{place!r} holds no file like {', '.join(include) or '*'}", repair="correct path or include")
    for name in names:
        with folder.open(name, "rb") as file:
            yield Member(name, file)


def matches(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a file's path is included and not excluded."""
    wanted = not include or any(fnmatch.fnmatchcase(name, pattern) for pattern in include)
    return wanted and not any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude)


def _tar_members(path: Path) -> Iterator[tuple]:
    with gzip.open(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 16) as archive:
            for member in archive:
                if member.isreg():
                    yield member.name, member.size, lambda member=member: archive.extractfile(member).read()
        while stream.read(1 << 20):  # to the end, where gzip keeps its checksum
            pass


def _zip_members(path: Path) -> Iterator[tuple]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, lambda info=info: archive.read(info)


def _inside(path: Path, name: str) -> str:
    """The member's path below the archive's single top folder."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise SourceError(f"{path}: the member {name!r} points outside of the archive; do not use this file")
    return "/".join(parts[1:]) if len(parts) > 1 else name
