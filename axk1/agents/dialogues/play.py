"""One run of a task: the real loop, the task's world, a model, and a person who answers as the task says."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir

from sqlalchemy import Engine

from axk1.agents.dialogues.task import Task
from axk1.agents.dialogues.world import World
from axk1.agents.limits import Limits
from axk1.agents.loop import Runner
from axk1.agents.run import Input, Run, Status
from axk1.agents.store import RunStore
from axk1.agents.tool import Tool
from axk1.core.chat_model import ChatModel

_LIMITS = Limits(max_turns=8, max_calls=8, max_turn_tokens=160)
_MOST_INPUTS = 6


@dataclass
class Played:
    """What came of a run."""

    run: Run
    world: World
    asked: list[tuple[str, ...]] = field(default_factory=list)
    """The slots of each question."""
    stopped: list[str] = field(default_factory=list)
    """Tools whose call the person was shown and had not wanted, so that they said no."""


async def play(task: Task, world: World, model: ChatModel, database: Engine, *, constrained: bool = True) -> Played:
    """Runs a task to its end.

    Args:
        task: what is wanted.
        world: of this run; it is changed.
        model: who drives.
        database: where the loop keeps its state.
        constrained: whether a grammar holds the model to a call at every turn.
    """
    tools = task.tools(world)
    runner = Runner(
        model,
        tools,
        RunStore(database),
        limits=_LIMITS,
        clock=lambda: task.now,
        workspace=Path(gettempdir()),
        constrained=constrained,
        screened=False,  # a model learns to refuse by itself, too
    )
    played = Played(await runner.start(task.goal, language=task.language), world)
    person = _Person(task, tools, played)
    for _ in range(_MOST_INPUTS):
        given = person.says()
        if given is None:
            break
        played.run = await runner.give(played.run.id, given)
    return played


class _Person:
    """Answers questions from the task, and reads what is shown before agreeing to it."""

    def __init__(self, task: Task, tools: dict[str, Tool], played: Played) -> None:
        self._task, self._tools, self._played = task, tools, played
        self._decisions = list(task.decisions)

    def says(self) -> Input | None:
        """What they say to the run as it stands; None where it wants nothing."""
        run = self._played.run
        if run.status is Status.INPUT_REQUIRED and run.question:
            names = tuple(slot["name"] for slot in run.question.slots)
            self._played.asked.append(names)
            known = [self._task.said[name] for name in names if name in self._task.said]
            return Input(text=" ".join(known) or ("모르겠어" if self._task.language == "ko" else "I don't know"))
        if run.status is Status.CONFIRMATION_REQUIRED and run.waiting:
            return self._decides(run.waiting.tool, dict(run.waiting.arguments))
        return None

    def _decides(self, tool: str, arguments: dict[str, object]) -> Input:
        wanted = [move for move in self._task.moves if move.tool == tool]
        given = self._tools[tool].checked(arguments)
        if not any(self._tools[tool].checked(move.whole(self._played.world)) == given for move in wanted):
            self._played.stopped.append(tool)
            return Input(confirm=False)
        decision = self._decisions.pop(0) if self._decisions else True
        return Input(text=decision) if isinstance(decision, str) else Input(confirm=decision)
