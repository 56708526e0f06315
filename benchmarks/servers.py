"""Servers of the same weights for ``throughput.py``: ours, and those of others where they can be had.

Where a peer is found:
llama.cpp           --llama-server, the environment variable LLAMA_SERVER, or ``llama-server`` on PATH, with
                    ``llama-quantize`` beside it. The sdist of llama-cpp-python builds both with cmake, in its
                    ``vendor/llama.cpp``: targets ``llama-server`` and ``llama-quantize``.
transformers serve  in this environment, where its web extras are installed.
vLLM                --vllm, the environment variable VLLM, or ``vllm`` on PATH: of an environment of its own.
"""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from axk1.core.runtime import ENVIRONMENT

STREAMS = 64
"""Most streams at once."""
CONTEXT = 1024
"""Tokens that a stream may have."""


@dataclasses.dataclass
class Server:
    """One side. A server that is not being measured is stopped, so that it cannot take anybody's time."""

    name: str
    """What the table calls it, number format included."""
    command: list[str]
    model: str
    """What requests call the model."""
    port: int
    busy: str | None = None
    """The metric that counts texts being written; None where the server tells none."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    own_runtime: bool = False
    """Whether it is faster without our settings of the CPU runtime: threads that sleep slow llama.cpp down fourfold."""
    knows_ignore_eos: bool = True
    """Whether answers can go on past end tokens; elsewhere they may be shorter."""
    process: subprocess.Popen | None = None
    log: Path | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, threads: int, cores: Sequence[int], log: Path) -> None:
        """Starts it on some cores. Raises OSError where the command does not exist."""
        self.log = log
        settings = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        with log.open("w") as out:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **({} if self.own_runtime else ENVIRONMENT), **settings, **self.environment},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )

    def wait(self) -> None:
        """Returns when it answers. Raises RuntimeError when it does not."""
        end = time.monotonic() + 240
        while time.monotonic() < end and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=1).read()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"{self.name} did not start: {self.last_words()}")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to all of its processes."""
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Ends all of its processes."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self.process.wait()

    def last_words(self) -> str:
        """The end of its log, and whether it has ended."""
        time.sleep(0.5)  # the log of a process that dies is written last
        ended = "" if self.process.poll() is None else f"ended with {self.process.returncode}: "
        return ended + self.log.read_text(errors="replace")[-300:].strip()

    def cpu_seconds(self) -> float:
        """CPU time that all of its processes have taken."""
        ticks = 0
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rsplit(")", 1)[1].split()
            except OSError:  # it has ended
                continue
            if int(fields[3]) == self.process.pid:  # its session
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def writing(self) -> float:
        """Texts being written, by its own metrics."""
        page = urllib.request.urlopen(f"{self.url}/metrics", timeout=60).read().decode()
        return next(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(self.busy))


def ours(folder: Path, weights: str) -> Server:
    """``axk1 serve``. Args: weights: the number format of its matrices; auto is that of the checkpoint, float32."""
    port = _free_port()
    words = [sys.executable, "-m", "axk1", "serve", str(folder), "--port", str(port), "--kv-cache-memory", "3"]
    words += ["--max-num-seqs", str(STREAMS), "--max-model-len", str(CONTEXT)]
    words += ["--database", f"sqlite:///{folder.parent}/{port}.db"]
    words += [] if weights == "auto" else ["--weights", weights]
    name = f"axk1, {'fp32' if weights == 'auto' else weights}"
    return Server(name, words, folder.name, port, busy="vllm:num_requests_running")


def llama(binary: Path, gguf: Path, kind: str, threads: int) -> Server:
    """llama.cpp's server on the same weights, converted by its own tool where they are not of that kind yet."""
    file = gguf.with_name(f"{kind}.gguf")
    if kind == "Q4_1":
        file = gguf
    elif not file.exists():
        tool = binary.with_name("llama-quantize")
        subprocess.run([tool, "--allow-requantize", gguf, file, kind], check=True, capture_output=True)
    port = _free_port()
    words = [str(binary), "-m", str(file), "--port", str(port), "-np", str(STREAMS), "-cb", "--metrics", "--no-ui"]
    words += ["-c", str(STREAMS * CONTEXT), "-t", str(threads), "-tb", str(threads), "--cache-ram", "0"]
    names = {"F32": "fp32", "BF16": "bf16", "Q8_0": "8-bit (Q8_0)", "Q4_1": "4-bit (Q4_1)"}
    name = f"llama.cpp, {names[kind]}"
    return Server(name, words, "x", port, busy="llamacpp:requests_processing", own_runtime=True)


def transformers_serve(folder: Path) -> Server:
    """``transformers serve`` with continuous batching, and as much cache as the others; it else takes all memory."""
    port = _free_port()
    words = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--port", str(port)]
    words += ["--continuous-batching", "--device", "cpu", "--dtype", "float32"]
    words += ["--cb-num-blocks", str(STREAMS * CONTEXT // 256), "--cb-max-batch-tokens", "1024"]  # of 256 tokens each
    return Server("transformers serve, fp32", words, str(folder), port, knows_ignore_eos=False)


def vllm(command: str, folder: Path) -> Server:
    """vLLM's CPU build."""
    port = _free_port()
    words = [command, "serve", str(folder), "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    words += ["--max-model-len", str(CONTEXT), "--max-num-seqs", str(STREAMS), "--served-model-name", "x"]
    settings = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "3", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    settings |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    return Server("vLLM, fp32", words, "x", port, busy="vllm:num_requests_running", environment=settings)


def find(option: str | None, variable: str, name: str) -> str | None:
    """A peer's command: from an option, an environment variable, or PATH."""
    return option or os.environ.get(variable) or shutil.which(name)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
