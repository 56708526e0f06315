"""One process at a time for what is being written: a second one is refused, with the name of the first."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from axk1.core.errors import ArtifactError


@contextlib.contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Holds a lock, which falls with the process, however that ends.

    Args:
        path: the lock's file; it says who holds it, and is gone afterwards.
        doing: what its holder is doing, for the message that the second one gets.

    Raises:
        ArtifactError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        holder = path.read_text(encoding="utf-8") if path.exists() else ""
        raise ArtifactError(
            f"{holder or 'another process'} is {doing}", repair="wait until it has ended, or stop it"
        ) from None
    try:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        path.write_text(f"process {os.getpid()} on {socket.gethostname()} (since {since})", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is held: whoever waits for a file without a name makes another
            path.unlink()
        lock.release()
