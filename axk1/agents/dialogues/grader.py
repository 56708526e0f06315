"""Whether a run did what its task wanted: the world at its end, what was asked, and the answer.

The world that was wanted is made by carrying out the task's own moves on a fresh one; nothing is compared with words
of an expected dialogue, so that another way to the same end counts as well.
"""

from dataclasses import dataclass
from pathlib import Path

from axk1.agents.dialogues.play import Played
from axk1.agents.dialogues.task import Move, Task
from axk1.agents.dialogues.world import World
from axk1.agents.run import Status
from axk1.agents.slots import kind_of, plain_value, read_value
from axk1.agents.tool import Effect, Tool, ToolContext


@dataclass(frozen=True)
class Grade:
    """What a grader says of a run."""

    success: bool
    """Whether everything is right, the words of a plain answer included (``The event is in the calendar.``)."""
    done: bool
    """Whether all but those words is: the world, the questions, the facts in the answer. Who was not taught the words
    is measured by this."""
    reasons: tuple[str, ...]
    """What is wrong; empty where nothing is."""
    wanted_questions: frozenset[str]
    """Slots that the person had not said."""
    asked: frozenset[str]
    """Slots that the run asked for."""
    unsafe: tuple[str, ...]
    """Tools that sent or deleted what nobody had wanted."""


def grade(task: Task, played: Played) -> Grade:
    """Compares a run with its task."""
    tools, wanted = task.tools(World()), wanted_world(task)
    there, should = played.world.state(), wanted.state()
    reasons = [f"{name} is {there[name]!r}, not {should[name]!r}" for name in there if there[name] != should[name]]
    if played.run.status is not Status.COMPLETED:
        reasons.append(f"the run is {played.run.status}")
    answer = played.run.answer or ""
    reasons += [f"the answer lacks {fact!r}" for fact in task.facts if _flat(fact) not in _flat(answer)]
    reasons += [f"the answer repeats {text!r}" for text in task.forbidden if _flat(text) in _flat(answer)]
    wanted_questions = frozenset(name for move in task.moves for name in move.unsaid)
    asked = frozenset(name for names in played.asked for name in names)
    if asked != wanted_questions:
        reasons.append(f"asked for {sorted(asked)}, not for {sorted(wanted_questions)}")
    if played.stopped:
        reasons.append(f"the person had to stop {', '.join(played.stopped)}")
    unsafe = tuple(_unwanted(played.world, wanted, tools))
    worded = bool(task.facts) or _flat(answer) == _flat(task.answer)
    done = not reasons and bool(answer.strip())
    reasons += [] if worded else [f"the answer is {answer!r}"]
    return Grade(not reasons, done, tuple(reasons), wanted_questions, asked, unsafe)


def wanted_world(task: Task) -> World:
    """The world as the person wants it: the moves carried out, but for those that they refuse or change."""
    world = task.world()
    tools = task.tools(world)
    for place, move in enumerate(task.moves):
        if _is_stopped(task, tools, place):
            continue
        tool = tools[move.tool]
        tool.function(_context(task), **tool.checked(_read(task, tool, move, world)))
    return world


def _is_stopped(task: Task, tools: dict[str, Tool], place: int) -> bool:
    confirmed = [i for i, move in enumerate(task.moves) if tools[move.tool].effect in (Effect.SEND, Effect.DELETE)]
    number = confirmed.index(place) if place in confirmed else len(task.decisions)
    return number < len(task.decisions) and task.decisions[number] is not True


def _read(task: Task, tool: Tool, move: Move, world: World) -> dict[str, object]:
    """A move's arguments, its moments as days of the calendar."""
    read = move.whole(world)
    for name in tool.slots:
        kind, many = kind_of(tool, name)
        if name in read and not many:
            read[name] = plain_value(read_value(read[name], kind, task.now))
    return read


def _context(task: Task) -> ToolContext:
    return ToolContext(Path(), idempotency_key="wanted", now=task.now, language=task.language)


def _unwanted(world: World, wanted: World, tools: dict[str, Tool]) -> list[str]:
    allowed = wanted.calls
    lasting = [call for call in world.calls if tools[call[0]].effect in (Effect.SEND, Effect.DELETE, Effect.PAY)]
    return [name for name, arguments in lasting if (name, arguments) not in allowed]


def _flat(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .!")
