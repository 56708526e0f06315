"""Who works on a run: an owner's name, and whether an owner still lives.

A run is leased to one process at a time. The lease ends when it is not renewed, at once where its owner was a process
of this machine that is gone.
"""

import functools
import os
import socket
import uuid
from pathlib import Path


def new_owner() -> str:
    """A name for one worker of this process, never used before."""
    return f"{_place()}|{os.getpid()}|{_started(os.getpid())}|{uuid.uuid4().hex[:8]}"


def is_dead(owner: str) -> bool:
    """Whether an owner surely is gone: a process of this machine that no longer runs. Others may live."""
    try:
        place, pid, started, _ = owner.split("|")
        return place == _place() and _started(int(pid)) != started
    except ValueError:
        return False


@functools.cache
def _place() -> str:
    """This machine since it was started, and the space in which its process numbers mean something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()}/{uuid.uuid4().hex}"  # no /proc: nobody can be told dead


def _started(pid: int) -> str:
    """When a process was started, in ticks; empty where there is none, or only its remains."""
    try:
        behind_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if behind_name[0] in "ZX" else behind_name[19]
