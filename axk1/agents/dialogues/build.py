"""``axk1 agents dialogues``: tasks, done by an expert in the real loop and verified by the grader -> conversations.

``axk1 agents dialogues recipes/assistant/dialogues.toml``

What comes out has the form of ``axk1 data conversations``, so shards, caches, ``axk1 pretrain``, ``axk1 sft`` and
``axk1 distill train`` take it. A dialogue that the grader does not accept is not written, and counted with its reason.
"""

import asyncio
import gzip
import itertools
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from axk1.agents.dialogues.expert import Expert
from axk1.agents.dialogues.grader import grade
from axk1.agents.dialogues.play import play
from axk1.agents.dialogues.tasks import HELD_OUT_TOOL, WEIGHTS, draw_task
from axk1.core import artifact
from axk1.core.config import require, to_dict
from axk1.core.errors import AXK1Error
from axk1.core.progress import console, duration, print_next, print_plan, progress
from axk1.serve.database import open_database

KIND = "conversations"
TRAIN = "train.jsonl.gz"
SECRET_SEEDS = 1000
"""Seeds from here on are for examinations; dialogues are never made from them."""
_CHUNK = 50
"""Tasks that a process gets at a time."""
_LEAST_ACCEPTED = 0.9
Line = dict[str, Any]
"""A dialogue as the artifact has it."""


@dataclass(frozen=True)
class DialoguesConfig:
    """How many dialogues to make."""

    output: Path
    """Folder to write."""
    count: int = 6000
    """Number of tasks; as many dialogues come out as the grader accepts."""
    seed: int = 0
    """Other seeds give other tasks; from 1000 on they are kept for examinations."""
    processes: int = 2
    """How many processes make them; the dialogues are the same whatever their number."""

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "a number above 0")
        require(self.processes > 0, "processes", self.processes, "a number above 0")
        require(0 <= self.seed < SECRET_SEEDS, "seed", self.seed, f"0 to {SECRET_SEEDS - 1}")


def build_dialogues(config: DialoguesConfig, *, dry_run: bool = False) -> Path:
    """Makes the conversations artifact: ``train.jsonl.gz``, a verified dialogue in each line.

    Raises:
        AXK1Error: the grader refuses more than a tenth, which only a mistake in the tasks explains.
    """
    print_plan(
        "dialogues",
        {
            "tasks": f"{config.count} of {len(WEIGHTS)} kinds",
            "left out": f"a tenth of all names and topics, whole phrasings, the tool {HELD_OUT_TOOL}",
            "output": config.output,
        },
    )
    if dry_run:
        return config.output
    if artifact.is_current(config.output, kind=KIND, config=config, inputs={}):
        console.print(f"{config.output} is up to date")
    else:
        start = time.monotonic()
        _write(config, _made(config), start)
    print_next("axk1 tokenizer train recipes/assistant/tokenizer.toml")
    return config.output


def write_lines(folder: Path, lines: Sequence[Line]) -> None:
    """Writes the conversations of an artifact. The same lines give the same bytes, so the same content hash."""
    with open(folder / TRAIN, "wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        for line in lines:
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


async def verified_dialogue(seed: int, number: int, database: Engine) -> tuple[Line | None, tuple[str, ...]]:
    """The dialogue of a task as a line of the artifact, or None and what is wrong with it."""
    task = draw_task(seed, number)
    world = task.world()
    expert = Expert(task, world)
    verdict = grade(task, await play(task, world, expert, database))
    if not verdict.success:
        return None, verdict.reasons
    line = {
        "id": f"assistant/{seed}/{number}",
        "messages": expert.messages,
        "mode": "no_think",
        "language": task.language,
        "task": task.kind,
        "problem": f"assistant/{seed}/{number}",
    }
    return line, ()


def _made(config: DialoguesConfig) -> tuple[list[Line], Counter[str]]:
    made, refused = [], Counter[str]()
    chunks = [range(first, min(first + _CHUNK, config.count)) for first in range(0, config.count, _CHUNK)]
    with (
        progress("dialogues", total=config.count, unit="dialogues") as meter,
        ProcessPoolExecutor(config.processes, mp_context=get_context("spawn")) as pool,
    ):
        for found in pool.map(_chunk, itertools.repeat(config.seed), chunks):
            for line, why in found:
                if line is None:
                    refused[why] += 1
                else:
                    made.append(line)
            meter.advance(len(found))
    return made, refused


def _chunk(seed: int, numbers: Sequence[int]) -> list[tuple[Line | None, str]]:
    """The dialogues of some tasks, or what is wrong with them, in a process of its own."""
    return asyncio.run(_one_by_one(seed, numbers))


async def _one_by_one(seed: int, numbers: Sequence[int]) -> list[tuple[Line | None, str]]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/runs.db")
        try:
            for number in numbers:
                line, reasons = await verified_dialogue(seed, number, database)
                found.append((line, "" if line else f"{draw_task(seed, number).kind}: {reasons[0]}"[:200]))
        finally:
            database.dispose()
    return found


def _write(config: DialoguesConfig, result: tuple[list[Line], Counter[str]], start: float) -> None:
    made, refused = result
    if len(made) < _LEAST_ACCEPTED * config.count:
        worst = "; ".join(reason for reason, _ in refused.most_common(5))
        raise AXK1Error(f"only {len(made)} of {config.count} dialogues are right: {worst}")
    random.Random(f"{config.seed}:order").shuffle(made)
    with artifact.building(config.output) as folder:
        write_lines(folder, made)
        counts = {
            "conversations": len(made),
            "refused": dict(refused.most_common()),
            "by_task": dict(sorted(Counter(line["task"] for line in made).items())),
            "by_language": dict(sorted(Counter(line["language"] for line in made).items())),
        }
        licences = {"axk1 dialogues": "Apache-2.0"}
        artifact.write_manifest(folder, kind=KIND, config=to_dict(config), inputs={}, counts=counts, licences=licences)
    console.print(
        f"{len(made)} dialogues, {sum(refused.values())} refused, written in {duration(time.monotonic() - start)}"
    )
