"""The process environment of a command."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from axk1.core.runtime import PARENT


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal exists on Linux only")
def test_a_command_of_a_chain_ends_with_it():
    child = "import time; from axk1.core.runtime import end_with_parent; end_with_parent(); print(1, flush=True); "
    child += "time.sleep(60)"
    program = (
        f"import os, signal, subprocess, sys\nenvironment = {{**os.environ, {PARENT!r}: str(os.getpid())}}\n"
        f"process = subprocess.Popen([sys.executable, '-c', {child!r}], env=environment, stdout=subprocess.PIPE)\n"
        "process.stdout.readline()\nprint(process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=50)
    assert done.returncode == -signal.SIGKILL
    state = Path(f"/proc/{int(done.stdout)}/stat")
    while state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] not in "ZX":  # or the test times out
        time.sleep(0.01)
