"""``axk1 serve`` as a process of its own, seen only from outside."""

import contextlib
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass
class Serving:
    """A server's process."""

    url: str
    process: subprocess.Popen
    log: Path

    def metric(self, name: str) -> float:
        """One of its numbers."""
        page = httpx.get(f"{self.url}/metrics", timeout=100).text
        return float(re.search(rf"^vllm:{name}{{[^}}]*}} (.*)$", page, re.M)[1])

    def idle(self) -> bool:
        """Whether nothing is written, nothing waits and all blocks are free."""
        names = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
        return not any(self.metric(name) for name in names)

    def resident_mb(self) -> float:
        """Its memory."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1e3


@contextlib.contextmanager
def serve(checkpoint: Path, *options: str) -> Iterator[Serving]:
    """A server of a checkpoint under the name ``m`` that ends with the block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = ["serve", str(checkpoint), "--port", str(port), "--served-model-name", "m", *options]
        words += ["--database", f"sqlite:///{folder}/axk1.db"]
        yield from started(words, port, Path(folder) / "log")


def started(words: list[str], port: int, log: Path) -> Iterator[Serving]:
    """Runs a command until it is asked for no more."""
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "axk1", *words], stdout=out, stderr=out)
    running = Serving(f"http://127.0.0.1:{port}", process, log)
    try:
        until(lambda: process.poll() is not None or answers(running.url))
        assert process.poll() is None, log.read_text()
        yield running
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        return httpx.get(f"{url}/health", timeout=100).status_code == 200
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool], seconds: float = 100) -> None:
    """Waits for a condition; an error instead of a test that would hang."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
