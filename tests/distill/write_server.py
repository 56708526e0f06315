"""A checkpoint behind our own server, in a process of its own."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from programs import free_port, listening_program

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def serving(folder):
    """Yields the server's address; the server is gone after the block."""
    port = free_port()
    state = f"sqlite:///{folder.parent}/server.db"
    command = [sys.executable, "-m", "axk1", "serve", str(folder), "--port", str(port)]
    command += ["--served-model-name", "teacher", "--without-tenants", "--database", state]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with listening_program(command, port, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL):
        yield f"http://127.0.0.1:{port}"
