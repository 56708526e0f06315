"""``Tool``: a typed Python function that an agent may call.

    @tool(effect=Effect.SEND, preview=show_mail)
    def send_mail(
        context: ToolContext,
        to: Annotated[EmailStr, Slot(ko="누구에게 보낼까요?", en="To whom shall it go?")],
        subject: str,
        body: str,
    ) -> Outcome:
        \"\"\"Sends a mail.\"\"\"

The signature is the JSON schema that the model sees, the docstring its description. A parameter with a ``Slot`` is
what only a person (or a tool's result) can know: where it is missing, or nobody said it, the run asks. Parameters
without one are the model's to write.
"""

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from axk1.core.errors import AXK1Error

Language = Literal["ko", "en"]


class Effect(StrEnum):
    """What a tool does to the world; the policy decides by it."""

    READ = "read"
    """Changes nothing."""
    WRITE = "write"
    """Changes files of the workspace, and can be undone."""
    SEND = "send"
    """Reaches other people, and cannot be called back."""
    DELETE = "delete"
    """Destroys what somebody may need."""
    PAY = "pay"
    """Spends money."""


@dataclass(frozen=True)
class Slot:
    """Marks a parameter that must have been said: by the person, or by a tool's result. Never made up by a model."""

    ko: str
    """The question for it, in Korean."""
    en: str
    """The question for it, in English."""
    suggestion: Any = field(default=None, hash=False)
    """What a form is filled in with to begin with; it counts only once the person has sent it."""
    titles: Mapping[str, tuple[str, str]] = field(default_factory=dict, hash=False)
    """What people read in the place of an allowed value, in Korean and in English."""

    def question(self, language: Language) -> str:
        """The question in a language."""
        return self.ko if language == "ko" else self.en


class Report(Protocol):
    """Tells whoever waits for a tool how far it has come. It may be called in any thread, and never fails."""

    def __call__(self, text: str, *, done: float | None = None, total: float | None = None) -> None:
        """One line; ``done`` only grows, and ``total`` is what it will have grown to."""
        ...


def unheard(text: str, *, done: float | None = None, total: float | None = None) -> None:
    """The ``Report`` where nobody waits."""


@dataclass(frozen=True)
class ToolContext:
    """Where and when a tool runs."""

    workspace: Path
    """Folder of the run's files; a tool touches no others."""
    idempotency_key: str
    """The same at every attempt of one call, also in another process; other for each call."""
    now: datetime
    """The person's time, with their time zone."""
    language: Language = "ko"
    """The person's language."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What the person said to the questions of an ``InputRequired`` of this call; None where they would not say."""
    state: str = ""
    """The ``state`` of that ``InputRequired``, as it was."""
    report: Report = unheard
    """Says how far the call has come."""


@dataclass(frozen=True)
class Outcome:
    """What a tool did."""

    content: Any
    """What the model reads: text, or anything JSON can write."""
    files: tuple[str, ...] = ()
    """Files made or changed, relative to the workspace; the person may download them."""
    undo: Mapping[str, Any] | None = None
    """What ``Tool.undo`` needs to take it back; None where it cannot be."""


class ToolRefusal(AXK1Error):
    """A tool cannot do what was asked; the model reads why, and may try otherwise.

    Args:
        message: why.
        repair: as of ``AXK1Error``.
        untrusted: strangers wrote the message.
    """

    def __init__(self, message: str, *, repair: str | None = None, untrusted: bool = False) -> None:
        super().__init__(message, repair=repair)
        self.untrusted = untrusted


class OutcomeUnknown(AXK1Error):
    """A tool cannot say whether it did its work; the person decides whether it is tried again."""


class InputRequired(ToolRefusal):
    """A tool must know more from the person before it goes on; it has done nothing that calling it again would repeat.

    The run pauses, asks, and calls it again with ``ToolContext.answers`` and ``ToolContext.state``.

    Args:
        message: what the tool says about why it asks.
        questions: what to ask, by the name under which it looks into ``answers``.
        state: what it wants back, unread.
        name: what the request is called where it has a name on the wire (MCP).
    """

    def __init__(self, message: str, *, questions: Mapping[str, Slot], state: str = "", name: str = "form") -> None:
        super().__init__(message)
        self.questions, self.state, self.name = questions, state, name


@functools.lru_cache(maxsize=256)
def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of some arguments, which takes a millisecond to make; never changed by who gets it."""
    return arguments.model_json_schema()


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function, and what an agent must know of it. Make one with ``@tool``."""

    name: str
    description: str
    effect: Effect
    arguments: type[BaseModel]
    """The parameters as a pydantic model."""
    slots: Mapping[str, Slot]
    """Parameters that must have been said."""
    function: Callable[..., Outcome | Awaitable[Outcome]]
    """``function(context, **arguments)``; blocking functions are run in a thread."""
    preview: Callable[..., str] | None = None
    """``preview(context, **arguments)``: exactly what would happen, in the person's language, as Markdown."""
    recover: Callable[..., Outcome | None] | None = None
    """``recover(context, **arguments)``: what a call did that a crash interrupted; None where it did nothing. Raises
    ToolRefusal where nobody can know; then the person is asked. Without it, a call that has an effect is uncertain."""
    undo: Callable[[ToolContext, Mapping[str, Any]], str] | None = None
    """Takes an outcome back, given its ``undo``, and says what it did."""
    untrusted: bool = False
    """Whether what it returns was written by strangers (pages, mails): data, never instructions."""

    @property
    def required(self) -> tuple[str, ...]:
        """Parameters without a default."""
        return tuple(name for name, info in self.arguments.model_fields.items() if info.is_required())

    def described(self) -> dict[str, Any]:
        """The tool as OpenAI's ``tools`` entry. Slots may be left out there: no grammar shall make a model invent."""
        parameters = _told(_schema(self.arguments))
        parameters["required"] = [one for one in self.required if one not in self.slots]
        told = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": told}

    def checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in their types. Raises ToolRefusal that names each wrong field and what is allowed."""
        try:
            read = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, one['loc']))} = {one['input']!r}: {one['msg']}" for one in error.errors()
            )
            raise ToolRefusal(f"{self.name} was called wrongly: {wrong}") from None
        return {name: getattr(read, name) for name in self.arguments.model_fields}


def tool(
    *,
    effect: Effect,
    name: str | None = None,
    preview: Callable[..., str] | None = None,
    recover: Callable[..., Outcome | None] | None = None,
    undo: Callable[[ToolContext, Mapping[str, Any]], str] | None = None,
    untrusted: bool = False,
) -> Callable[[Callable[..., Any]], Tool]:
    """A function as a tool. Its first parameter is the ``ToolContext``; what it returns is an ``Outcome``.

    Args:
        effect: what it does to the world.
        name: what the model calls it; nothing for the function's name.
        preview, recover, undo, untrusted: as in ``Tool``.

    Raises:
        TypeError: a parameter has no type, or the function no docstring; a mistake of the programmer.
    """

    def make(function: Callable[..., Any]) -> Tool:
        called = name or function.__name__
        description = inspect.getdoc(function)
        if not description:
            raise TypeError(f"the tool {called} has no docstring, so no model can know what it is for")
        arguments, slots = _signature(called, function)
        return Tool(
            name=called,
            description=description,
            effect=effect,
            arguments=arguments,
            slots=slots,
            function=function,
            preview=preview,
            recover=recover,
            undo=undo,
            untrusted=untrusted,
        )

    return make


def _signature(name: str, function: Callable[..., Any]) -> tuple[type[BaseModel], dict[str, Slot]]:
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    slots: dict[str, Slot] = {}
    for parameter in list(inspect.signature(function).parameters.values())[1:]:  # behind the context
        if parameter.name not in hints:
            raise TypeError(f"{parameter.name} of the tool {name} has no type")
        hint = hints[parameter.name]
        extras = typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()
        for slot in (extra for extra in extras if isinstance(extra, Slot)):
            slots[parameter.name] = slot
            if not any(isinstance(extra, FieldInfo) for extra in extras):
                hint = Annotated[hint, FieldInfo(description=slot.en)]
        fields[parameter.name] = (hint, ... if parameter.default is inspect.Parameter.empty else parameter.default)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields), slots


def _told(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without what pydantic adds and no model needs: titles, and null for what may be left out."""
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) == 1:
        schema = {**{key: value for key, value in schema.items() if key != "anyOf"}, **choices[0]}
    left = {key: value for key, value in schema.items() if key != "title" and (key, value) != ("default", None)}
    for name in ("properties", "$defs"):
        if name in left:
            left[name] = {key: _told(value) for key, value in left[name].items()}
    if isinstance(left.get("items"), Mapping):
        left["items"] = _told(left["items"])
    return left
