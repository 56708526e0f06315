"""``Run``: one piece of work, from the goal to the answer, as it is stored and as the API shows it.

A run is its steps, one behind the other; nothing in it is ever changed. Beside them stand the calls of tools, each in
the state that it has reached, so that another process knows what is left to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from axk1.agents.limits import Limits, Usage
from axk1.agents.tool import Language
from axk1.core.errors import AXK1Error


class Status(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    INPUT_REQUIRED = "input_required"
    """Somebody must say what is missing."""
    CONFIRMATION_REQUIRED = "confirmation_required"
    """Somebody must agree to what will happen."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


PAUSED = (Status.INPUT_REQUIRED, Status.CONFIRMATION_REQUIRED)
ENDED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class CallState(StrEnum):
    """How far a call of a tool has come."""

    PROPOSED = "proposed"
    """The model wants it; nothing has been checked."""
    ASKED = "asked"
    """Something is missing; it is proposed anew when the person has said it."""
    CONFIRMING = "confirming"
    """The person has been shown what would happen."""
    ALLOWED = "allowed"
    """It may run."""
    STARTED = "started"
    """It runs, or ran when a process died."""
    UNCERTAIN = "uncertain"
    """It was interrupted, and nobody knows what it did; the person decides."""
    DONE = "done"
    FAILED = "failed"
    """The tool refused, or broke."""
    REFUSED = "refused"
    """The policy, a rule or the person said no; nothing ran."""


OPEN = (CallState.PROPOSED, CallState.ALLOWED, CallState.STARTED)
"""States in which a call is the loop's to carry on."""
WAITING = (CallState.CONFIRMING, CallState.UNCERTAIN)
"""States in which a call is the person's to decide."""


@dataclass(frozen=True)
class Step:
    """One entry of a run's history."""

    number: int
    type: str
    """``call``, ``result``, ``question``, ``input``, ``confirmation``, ``refusal`` or ``answer``."""
    at: datetime
    tool: str | None = None
    call_id: str | None = None
    arguments: Mapping[str, Any] | None = None
    content: Any = None
    message: Mapping[str, Any] | None = None
    """What it adds to the conversation that the model reads, in OpenAI's form."""
    by: str = ""
    """The API key of who acted; empty where the run itself did."""
    digest: str = ""
    """Hash over this step and the digest before; see ``audit``."""

    def to_wire(self) -> dict[str, Any]:
        """The step as the API shows it."""
        shown = {"number": self.number, "type": self.type, "tool": self.tool, "call_id": self.call_id}
        return shown | {"arguments": self.arguments, "content": self.content, "at": self.at.isoformat()}


@dataclass(frozen=True)
class Call:
    """A tool's call in the journal."""

    number: int
    call_id: str
    tool: str
    arguments: Mapping[str, Any]
    state: CallState
    at: datetime
    """When it was proposed; the tool's ``now``."""
    digest: str = ""
    """Hash of what the person was shown and agreed to: tool, arguments and preview."""
    preview: str = ""
    expires_at: datetime | None = None
    content: Any = None
    """What came out, in words."""
    files: Sequence[str] = ()
    undo: Mapping[str, Any] | None = None
    """What the tool needs to take it back; None where it cannot be, or has been."""
    untrusted: bool = False
    """Whether its content was written by strangers."""


@dataclass(frozen=True)
class Question:
    """What the run asks."""

    call_id: str
    tool: str
    slots: Sequence[Mapping[str, str]]
    """``name`` and ``question`` of each."""

    @property
    def text(self) -> str:
        """The questions, one in each line."""
        return "\n".join(slot["question"] for slot in self.slots)

    def to_wire(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"call_id": self.call_id, "tool": self.tool, "slots": [dict(slot) for slot in self.slots]}


@dataclass(frozen=True)
class Run:
    """A run as it stands."""

    id: str
    tenant: str
    key: str
    """The API key on whose behalf it runs."""
    goal: str
    language: Language
    status: Status
    created_at: datetime
    workspace: str
    tools: Sequence[str]
    """The tools that it may use, by name."""
    limits: Limits = field(default_factory=Limits)
    usage: Usage = field(default_factory=Usage)
    answer: str | None = None
    question: Question | None = None
    nonce: str = ""
    """Marks strangers' texts in what the model reads; nobody can guess it."""
    cancelled: bool = False
    """Whether somebody asked for its end."""
    host: str = "agent"
    """The kind of program that began it, and carries it on by itself when it starts again."""
    steps: Sequence[Step] = ()
    calls: Sequence[Call] = ()

    @property
    def waiting(self) -> Call | None:
        """The call that a person must decide on."""
        return next((call for call in self.calls if call.state in WAITING), None)

    @property
    def files(self) -> tuple[str, ...]:
        """Files that it made, relative to the workspace, each once."""
        return tuple(dict.fromkeys(name for call in self.calls for name in call.files))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation so far in OpenAI's form, without the system's message."""
        return [dict(step.message) for step in self.steps if step.message is not None]

    def call(self, call_id: str) -> Call | None:
        """A call by its id."""
        return next((call for call in self.calls if call.call_id == call_id), None)


@dataclass(frozen=True)
class Input:
    """What a person gives to a run: words, values for slots, or a decision."""

    text: str | None = None
    slots: Mapping[str, Any] | None = None
    confirm: bool | None = None
    call_id: str | None = None
    """The call that is confirmed or refused; nothing for the one that waits."""
    by: str = ""
    """Who gives it: an API key's id."""
    may_agree: bool = True
    """Whether its words may agree to a call; not where a model may have written them."""

    def __post_init__(self) -> None:
        given = [name for name in ("text", "slots", "confirm") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputRefused(
                f"input = {', '.join(given) or None} is not allowed; allowed: one of text, slots, confirm"
            )

    def content(self) -> Any:
        """As the history keeps it."""
        return (
            self.text if self.text is not None else {"slots": self.slots} if self.slots else {"confirm": self.confirm}
        )


class NoSuchRun(AXK1Error):
    """There is no such run, or it is somebody else's."""


class InputRefused(AXK1Error):
    """A run does not wait for what was given to it."""


class RunBusy(AXK1Error):
    """Another process works on the run."""
