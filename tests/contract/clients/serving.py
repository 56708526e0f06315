"""``axk1 serve`` as a process of its own, seen only from outside."""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from programs import free_port, listening_program


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
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        words = ["serve", str(checkpoint), "--port", str(port), "--served-model-name", "m", *options]
        words += ["--database", f"sqlite:///{folder}/axk1.db"]
        yield from started(words, port, Path(folder) / "log")


def started(words: list[str], port: int, log: Path) -> Iterator[Serving]:
    """Runs a command until it is asked for no more."""
    with listening_program([sys.executable, "-m", "axk1", *words], port, log=log) as process:
        yield Serving(f"http://127.0.0.1:{port}", process, log)
