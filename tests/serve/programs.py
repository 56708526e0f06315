"""Programs that listen at a port: started as users start them, and gone when the block ends."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until a condition is true; the limit only ends a test that would hang."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@contextmanager
def listening_program(
    command: Sequence[str], port: int, *, log: Path | None = None, **options: Any
) -> Iterator[subprocess.Popen]:
    """A program, from when it listens at its port until the block ends.

    Args:
        command: its words.
        port: where it will listen.
        log: file for what it writes; shown where it ends too early.
        options: of ``subprocess.Popen``.
    """
    if log is not None:
        options |= {"stdout": log.open("w"), "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, **options)
    try:
        until(lambda: process.poll() is not None or listens(port), 300)
        assert process.poll() is None, "it ended at once" if log is None else log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
