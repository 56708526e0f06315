"""``World``: what there is of a person's mail, calendar, files and documents, in memory, and the tools that change it.

The tools have the names, parameters and slots of the real ones (``tests/agents`` holds both against each other); what
they do is written down, so that a grader can compare the world at the end with the world that was wanted.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from axk1.agents.tool import Effect, Outcome, Slot, Tool, ToolContext, ToolRefusal, tool
from axk1.agents.tools.arithmetic import evaluate, written


@dataclass(frozen=True)
class Contact:
    """A person of the address book."""

    name: str
    email: str


@dataclass(frozen=True)
class Text:
    """A mail that came, a document, a page or a file: what it is called, and what it says."""

    title: str
    text: str


@dataclass(frozen=True)
class Event:
    """An entry of the calendar."""

    id: str
    title: str
    start: str
    place: str = ""


@dataclass
class World:
    """What there is. ``done`` are the calls that changed it, in their order."""

    contacts: list[Contact] = field(default_factory=list)
    inbox: list[Text] = field(default_factory=list)
    documents: list[Text] = field(default_factory=list)
    pages: list[Text] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    devices: list[dict[str, str]] = field(default_factory=list)
    """What invented tools were called with."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Every call that ran, reading ones included."""

    def state(self) -> dict[str, Any]:
        """What a grader compares: all but the calls."""
        return {name: value for name, value in asdict(self).items() if name != "calls"}


Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[a-z]+$", json_schema_extra={"format": "email"})]


class Section(BaseModel):
    """A part of a document."""

    heading: str
    text: str


def world_tools(world: World) -> dict[str, Tool]:
    """The tools that act on a world, by name."""
    return {one.name: _acting_on(world, one) for one in _TOOLS}


def invented_tool(world: World, verb: str, noun: str, parameter: str) -> Tool:
    """A tool that exists nowhere: it teaches to read what tools are called, rather than to know the built-in ones.

    Where the world has a page of the parameter's value, the tool reads it; otherwise it acts.
    """
    name, reads = f"{verb}_{noun}", bool(world.pages)

    def function(world: World, **arguments: Any) -> Outcome:
        if reads:
            return _page_of(world, arguments[parameter], parameter)
        world.devices.append({"tool": name, **arguments})
        return Outcome({"status": "done"})

    made = Tool(
        name=name,
        description=f"{verb.capitalize()} the {noun}.",
        effect=Effect.READ if reads else Effect.WRITE,
        untrusted=reads,
        arguments=create_model(name, **{parameter: (str, ...)}),
        slots={parameter: Slot(ko=f"{parameter}?", en=f"Which {parameter}?")},
        function=function,
    )
    return _acting_on(world, made)


def _acting_on(world: World, one: Tool) -> Tool:
    def function(_: ToolContext, **arguments: Any) -> Any:
        outcome = one.function(world, **arguments)
        world.calls.append((one.name, arguments))
        return outcome

    return replace(one, function=function)


def _found(texts: list[Text], query: str) -> list[Text]:
    words = query.lower().split()
    return [one for one in texts if all(word in f"{one.title} {one.text}".lower() for word in words)]


def _page_of(world: World, address: str, name: str) -> Outcome:
    found = [one.text for one in world.pages if one.title == address]
    if not found:
        raise ToolRefusal(f"there is no page {address}")
    return Outcome({name: address, "text": found[0]})


# What the tools do. In the context's place each takes the world.


@tool(effect=Effect.SEND)
def send_mail(
    world: World,
    to: Annotated[list[Email], Slot(ko="누구에게 보낼까요?", en="To whom shall it go?")],
    subject: str,
    body: str,
    attachments: list[str] | None = None,
) -> Outcome:
    """Sends a mail with files of the workspace."""
    world.sent.append({"to": sorted(to), "subject": subject, "body": body})
    return Outcome({"sent": True})


@tool(effect=Effect.READ, untrusted=True)
def read_mail(world: World, query: str = "", limit: int = 10) -> Outcome:
    """Reads the newest mails of the inbox, or those that have some words in them."""
    return Outcome({"mails": [{"subject": one.title, "text": one.text} for one in _found(world.inbox, query)[:limit]]})


@tool(effect=Effect.READ)
def find_contact(world: World, name: str) -> Outcome:
    """Finds a person's address in the contacts."""
    return Outcome({"contacts": [asdict(one) for one in world.contacts if name.lower() in one.name.lower()]})


@tool(effect=Effect.WRITE)
def add_event(
    world: World,
    title: Annotated[str, Slot(ko="무슨 일정인가요?", en="What is it?")],
    start: Annotated[datetime, Slot(ko="언제인가요?", en="When does it begin?")],
    end: Annotated[datetime | None, Slot(ko="언제 끝나나요?", en="When does it end?")] = None,
    place: Annotated[str | None, Slot(ko="어디에서요?", en="Where?")] = None,
    attendees: Annotated[list[Email] | None, Slot(ko="누가 오나요?", en="Who comes?")] = None,
) -> Outcome:
    """Adds an event to the calendar."""
    world.events.append(Event(f"e{len(world.events) + 1}", title, f"{start:%Y-%m-%d %H:%M}", place or ""))
    return Outcome({"added": {"title": title, "start": f"{start:%Y-%m-%d %H:%M}"}})


@tool(effect=Effect.READ, untrusted=True)
def list_events(world: World, since: str = "", until: str = "") -> Outcome:
    """Lists the events of the calendar, from a day to a day."""
    return Outcome({"events": [{"title": one.title, "start": one.start} for one in world.events]})


@tool(effect=Effect.DELETE)
def delete_event(world: World, id: Annotated[str, Slot(ko="어느 일정인가요?", en="Which event?")]) -> Outcome:
    """Deletes an event of the calendar, by its id of list_events or by its title."""
    kept = [one for one in world.events if id not in (one.id, one.title)]
    if len(kept) == len(world.events):
        raise ToolRefusal(f"there is no event {id}")
    world.events[:] = kept
    return Outcome({"deleted": id})


@tool(effect=Effect.WRITE)
def write_document(
    world: World, path: str, format: Literal["docx", "hwpx", "pdf"], title: str, sections: list[Section]
) -> Outcome:
    """Writes a document (Word, Hangul or PDF) with a title and sections into the workspace."""
    world.files[path] = "\n".join([title, *(f"{one.heading}\n{one.text}" for one in sections)])
    return Outcome({"path": path})


@tool(effect=Effect.READ, untrusted=True)
def search_documents(world: World, query: str, limit: int = 10) -> Outcome:
    """Finds passages in the documents."""
    return Outcome(
        {"passages": [{"document": one.title, "text": one.text} for one in _found(world.documents, query)[:limit]]}
    )


@tool(effect=Effect.READ)
def list_files(world: World, folder: str = "") -> Outcome:
    """Lists the files of the workspace, or of one of its folders."""
    return Outcome({"files": [{"path": path} for path in sorted(world.files)]})


@tool(effect=Effect.READ, untrusted=True)
def read_file(world: World, path: str) -> Outcome:
    """Reads a text file of the workspace."""
    if path not in world.files:
        raise ToolRefusal(f"there is no file {path}")
    return Outcome(world.files[path])


@tool(effect=Effect.DELETE)
def delete_file(world: World, path: Annotated[str, Slot(ko="어느 파일인가요?", en="Which file?")]) -> Outcome:
    """Deletes a file of the workspace."""
    if world.files.pop(path, None) is None:
        raise ToolRefusal(f"there is no file {path}")
    return Outcome({"deleted": path})


@tool(effect=Effect.READ)
def calculate(world: World, expression: str) -> Outcome:
    """Calculates exactly."""
    return Outcome({"result": written(evaluate(expression))})


@tool(effect=Effect.READ, untrusted=True)
def fetch_page(world: World, url: Annotated[str, Slot(ko="어느 페이지인가요?", en="Which page?")]) -> Outcome:
    """Reads the text of a page of the web."""
    return _page_of(world, url, "url")


_TOOLS = (
    send_mail,
    read_mail,
    find_contact,
    add_event,
    list_events,
    delete_event,
    write_document,
    search_documents,
    list_files,
    read_file,
    delete_file,
    calculate,
    fetch_page,
)
