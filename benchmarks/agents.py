"""The agent loop with a model, on BFCL's questions: what is right, what is asked for, what is made up.

    python benchmarks/agents.py --model PATH_OR_URL --bfcl bfcl_eval-2026.3.23-py3-none-any.whl

The package is only read (``pip download --no-deps bfcl-eval==2026.3.23``). Each question is a run of the real loop with
its database; its functions are tools that say ``done``. Twice: with the rule that a required value must have been said
(ours), and without it. ``auto`` leaves it to the model whether it calls; ``constrained`` lets a grammar hold it to a
call, one of which is the answer.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents_bfcl import SETS, Item, invented, read_items, tool_name, tools_of
from agents_match import all_match, plain
from harness import Row, arguments, publish, refuse_busy_machine

from axk1.agents.limits import Limits
from axk1.agents.loop import Runner
from axk1.agents.run import CallState, Input, Run, Status
from axk1.agents.store import RunStore
from axk1.app import open_chat_model
from axk1.core.chat_model import ChatModel
from axk1.serve.database import open_database

_AT_ONCE = 4
_TURN_TOKENS = 160


@dataclass(frozen=True)
class Seen:
    """What a run did."""

    item: Item
    right: bool
    """By BFCL's rule; on ``irrelevance`` and ``miss_param``: nothing was carried out."""
    asked: bool
    """A rule's question, or one in words without any call."""
    made_up: bool
    """Something was carried out with a required value that nobody had said."""
    called: bool
    """The model called at least one function."""
    finished: bool
    """``miss_param``: after the second turn its first function was carried out with a value of that turn."""
    turns: int
    tokens: int


async def observe(model: ChatModel, item: Item, folder: Path, *, rule: bool, constrained: bool) -> Seen:
    """Runs one question."""
    store = RunStore(open_database(f"sqlite:///{folder}/{item.id}.db"))
    turns = len(item.accepted) if constrained and item.accepted else 1  # held to a call, a model makes one a turn
    options = {"workspace": folder, "constrained": constrained}
    runner = Runner(model, tools_of(item, slots=rule), store, limits=_limits(turns), **options)
    run = await runner.start(item.turns[0], language="en")
    done = [call for call in run.calls if call.state is CallState.DONE]
    required = {tool_name(one["name"]): one["parameters"].get("required", []) for one in item.functions}
    made_up = any(invented(call.arguments, required[call.tool], item.turns[0]) for call in done)
    asked = run.status is Status.INPUT_REQUIRED or (run.status is Status.COMPLETED and "?" in (run.answer or ""))
    usage, finished = run.usage, False
    called = any(step.type == "call" for step in run.steps)
    if item.then and asked:
        again = Runner(model, tools_of(item, slots=rule), store, limits=_limits(2), **options)
        finished = _finished(item, await again.give(run.id, Input(text=item.turns[1])))
    return Seen(item, _right(item, run), asked, made_up, called, finished, usage.turns, usage.total_tokens)


def _limits(turns: int) -> Limits:
    return Limits(max_turns=turns, max_turn_tokens=_TURN_TOKENS, max_mistakes=turns)


def _right(item: Item, run: Run) -> bool:
    done = [call for call in run.calls if call.state is CallState.DONE]
    if not item.accepted:
        return not done
    names = {tool_name(one["name"]): one["name"] for one in item.functions}
    proposed = [(names.get(step.tool or "", ""), step.arguments or {}) for step in run.steps if step.type == "call"]
    return all_match(proposed, item.accepted, item.functions)


def _finished(item: Item, run: Run) -> bool:
    name, wanted = item.then[0]
    values = [plain(str(value)) for value in wanted.values()]
    for call in run.calls:
        if call.tool == name and call.state is CallState.DONE:
            return all(value in [plain(str(one)) for one in call.arguments.values()] for value in values)
    return False


async def measure(model: ChatModel, items: Sequence[Item], *, rule: bool, constrained: bool) -> list[Seen]:
    """Runs questions, a few at once."""
    places = asyncio.Semaphore(_AT_ONCE)
    with tempfile.TemporaryDirectory() as folder:

        async def one(item: Item) -> Seen:
            async with places:
                seen = await observe(model, item, Path(folder), rule=rule, constrained=constrained)
                print(f"  {seen}".replace(repr(item), item.id), flush=True)
                return seen

        return list(await asyncio.gather(*map(one, items)))


def rows(case: str, ours: Sequence[Seen], without: Sequence[Seen]) -> Iterator[Row]:
    """The figures of a set, with the rule and without it."""
    missing = case.startswith("miss_param")
    metrics = {
        "right": lambda seen: seen.right,
        "called a function": lambda seen: seen.called,
        "asked": lambda seen: seen.asked,
        "carried out with invented values": lambda seen: seen.made_up,
        **({"finished after the answer": lambda seen: seen.finished} if missing else {}),
    }
    spread = f"{len(ours)} questions"
    for name, metric in metrics.items():
        yield _row(case, name, "%", *(100 * sum(map(metric, side)) / len(side) for side in (ours, without)), spread)
    for name in ("turns", "tokens"):
        values = (sum(getattr(seen, name) for seen in side) / len(side) for side in (ours, without))
        yield _row(case, f"{name} a question", "", *values, spread)


def precision_and_recall(choice: str, seen: dict[str, tuple[list[Seen], list[Seen]]]) -> Iterator[Row]:
    """Of the questions that were asked, how many had to be; of those that had to be, how many were."""
    for side, peer in ((0, "with the rule"), (1, "without it")):
        found = sum(one.asked for one in seen["miss_param"][side])
        needless = sum(one.asked for name in ("simple", "multiple", "parallel") for one in seen[name][side])
        every = len(seen["miss_param"][side])
        precision = 100 * found / (found + needless) if found + needless else None
        note = f"{found} of {every} asked, {needless} asked where nothing is missing"
        yield Row(f"missing values, {choice}, {peer}", "precision", "%", precision, None, "", None, note)
        yield Row(f"missing values, {choice}, {peer}", "recall", "%", 100 * found / every, None, "", None, note)


def _row(case: str, metric: str, unit: str, ours: float, without: float, spread: str) -> Row:
    return Row(case, metric, unit, ours, without, "without the rule", None, spread)


async def main() -> None:
    """Measures all sets and publishes them."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", required=True, help="a checkpoint folder, or the address of a server")
    parser.add_argument("--bfcl", type=Path, required=True, help="the wheel of bfcl-eval")
    parser.add_argument("--items", type=int, default=20, help="questions of each set")
    parser.add_argument("--seed", type=int, default=0, help="which questions are drawn")
    parser.add_argument("--choices", nargs="+", default=["constrained", "auto"], choices=["constrained", "auto"])
    asked = parser.parse_args()
    refuse_busy_machine(asked.force)
    count = min(asked.items, 4) if asked.quick else asked.items
    found: list[Row] = []
    async with open_chat_model(asked.model) as model:
        for choice in asked.choices:
            seen = {}
            for name in SETS:
                items = read_items(asked.bfcl, name, count, asked.seed)
                constrained, sides = choice == "constrained", []
                for rule in (True, False):
                    print(f"{name}, {choice}, {'with' if rule else 'without'} the rule", flush=True)
                    sides.append(await measure(model, items, rule=rule, constrained=constrained))
                seen[name] = (sides[0], sides[1])
                found += rows(f"{name}, {choice}", *sides)
            found += precision_and_recall(choice, seen)
    publish("agents", found, ("torch",))


if __name__ == "__main__":
    asyncio.run(main())
