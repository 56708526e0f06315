"""The agent loop with a model, on BFCL's questions: what is right, what is asked for, what is made up.

    python benchmarks/agents.py --model PATH_OR_URL --bfcl bfcl_eval-2026.3.23-py3-none-any.whl

The package is only read (``pip download --no-deps bfcl-eval==2026.3.23``). Each question is a run of the real loop with
its database; its functions are tools that say ``done``; what sends, deletes or pays, by the verb in its name, is shown
to a person, who agrees where it is what BFCL accepts. Twice: with the rule that a required value must have been said
(ours), and without it. ``auto`` leaves it to the model whether it calls; ``constrained`` lets a grammar hold it to a
call, one of which is the answer. A model that makes one call at a turn has as many turns as calls are accepted.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents_bfcl import SETS, Item, effect_of, invented, read_items, tool_name, tools_of
from agents_intervals import share
from agents_match import all_match, matches, plain
from harness import Row, arguments, publish, refuse_busy_machine

from axk1.agents.limits import Limits
from axk1.agents.loop import Runner
from axk1.agents.run import Call, CallState, Input, Run, Status
from axk1.agents.store import RunStore
from axk1.agents.tool import Effect
from axk1.core.chat_model import ChatModel
from axk1.named_model import open_chat_model
from axk1.serve.database import open_database

_AT_ONCE = 4
_TURN_TOKENS = 160
_TURNS_OF_TWO = 3
"""Turns of the model where the person speaks twice."""
_WHOLE = ("simple", "multiple", "parallel")
"""Sets in which nothing is missing."""


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
    unsafe: bool
    """Something was sent, deleted or paid that nobody wanted."""
    stopped: bool
    """The person was shown such a thing, and said no."""
    turns: int
    tokens: int


async def observe(model: ChatModel, item: Item, folder: Path, *, rule: bool, constrained: bool) -> Seen:
    """Runs one question."""
    store = RunStore(open_database(f"sqlite:///{folder}/{item.id}.db"))
    options = {"limits": _limits(item), "workspace": folder, "constrained": constrained}
    runner = Runner(model, tools_of(item, slots=rule), store, **options)
    run, stopped = await _decided(runner, item, await runner.start(item.turns[0], language="en"))
    done = [call for call in run.calls if _is_done(call)]
    required = {tool_name(one["name"]): one["parameters"].get("required", []) for one in item.functions}
    made_up = any(invented(call.arguments, required[call.tool], item.turns[0]) for call in done)
    asked = run.status is Status.INPUT_REQUIRED or (run.status is Status.COMPLETED and "?" in (run.answer or ""))
    usage, finished = run.usage, False
    called = any(step.type == "call" for step in run.steps)
    right = _right(item, run)
    if item.then and asked:
        run, stopped_then = await _decided(runner, item, await runner.give(run.id, Input(text=item.turns[1])))
        finished, stopped = _finished(item, run), stopped or stopped_then
    unsafe = any(_is_lasting(item, call) and not _is_wanted(item, call) for call in run.calls if _is_done(call))
    return Seen(item, right, asked, made_up, called, finished, unsafe, stopped, usage.turns, usage.total_tokens)


async def _decided(runner: Runner, item: Item, run: Run) -> tuple[Run, bool]:
    """The run after a person has read every confirmation, and whether they had to say no."""
    stopped = False
    while run.status is Status.CONFIRMATION_REQUIRED and run.waiting:
        wanted = _is_wanted(item, run.waiting)
        stopped = stopped or not wanted
        run = await runner.give(run.id, Input(confirm=wanted))
    return run, stopped


def _is_done(call: Call) -> bool:
    return call.state is CallState.DONE


def _is_lasting(item: Item, call: Call) -> bool:
    return effect_of(_names(item).get(call.tool, "")) is not Effect.WRITE


def _is_wanted(item: Item, call: Call) -> bool:
    """Whether a call is one of those that BFCL accepts, in the first turn or the second."""
    name = _names(item).get(call.tool, "")
    functions = {one["name"]: one for one in item.functions}
    made = (name, call.arguments)
    now = any(matches(made, one[name], functions[name]) for one in item.accepted if name in one)
    return now or any(name == one and _has(call, values) for one, values in item.then)


def _has(call: Call, wanted: Mapping[str, Any]) -> bool:
    """Whether a call has these values, whatever its parameters are called."""
    values = [plain(str(one)) for one in call.arguments.values()]
    return all(plain(str(value)) in values for value in wanted.values())


def _names(item: Item) -> dict[str, str]:
    return {tool_name(one["name"]): one["name"] for one in item.functions}


def _limits(item: Item) -> Limits:
    turns = _TURNS_OF_TWO if item.then else max(1, len(item.accepted))
    return Limits(max_turns=turns, max_turn_tokens=_TURN_TOKENS, max_mistakes=turns)


def _right(item: Item, run: Run) -> bool:
    done = [call for call in run.calls if _is_done(call)]
    if not item.accepted:
        return not done
    names = _names(item)
    proposed = [(names.get(step.tool or "", ""), step.arguments or {}) for step in run.steps if step.type == "call"]
    return all_match(proposed, item.accepted, item.functions)


def _finished(item: Item, run: Run) -> bool:
    name, wanted = item.then[0]
    first = next((call for call in run.calls if call.tool == tool_name(name) and _is_done(call)), None)
    return first is not None and _has(first, wanted)


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
        "unsafe actions": lambda seen: seen.unsafe,
        "stopped by the person": lambda seen: seen.stopped,
        **({"finished after the answer": lambda seen: seen.finished} if missing else {}),
    }
    for name, metric in metrics.items():
        (one, said), (other, without_it) = (share(sum(map(metric, side)), len(side)) for side in (ours, without))
        yield Row(case, name, "%", one, other, "without the rule", None, f"{said} / {without_it}")
    for name in ("turns", "tokens"):
        one, other = (sum(getattr(seen, name) for seen in side) / len(side) for side in (ours, without))
        yield Row(case, f"{name} a question", "", one, other, "without the rule", None, f"{len(ours)} questions")


def precision_and_recall(choice: str, seen: dict[str, tuple[list[Seen], list[Seen]]]) -> Iterator[Row]:
    """Of the questions that were asked, how many had to be; of those that had to be, how many were."""
    every = len(seen["miss_param"][0])
    found = [sum(one.asked for one in seen["miss_param"][side]) for side in (0, 1)]
    needless = [sum(one.asked for name in _WHOLE for one in seen[name][side]) for side in (0, 1)]
    for metric, of in (("precision", [a + b for a, b in zip(found, needless, strict=True)]), ("recall", [every] * 2)):
        (one, said), (other, without_it) = (share(found[side], of[side]) for side in (0, 1))
        spread = f"{said} / {without_it}"
        yield Row(f"missing values, {choice}", metric, "%", one, other, "without the rule", None, spread)


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
    publish("agents_bfcl", found, ("torch",))


if __name__ == "__main__":
    asyncio.run(main())
