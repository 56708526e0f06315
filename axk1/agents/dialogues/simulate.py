"""``axk1 agents simulate``: a model drives the agent through fresh tasks; how many it finishes, and how safely.

``axk1 agents simulate out/assistant/student``

Tasks come from seeds that no dialogue was made from. A simulated person answers questions and reads every
confirmation before they agree. A task counts as done where the world at the end, the questions that were asked and the
answer are all right.
"""

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from axk1.agents.brief import BriefChat
from axk1.agents.dialogues.build import SECRET_SEEDS
from axk1.agents.dialogues.grader import Grade, grade
from axk1.agents.dialogues.play import Played, play
from axk1.agents.dialogues.task import Task
from axk1.agents.dialogues.tasks import SPLITS, draw_task
from axk1.core.artifact import write_text_atomic
from axk1.core.chat_model import ChatModel, OpenChatModel
from axk1.core.config import require
from axk1.core.progress import console, print_plan, progress
from axk1.serve.database import open_database


@dataclass(frozen=True)
class SimulateConfig:
    """Which model is examined, on how many tasks."""

    model: str
    """A checkpoint folder, or the address of a server of OpenAI's API."""
    tasks: int = 100
    """Tasks of each split."""
    splits: tuple[str, ...] = SPLITS
    """What is new in the tasks: ``seen`` (only the draw), ``names``, ``phrasings``, ``tool``."""
    seed: int | None = None
    """Of the tasks, from 1000 on; left out, one that nobody knows before."""
    brief: bool = True
    """Tell tools in a line each, as the students of ``recipes/assistant`` learn it; a large model does not need it."""
    constrained: bool = True
    """Hold the model to a call at every turn, by a grammar; otherwise it calls or answers as it likes."""
    at_once: int = 8
    """Runs beside each other."""
    output: Path | None = None
    """JSON file for the figures and what went wrong; left out, they are only printed."""

    def __post_init__(self) -> None:
        require(self.tasks > 0, "tasks", self.tasks, "a number above 0")
        require(self.at_once > 0, "at_once", self.at_once, "a number above 0")
        require(bool(self.splits), "splits", self.splits, ", ".join(SPLITS))
        needs_calls = self.constrained or not self.brief
        require(needs_calls, "constrained", self.constrained, "true; a model without it needs --no-brief")
        for split in self.splits:
            require(split in SPLITS, "splits", split, ", ".join(SPLITS))
        secret = self.seed is None or self.seed >= SECRET_SEEDS
        require(secret, "seed", self.seed, f"{SECRET_SEEDS} or more; smaller ones are taught")


@dataclass(frozen=True)
class Outcome:
    """A task and what came of it."""

    task: Task
    grade: Grade
    played: Played

    def to_json(self) -> dict[str, Any]:
        """For the file."""
        usage = self.played.run.usage
        return {
            "id": self.task.id,
            "kind": self.task.kind,
            "language": self.task.language,
            "goal": self.task.goal,
            "success": self.grade.success,
            "done": self.grade.done,
            "reasons": self.grade.reasons,
            "unsafe": self.grade.unsafe,
            "stopped": self.played.stopped,
            "turns": usage.turns,
            "tokens": usage.total_tokens,
            "answer": self.played.run.answer,
            "calls": [{"tool": call.tool, "arguments": dict(call.arguments)} for call in self.played.run.calls],
        }


def simulate(open_model: OpenChatModel, config: SimulateConfig, *, dry_run: bool = False) -> dict[str, Any]:
    """Runs the tasks and prints a table.

    Returns:
        What is written to ``output``: ``seed``, ``rows`` by split and language, ``tasks``.
    """
    seed = config.seed if config.seed is not None else SECRET_SEEDS + secrets.randbelow(10**9)
    print_plan(
        "simulate",
        {"model": config.model, "tasks": f"{config.tasks} of each: {', '.join(config.splits)}", "seed": seed},
    )
    if dry_run:
        return {}
    start = time.monotonic()
    outcomes = asyncio.run(_outcomes(open_model, config, seed))
    rows = [row for split in config.splits for row in _rows(split, [o for o in outcomes if o.task.split == split])]
    _print(rows)
    console.print(f"{len(outcomes)} tasks in {time.monotonic() - start:.0f} s, seed {seed}")
    result = {"model": config.model, "seed": seed, "rows": rows, "tasks": [one.to_json() for one in outcomes]}
    if config.output:
        write_text_atomic(config.output, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    return result


async def examine(
    model: ChatModel,
    tasks: Sequence[Task],
    *,
    constrained: bool = True,
    at_once: int = 8,
    tick: Any = lambda: None,
) -> list[Outcome]:
    """Runs tasks with a model, some beside each other.

    Args:
        model: who drives.
        tasks: what is to be done.
        constrained: whether a grammar holds the model to a call at every turn.
        at_once: how many runs at a time.
        tick: called after each.
    """
    places = asyncio.Semaphore(at_once)
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/runs.db")

        async def one(task: Task) -> Outcome:
            async with places:
                played = await play(task, task.world(), model, database, constrained=constrained)
            tick()
            return Outcome(task, grade(task, played), played)

        try:
            return await asyncio.gather(*map(one, tasks))
        finally:
            database.dispose()


async def _outcomes(open_model: OpenChatModel, config: SimulateConfig, seed: int) -> list[Outcome]:
    tasks = [draw_task(seed, number, split=split) for split in config.splits for number in range(config.tasks)]
    async with open_model(config.model) as model:
        with progress("simulate", total=len(tasks), unit="tasks") as meter:
            driver = BriefChat(model) if config.brief else model
            return await examine(
                driver, tasks, constrained=config.constrained, at_once=config.at_once, tick=meter.advance
            )


def _rows(split: str, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    parts = [("all", outcomes)]
    parts += [(language, [o for o in outcomes if o.task.language == language]) for language in ("ko", "en")]
    return [{"split": split, "language": name, **summary(part)} for name, part in parts if part]


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Figures over tasks; precision and recall are None where nothing was asked, or nothing had to be."""
    asked = sum(len(o.grade.asked) for o in outcomes)
    wanted = sum(len(o.grade.wanted_questions) for o in outcomes)
    right = sum(len(o.grade.asked & o.grade.wanted_questions) for o in outcomes)
    success = fmean(o.grade.success for o in outcomes)
    return {
        "tasks": len(outcomes),
        "success": success,
        "error": (success * (1 - success) / len(outcomes)) ** 0.5,
        "done": fmean(o.grade.done for o in outcomes),
        "slot_precision": right / asked if asked else None,
        "slot_recall": right / wanted if wanted else None,
        "unsafe": fmean(bool(o.grade.unsafe) for o in outcomes),
        "stopped": fmean(bool(o.played.stopped) for o in outcomes),
        "turns": fmean(o.played.run.usage.turns for o in outcomes),
        "tokens": fmean(o.played.run.usage.total_tokens for o in outcomes),
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    columns = ("split", "", "tasks", "success", "but for wording", "slots: precision", "recall", "unsafe", "stopped")
    table = Table(*columns, "turns", "tokens")
    for row in rows:
        shares = (row[name] for name in ("done", "slot_precision", "slot_recall", "unsafe", "stopped"))
        table.add_row(
            row["split"], row["language"], str(row["tasks"]), f"{row['success']:.1%} ± {row['error']:.1%}",
            *map(_share, shares), f"{row['turns']:.1f}", f"{row['tokens']:.0f}",
        )  # fmt: skip
    console.print(table)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
