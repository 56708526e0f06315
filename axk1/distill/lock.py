"""One process at a time for an output: a second one is refused, with the name of the first.

The lock is the system's own (flock) and falls with the process, however that ends; the file only says who holds it.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from axk1.core.errors import ArtifactError


@contextlib.contextmanager
def locked(output: Path, command: str) -> Iterator[None]:
    """Holds the lock of an output.

    Args:
        output: what is being made; the lock lies beside it, in ``.<output>.lock``.
        command: what is being run, for the message that the second one gets.

    Raises:
        ArtifactError: another process holds it.
    """
    path = output.with_name(f".{output.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file:
        who = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": _now()}
        file.truncate(0)
        file.write(json.dumps(who))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: who opens it now makes another


@contextlib.contextmanager
def _opened(path: Path) -> Iterator:  # type: ignore[type-arg]
    """The lock's file, opened and held."""
    while True:
        with open(path, "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _refusal(path, file) from None
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:  # not one that was deleted meanwhile
                    yield file
                    return


def _refusal(path: Path, file) -> ArtifactError:  # type: ignore[no-untyped-def]
    file.seek(0)
    try:
        who = json.loads(file.read())
        name = f"process {who['pid']} on {who['host']} ({who['command']}, since {who['since']})"
    except (ValueError, KeyError, TypeError):
        name = "another process"
    output = path.name.removeprefix(".").removesuffix(".lock")
    return ArtifactError(
        f"{name} is writing {str(path.with_name(output))!r}", repair="wait until it ends, or name another --output"
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
