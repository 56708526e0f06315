"""The chain: the stages of a run one after another, each skipped when it is up to date.

Killed at any moment and started again it goes on where it was, because every stage does.
"""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axk1.core.artifact import MANIFEST, write_text_atomic
from axk1.core.config import require
from axk1.core.progress import console, duration, print_plan

Dispatch = Callable[[Sequence[str]], Any]
"""Runs the words of one command line in this process."""


@dataclass(frozen=True)
class Stage:
    """One command of the chain."""

    title: str
    """What it does, for the heading."""
    command: str
    """The command without ``axk1``; ``{run}`` is the seed's folder, ``{seed}`` the seed, ``{root}`` the output."""
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
    plan = list(_plan(config))
    print_plan("The chain", {f"{number:2d}": f"axk1 {' '.join(words)}" for number, (_, words, _) in enumerate(plan, 1)})
    if dry_run:
        return config.output
    start = time.monotonic()
    for number, (title, words, key) in enumerate(plan, 1):
        console.rule(f"[bold]{number}/{len(plan)}  {title}[/bold]", align="left")
        before, began = _manifests(config.output), time.monotonic()
        dispatch(words)
        if _manifests(config.output) != before:
            _note(config.output / "chain.json", key, time.monotonic() - began)
    console.rule(align="left")
    console.print(f"done in {duration(time.monotonic() - start)}. {config.closing}")
    return config.output


def _plan(config: ChainConfig) -> list[tuple[str, list[str], str]]:
    """Title, words and key of every command that the chain runs."""
    plan, last = [], []
    for seed in range(config.seeds):
        run = config.output if seed == 0 else config.output / f"seed-{seed}"
        for stage in config.stages:
            if seed and (stage.once or stage.last):
                continue
            command = stage.command.format(run=run, seed=seed, root=config.output)
            title = stage.title if config.seeds == 1 or stage.once or stage.last else f"{stage.title} (seed {seed})"
            (last if stage.last else plan).append((title, shlex.split(command), title))
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
