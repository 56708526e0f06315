"""``Task``: what a person wants, the world that they live in, what they say when asked, and how an expert does it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from axk1.agents.dialogues.world import World
from axk1.agents.tool import Language, Tool


@dataclass(frozen=True)
class Move:
    """A call that the expert makes, once it knows what it needs."""

    tool: str
    arguments: Mapping[str, Any] | Callable[[World], Mapping[str, Any]]
    """What it writes; a function where that depends on what earlier calls found."""
    unsaid: tuple[str, ...] = ()
    """Slots that the person has not said when the expert makes the call, so that it leaves them out."""

    def whole(self, world: World) -> dict[str, Any]:
        """The arguments, those included that have not been said."""
        return dict(self.arguments(world) if callable(self.arguments) else self.arguments)

    def written(self, world: World) -> dict[str, Any]:
        """The arguments as the expert writes them."""
        return {name: value for name, value in self.whole(world).items() if name not in self.unsaid}


@dataclass(frozen=True)
class Task:
    """One task, with everything that a run of it needs."""

    id: str
    kind: str
    language: Language
    goal: str
    """What the person says first."""
    now: datetime
    world: Callable[[], World]
    """Makes the world as it is before the run; each run gets one of its own."""
    tools: Callable[[World], Mapping[str, Tool]]
    """The tools that are offered, over a world."""
    moves: Sequence[Move]
    """What the expert calls, in this order."""
    answer: str
    """What the expert says at the end."""
    facts: tuple[str, ...] = ()
    """What a right answer must contain."""
    forbidden: tuple[str, ...] = ()
    """What a right answer must not contain, such as instructions hidden in a page."""
    said: Mapping[str, str] = field(default_factory=dict)
    """What the person answers when asked for a slot."""
    decisions: tuple[bool | str, ...] = ()
    """What the person says to confirmations that show what they want: yes, no, or other words; yes after these."""
    split: str = "seen"
    """``seen``, ``names``, ``phrasings`` or ``tool``: what of it no taught dialogue has."""

    @property
    def refused(self) -> bool:
        """Whether the person says no in the end."""
        return False in self.decisions
