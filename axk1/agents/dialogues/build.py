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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
_AT_ONCE = 8
"""Runs beside each other: they wait for the store most of the time."""
_LEAST_ACCEPTED = 0.9


@dataclass(frozen=True)
class DialoguesConfig:
    """How many dialogues to make."""

    output: Path
    """Folder to write."""
    count: int = 6000
    """Number of tasks; as many dialogues come out as the grader accepts."""
    seed: int = 0
    """Other seeds give other tasks; from 1000 on they are kept for examinations."""

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "a number above 0")
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
        _write(config, asyncio.run(_made(config)))
    print_next("axk1 tokenizer train recipes/assistant/tokenizer.toml")
    return config.output


async def verified_dialogue(seed: int, number: int, database: Any) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
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


async def _made(config: DialoguesConfig) -> tuple[list[dict[str, Any]], Counter[str]]:
    made, refused, numbers = [], Counter[str](), iter(range(config.count))
    with (
        progress("dialogues", total=config.count, unit="dialogues") as meter,
        tempfile.TemporaryDirectory() as folder,
    ):
        database = open_database(f"sqlite:///{folder}/runs.db")
        while batch := list(itertools.islice(numbers, _AT_ONCE)):
            for number, (line, reasons) in zip(
                batch, await asyncio.gather(*(verified_dialogue(config.seed, n, database) for n in batch)), strict=True
            ):
                if line is None:
                    kind = draw_task(config.seed, number).kind
                    refused[f"{kind}: {reasons[0]}"[:200]] += 1
                else:
                    made.append(line)
                meter.advance()
    return made, refused


def _write(config: DialoguesConfig, result: tuple[list[dict[str, Any]], Counter[str]]) -> None:
    start = time.monotonic()
    made, refused = result
    if len(made) < _LEAST_ACCEPTED * config.count:
        worst = "; ".join(reason for reason, _ in refused.most_common(5))
        raise AXK1Error(f"only {len(made)} of {config.count} dialogues are right: {worst}")
    random.Random(f"{config.seed}:order").shuffle(made)
    with artifact.building(config.output) as folder:
        # mtime 0: the same dialogues give the same bytes, so the same content hash
        with open(folder / TRAIN, "wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
            for line in made:
                file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
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
