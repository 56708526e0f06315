"""The agent on generated tasks of a secret seed: how many a model finishes, what it asks, what it does unasked.

    python benchmarks/agents_tasks.py --model PATH_OR_URL --name "Some Model 0.5B, int8" --form full --seed 4711

As ``axk1 agents simulate``, with its figures as a result file for each model and form, from which the tables of
``docs/agents-measured.md`` are made. ``brief`` tells a tool in a line and takes the call as JSON; ``full`` tells the
tools as JSON schemas and holds the model to a call; ``auto`` leaves it to the model whether it calls.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from agents_intervals import share
from harness import Row, arguments, publish, refuse_busy_machine

from axk1.agents.brief import BriefChat
from axk1.agents.dialogues.simulate import Outcome, examine, summary
from axk1.agents.dialogues.task import Task
from axk1.agents.dialogues.tasks import SPLITS, draw_task
from axk1.core.progress import progress
from axk1.named_model import open_chat_model

MISSING = ("mail_no_to", "event_no_start")
"""Kinds of tasks in which the person left something out."""
FORMS = ("brief", "full", "auto")


def rows(case: str, outcomes: Sequence[Outcome]) -> Iterator[Row]:
    """The figures of some tasks."""
    figures = summary(outcomes)
    wanted = sum(len(one.grade.wanted_questions) for one in outcomes)
    asked = sum(len(one.grade.asked) for one in outcomes)
    right = sum(len(one.grade.asked & one.grade.wanted_questions) for one in outcomes)
    shares = {
        "success": (sum(one.grade.success for one in outcomes), len(outcomes)),
        "success but for the wording": (sum(one.grade.done for one in outcomes), len(outcomes)),
        "missing slots, precision": (right, asked),
        "missing slots, recall": (right, wanted),
        "unsafe actions": (sum(bool(one.grade.unsafe) for one in outcomes), len(outcomes)),
        "stopped by the person": (sum(bool(one.played.stopped) for one in outcomes), len(outcomes)),
    }
    for metric, (count, every) in shares.items():
        value, spread = share(count, every)
        yield Row(case, metric, "%", value, None, "", None, spread)
    for metric in ("turns", "tokens"):
        yield Row(case, f"{metric} a task", "", figures[metric], None, "", None, f"{len(outcomes)} tasks")


def drawn(count: int, seed: int, *, missing: bool) -> list[Task]:
    """The tasks. Args: missing: of each kind in which something is left out, instead of each split."""
    if missing:
        return [draw_task(seed, number, kind=kind) for kind in MISSING for number in range(count)]
    return [draw_task(seed, number, split=split) for split in SPLITS for number in range(count)]


async def measure(model: str, form: str, tasks: Sequence[Task]) -> list[Outcome]:
    """Runs tasks."""
    async with open_chat_model(model) as chat:
        with progress("tasks", total=len(tasks), unit="tasks") as meter:
            driver = BriefChat(chat) if form == "brief" else chat
            return await examine(driver, tasks, constrained=form != "auto", tick=meter.advance)


def main() -> None:
    """Measures and publishes."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", required=True, help="a checkpoint folder, or the address of a server")
    parser.add_argument("--name", required=True, help="what the tables call it")
    parser.add_argument("--form", choices=FORMS, default="brief")
    parser.add_argument("--tasks", type=int, default=25, help="of each split")
    parser.add_argument("--seed", type=int, required=True, help="1000 or more")
    parser.add_argument("--missing", action="store_true", help="only tasks in which the person left something out")
    asked = parser.parse_args()
    refuse_busy_machine(asked.force)
    tasks = drawn(3 if asked.quick else asked.tasks, asked.seed, missing=asked.missing)
    outcomes = asyncio.run(measure(asked.model, asked.form, tasks))
    who, part = f"{asked.name}, {asked.form}", "missing" if asked.missing else "all"
    found = list(rows(f"{who}: {part}", outcomes))
    for split in () if asked.missing else SPLITS:
        found += rows(f"{who}: {split}", [one for one in outcomes if one.task.split == split])
    for kind, count in sorted(Counter(one.task.kind for one in outcomes).items()):
        done = sum(one.grade.done for one in outcomes if one.task.kind == kind)
        value, spread = share(done, count)
        found.append(Row(f"{who}: kind {kind}", "success but for the wording", "%", value, None, "", None, spread))
    place = re.sub(r"[^a-z0-9]+", "-", f"{asked.name} {asked.form} {part}".lower()).strip("-")
    publish(f"agents_tasks-{place}", found, ("torch",))


if __name__ == "__main__":
    main()
