"""The compiled kernel: built for this CPU at first use, kept in the user's cache folder, used through ctypes.

Where there is no C++ compiler, the network runs in plain torch and a sentence says so once.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.resources
import logging
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import torch  # noqa: F401 - its OpenMP library must be there first, so that the kernel uses the same threads
from filelock import FileLock

from axk1.engine.kernel.structures import Int, Long, Matrix, Network, Pass, Pointer

FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno", "-w")
_SOURCES = ("kernels.cpp", "lanes.h", "network.h", "products.h", "stages.h", "team.h")
_log = logging.getLogger(__name__)


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """The compiled functions; None, after a sentence in the log, where they cannot be had."""
    compiler = shutil.which(os.environ.get("CXX") or "c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        _log.warning("no C++ compiler (c++, g++, clang++) is here: the network runs in plain torch, which is slow")
        return None
    try:
        return _typed(ctypes.CDLL(str(_built(compiler))))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        _log.warning("the kernel cannot be built, so the network runs in plain torch: %s", said)
        return None


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``$AXK1_CACHE``, else ``axk1`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("AXK1_CACHE") or Path(home) / "axk1") / "kernels"


def _built(compiler: str) -> Path:
    """The library for this source, compiler and CPU; one process builds it, others wait."""
    files = importlib.resources.files("axk1.engine.kernel")
    sources = {name: files.joinpath(name).read_bytes() for name in _SOURCES}
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    facts = [*FLAGS, platform.machine(), _cpu_features(), version.decode(), *(s.decode() for s in sources.values())]
    folder = cache_folder()
    library = folder / f"{hashlib.sha256(chr(0).join(facts).encode()).hexdigest()[:24]}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "build.lock"):
        if not library.exists():
            _compile(compiler, sources, library)
    return library


def _compile(compiler: str, sources: dict[str, bytes], library: Path) -> None:
    print("building the kernel for this CPU (once) ...", end=" ", flush=True)
    start, folder = time.monotonic(), library.with_suffix(".building")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        for name, text in sources.items():
            folder.joinpath(name).write_bytes(text)
        command = [compiler, *FLAGS, "-o", str(folder / "kernel.so"), str(folder / "kernels.cpp")]
        subprocess.run(command, capture_output=True, text=True, check=True)
        os.replace(folder / "kernel.so", library)
        print(f"{time.monotonic() - start:.0f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cpu_features() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    matrix = ctypes.POINTER(Matrix)
    library.axk1_linear.argtypes = (matrix, Pointer, Long, Pointer, Int)
    library.axk1_experts.argtypes = (matrix, matrix, matrix, *[Pointer] * 3, Long, Long, Pointer, Int)
    library.axk1_rows.argtypes = (matrix, Pointer, Long, Pointer)
    library.axk1_forward.argtypes = (ctypes.POINTER(Network), ctypes.POINTER(Pass), Int)
    for name in ("axk1_linear", "axk1_experts", "axk1_rows", "axk1_forward"):
        getattr(library, name).restype = None
    return library
