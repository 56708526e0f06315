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
from pathlib import Path

from agents_intervals import share
from harness import Row, arguments, publish, refuse_busy_machine

from axk1.agents.brief import BriefChat
from axk1.agents.dialogues.simulate import Outcome, examine, summary
from axk1.agents.dialogues.tasks import SPLITS, draw_task
from axk1.app import open_chat_model
from axk1.core.progress import progress

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


async def measure(model: str, form: str, tasks: int, seed: int) -> list[Outcome]:
    """Runs tasks of each split."""
    drawn = [draw_task(seed, number, split=split) for split in SPLITS for number in range(tasks)]
    async with open_chat_model(model) as chat:
        with progress("tasks", total=len(drawn), unit="tasks") as meter:
            driver = BriefChat(chat) if form == "brief" else chat
            return await examine(driver, drawn, constrained=form != "auto", tick=meter.advance)


def main() -> None:
    """Measures and publishes."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", required=True, help="a checkpoint folder, or the address of a server")
    parser.add_argument("--name", required=True, help="what the tables call it")
    parser.add_argument("--form", choices=FORMS, default="brief")
    parser.add_argument("--tasks", type=int, default=25, help="of each split")
    parser.add_argument("--seed", type=int, required=True, help="1000 or more")
    asked = parser.parse_args()
    refuse_busy_machine(asked.force)
    outcomes = asyncio.run(measure(asked.model, asked.form, 3 if asked.quick else asked.tasks, asked.seed))
    who = f"{asked.name}, {asked.form}"
    found = list(rows(f"{who}: all", outcomes))
    for split in SPLITS:
        found += rows(f"{who}: {split}", [one for one in outcomes if one.task.split == split])
    for kind, count in sorted(Counter(one.task.kind for one in outcomes).items()):
        done = sum(one.grade.done for one in outcomes if one.task.kind == kind)
        value, spread = share(done, count)
        found.append(Row(f"{who}: kind {kind}", "success but for the wording", "%", value, None, "", None, spread))
    place = re.sub(r"[^a-z0-9]+", "-", f"{Path(asked.name).name} {asked.form}".lower()).strip("-")
    publish(f"agents_tasks-{place}", found, ("torch",))


if __name__ == "__main__":
    main()
