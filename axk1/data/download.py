"""Files of packages, from the cache or from a package index: verified by hash, resumed where they broke off.

Nothing that is fetched here is ever installed, imported or run. The cache is ``~/.cache/axk1/downloads``; the
environment variable AXK1_CACHE names another folder in place of ``~/.cache/axk1``.
"""

import os
import shutil
from pathlib import Path

import requests
from filelock import FileLock
from urllib3.exceptions import HTTPError

from axk1.core.artifact import sha256_file
from axk1.core.errors import SourceError
from axk1.core.progress import console, progress
from axk1.data.package_index import FileType, Link, PackageIndex, explain, is_release, local_path, without_password

_ATTEMPTS = 3
_CHUNK = 1 << 16


def cache_folder() -> Path:
    """Where downloads are kept between runs."""
    root = os.environ.get("AXK1_CACHE")
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "axk1") / "downloads"


def cached_file(name: str, version: str, *, sha256: str, file_type: FileType = "sdist") -> Path | None:
    """The file of a release in the cache, if it is there and its hash is right."""
    found = _cached_files(name, version, file_type)
    return next((path for path in found if sha256_file(path) == sha256), None)


def fetch_file(
    name: str,
    version: str,
    *,
    sha256: str,
    size: int | None = None,
    file_type: FileType = "sdist",
    index: PackageIndex | None = None,
) -> Path:
    """The file of one release of a package, exactly the one with this hash.

    Args:
        name: the package.
        version: its version, as in the file's name.
        sha256: the pinned hash, in lower-case hexadecimal.
        size: its length in bytes, for the progress bar; None when unknown.
        file_type: source distribution or wheel.
        index: where to look; None means where the user's pip looks.

    Returns:
        Its path in the cache.

    Raises:
        SourceError: no place has it, none can be reached, the connection keeps breaking, or the hash is another.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}-{version}.lock"):  # another run may be fetching the same file
        path = cached_file(name, version, sha256=sha256, file_type=file_type)
        if path is not None:
            return path
        for corrupt in _cached_files(name, version, file_type):
            console.print(f"{corrupt} does not have its pinned hash; it is fetched again")
            corrupt.unlink()
        index = index or PackageIndex()
        links, reasons = index.links(name, version, file_type)
        for link in links:
            try:
                return _fetch(index, link, folder / link.filename, sha256, size)
            except SourceError as error:
                reasons.append(error.message)
    raise SourceError(
        f"{name} {version} cannot be had: {'; '.join(reasons) or 'pip is configured to look nowhere (no-index)'}",
        repair=f"mend the network or pip's settings (python -m pip config list), or put the file into {folder}",
    )


def _cached_files(name: str, version: str, file_type: FileType) -> list[Path]:
    folder = cache_folder()
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if is_release(path.name, name, version, file_type)]


def _fetch(index: PackageIndex, link: Link, target: Path, sha256: str, size: int | None) -> Path:
    """Fetches one link into ``target``; a file with a wrong hash is deleted and fetched once more."""
    place = without_password(link.url)
    if link.sha256 not in (None, sha256):
        raise SourceError(f"{place} has the hash {link.sha256}, not the pinned {sha256}")
    part = target.with_name(f".{target.name}.part")
    for _ in range(2):
        _transfer(index, link, part, size)
        found = sha256_file(part)
        if found == sha256:
            os.replace(part, target)
            return target
        part.unlink()
        console.print(f"{place} has the hash {found}, not the pinned {sha256}; it is deleted")
    raise SourceError(f"{place} has the hash {found}, not the pinned {sha256}, twice")


def _transfer(index: PackageIndex, link: Link, part: Path, size: int | None) -> None:
    """Completes ``part``, going on after the bytes that an earlier attempt left there."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _append(index, link, part, size)
            return
        except (requests.RequestException, HTTPError, OSError) as error:
            refused = isinstance(error, requests.HTTPError)
            if refused and error.response.status_code == 416:  # what we have is not a beginning of the file
                part.unlink(missing_ok=True)
            elif refused or attempt == _ATTEMPTS:
                done = part.stat().st_size if part.exists() else 0
                raise SourceError(f"{without_password(link.url)}: {explain(error)} after {done:,} bytes") from None


def _append(index: PackageIndex, link: Link, part: Path, size: int | None) -> None:
    if link.url.startswith("file:"):
        shutil.copyfile(local_path(link.url), part)
        return
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with index.get(link.url, headers=headers) as response:
        resumed = response.status_code == 206
        length = int(response.headers.get("Content-Length") or 0)
        total = (done if resumed else 0) + length or size
        with (
            progress(f"downloading {link.filename}", total=total, unit="bytes") as meter,
            open(part, "ab" if resumed else "wb") as file,
        ):
            meter.skip(done if resumed else 0)
            for block in response.raw.stream(_CHUNK, decode_content=False):
                file.write(block)
                meter.advance(len(block))
            file.flush()
            os.fsync(file.fileno())
