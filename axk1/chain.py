"""The chain: the stages of a run one after another, each skipped when it is up to date.

Killed at any moment and started again it goes on where it was, because every stage does.
"""

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from axk1.core import runtime
from axk1.core.artifact import MANIFEST, write_text_atomic
from axk1.core.config import require
from axk1.core.errors import AXK1Error
from axk1.core.progress import console, duration, print_plan

Dispatch = Callable[[Sequence[str]], Any]
"""Runs the words of one command line in this process."""


@dataclass(frozen=True)
class Stage:
    """One command of the chain."""

    title: str
    """What it does, for the heading."""
    command: str
    """The command without ``axk1``; ``{run}`` is the seed's folder, ``{seed}`` the seed, ``{root}`` the output.

    Several commands, one per line, run beside each other, each in a process of its own with its share of the cores:
    on a CPU two small models train faster on one core each than in turn on both.
    """
    once: bool = False
    """Whether all seeds share its output, so that only the first runs it."""
    last: bool = False
    """Whether it runs once, after all seeds."""


@dataclass(frozen=True)
class ChainConfig:
    """A run from documents to a student that answers."""

    output: Path
    """Folder of everything the run makes; seed 0 lies in it, further seeds in ``seed-1``, ``seed-2``, ..."""
    stages: tuple[Stage, ...]
    """The commands, in order."""
    seeds: int = 1
    """How many times to train teacher, student and control, each from another seed, for the error bars."""
    closing: str = ""
    """A sentence printed at the end."""

    def __post_init__(self) -> None:
        require(1 <= self.seeds <= 100, "seeds", self.seeds, "1 to 100")


def run_chain(config: ChainConfig, dispatch: Dispatch, *, dry_run: bool = False) -> Path:
    """Runs every stage that is not up to date and notes how long each took in ``chain.json``.

    Args:
        config: the run.
        dispatch: how to run a command; the command line hands over its own.
        dry_run: print the commands and stop.
    """
    plan = _plan(config)
    rows = {f"{number:2d}": "\n".join(f"axk1 {shlex.join(words)}" for words in commands)
            for number, (_, commands) in enumerate(plan, 1)}  # fmt: skip
    print_plan("The chain", rows)
    if dry_run:
        return config.output
    start, peak = time.monotonic(), 0
    for number, (title, commands) in enumerate(plan, 1):
        console.rule(f"[bold]{number}/{len(plan)}  {title}[/bold]", align="left")
        before, began = _manifests(config.output), time.monotonic()
        if len(commands) == 1:
            dispatch(commands[0])
            peak = max(peak, _memory("VmHWM"))
        else:
            peak = max(peak, _memory("VmRSS") + _beside_each_other(commands))
        if _manifests(config.output) != before:
            _note(config.output / "chain.json", title, time.monotonic() - began)
    console.rule(align="left")
    used = f", {peak / 1e9:.1f} GB of memory at most" if peak else ""
    console.print(f"done in {duration(time.monotonic() - start)}{used}. {config.closing}")
    return config.output


def _beside_each_other(commands: list[list[str]]) -> int:
    """Runs commands at the same time and prints their lines as they come, each behind the name of its output or recipe.

    Returns:
        The sum of their peak memories in bytes (0 where the system does not tell).

    Raises:
        AXK1Error: one of them failed; the others were ended, and go on from where they were in the next run.
    """
    cores = os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))
    threads = str(max(1, int(cores) // len(commands)))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, runtime.PARENT: str(os.getpid())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "axk1", *words],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for words in commands
    ]  # fmt: skip
    readers = [
        threading.Thread(target=_relay, args=(process, words), daemon=True)
        for process, words in zip(processes, commands, strict=True)
    ]
    peaks = dict.fromkeys((process.pid for process in processes), 0)
    try:
        for reader in readers:
            reader.start()
        while any(process.poll() is None for process in processes) and not _failed(processes):
            peaks = {pid: max(peak, _memory("VmHWM", pid)) for pid, peak in peaks.items()}
            time.sleep(0.1)
        for process, words in zip(processes, commands, strict=True):
            if process.poll():
                raise AXK1Error(f"axk1 {words[0]} failed; its lines above say why", repair=f"axk1 {shlex.join(words)}")
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()  # a stage that is told to stop saves its state first
        for process, reader in zip(processes, readers, strict=True):
            process.wait()
            reader.join()
    return sum(peaks.values())


def _memory(field: str, pid: int | str = "self") -> int:
    """Memory of a process in bytes: its resident set now (``VmRSS``) or its peak so far (``VmHWM``).

    0 where the process has ended or the system has no ``/proc``.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def _failed(processes: list[subprocess.Popen[str]]) -> bool:
    return any(process.poll() not in (None, 0) for process in processes)


def _relay(process: subprocess.Popen[str], words: list[str]) -> None:
    label = Path(words[words.index("--output") + 1]).name if "--output" in words else Path(words[-1]).stem
    for line in process.stdout or ():
        console.print(f"[dim]{label:>8} │[/dim] {escape(line.rstrip())}")


def _plan(config: ChainConfig) -> list[tuple[str, list[list[str]]]]:
    """Title and commands of every stage that the chain runs, each command in words."""
    plan, last = [], []
    for seed in range(config.seeds):
        run = config.output if seed == 0 else config.output / f"seed-{seed}"
        for stage in config.stages:
            if seed and (stage.once or stage.last):
                continue
            filled = stage.command.format(run=run, seed=seed, root=config.output)
            commands = [shlex.split(line) for line in filled.splitlines() if line.strip()]
            title = stage.title if config.seeds == 1 or stage.once or stage.last else f"{stage.title} (seed {seed})"
            (last if stage.last else plan).append((title, commands))
    return plan + last


def _manifests(root: Path) -> dict[str, int]:
    """When each artifact below the folder was made, to see whether a stage made one."""
    return {str(path): path.stat().st_mtime_ns for path in root.rglob(MANIFEST)} if root.exists() else {}


def _note(path: Path, key: str, seconds: float) -> None:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        notes = {}
    notes[key] = {"seconds": round(seconds, 1)}
    write_text_atomic(path, json.dumps(notes, ensure_ascii=False, indent=2) + "\n")
