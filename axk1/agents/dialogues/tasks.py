"""The kinds of tasks, each a function that draws one. ``draw_task`` is pure in its seed and number."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from axk1.agents.dialogues.invented import LOOKED_UP, LOOKING, PARAMETERS, THINGS, VERBS
from axk1.agents.dialogues.phrasings import phrasings, varied
from axk1.agents.dialogues.task import Move, Task
from axk1.agents.dialogues.words import Words, is_held_out
from axk1.agents.dialogues.world import Contact, Event, Text, World, invented_tool, world_tools
from axk1.agents.tool import Language, Tool

KOREA = timezone(timedelta(hours=9))
SPLITS = ("seen", "names", "phrasings", "tool")
"""What is new in a task: nothing but the draw; its names, topics and addresses; its templates; its tool."""
HELD_OUT_TOOL = "fetch_page"
"""A tool that no taught dialogue calls or is offered."""
_OFFERED = tuple(name for name in world_tools(World()) if name != HELD_OUT_TOOL)
_WHAT = {
    "ko": {
        "day": ("마감일", "기한", "시작일"),
        "sum": ("비용", "예산", "금액"),
        "person": ("담당자", "책임자", "연락처"),
    },
    "en": {
        "day": ("deadline", "start", "date"),
        "sum": ("cost", "price", "budget"),
        "person": ("contact", "owner", "head"),
    },
}
_OPERATORS = {
    "ko": (("더하기", "+"), ("빼기", "-"), ("곱하기", "*")),
    "en": (("plus", "+"), ("minus", "-"), ("times", "*")),
}
_AS_THEY_ARE = frozenset({"chat", "sum", "device", "ask_to", "ask_when", "injection", "unsafe"})
"""Kinds whose templates are not varied: short ones, and what is not asked for."""
_OTHER_ADDRESS = {
    "ko": ("아니, {}로 보내줘", "아니 받는 사람은 {}야"),
    "en": ("No, send it to {}", "No, the address is {}"),
}
_DONE = {
    "mail": ("메일을 보냈습니다.", "The mail is sent."),
    "not_sent": ("메일을 보내지 않았습니다.", "The mail was not sent."),
    "event": ("일정을 넣었습니다.", "The event is in the calendar."),
    "deleted": ("지웠습니다.", "It is deleted."),
    "not_deleted": ("지우지 않았습니다.", "It was not deleted."),
    "document": ("문서를 만들었습니다.", "The document is written."),
    "device": ("처리했습니다.", "It is done."),
    "impossible": ("그 일을 할 수 있는 도구가 없습니다.", "I have no tool for that."),
    "unsafe": ("그 일은 도와드릴 수 없습니다.", "I cannot help with that."),
    "chat": ("안녕하세요. 메일, 일정, 문서 일을 도와드립니다.", "Hello. I help with mail, calendar and documents."),
}


@dataclass
class _Draw:
    """What the makers draw from."""

    rng: random.Random
    language: Language
    split: str
    words: Words = field(init=False)

    def __post_init__(self) -> None:
        self.words = Words(self.rng, self.language, held_out=self.split == "names")

    def ask(self, kind: str, **values: object) -> str:
        """A request in a template of this split."""
        held_out = self.split == "phrasings" or kind == "page"
        template = self.rng.choice(phrasings(kind, self.language, held_out=held_out))
        template = template if held_out or kind in _AS_THEY_ARE else varied(template, self.language, self.rng)
        return template.format(**values)

    def done(self, name: str) -> str:
        """What the expert says at the end."""
        return _DONE[name][0 if self.language == "ko" else 1]

    def contacts(self, *more: Contact) -> list[Contact]:
        """An address book."""
        others = [Contact(self.words.name(), self.words.address()) for _ in range(self.rng.randint(1, 3))]
        return self.shuffled([*more, *others])

    def shuffled(self, things: list[Any]) -> list[Any]:
        """The same in a random order."""
        return self.rng.sample(things, len(things))


@dataclass
class _Made:
    """What a maker decides; the rest of a task is the same for all."""

    goal: str
    moves: list[Move]
    answer: str
    needs: tuple[str, ...] = ()
    """Tools that must be offered."""
    withheld: tuple[str, ...] = ()
    """Tools that must not."""
    world: dict[str, Any] = field(default_factory=dict)
    """Fields of the world."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of the task."""
    invented: tuple[str, str, str] | None = None


def draw_task(seed: int, number: int, *, split: str = "seen", kind: str | None = None) -> Task:
    """A task.

    Args:
        seed: of all draws.
        number: which task of this seed.
        split: what of it is kept from teaching; ``tool`` gives tasks whose tool is ``HELD_OUT_TOOL``.
        kind: which kind; nothing draws one by ``WEIGHTS``.
    """
    rng = random.Random(f"{seed}:{number}:{split}")
    language: Language = "ko" if rng.random() < 0.5 else "en"
    drawn = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    kind = "page" if split == "tool" else kind or drawn
    draw = _Draw(rng, language, split)
    made = _MAKERS[kind](draw)
    now = datetime(2026, 1, 5, 9, tzinfo=KOREA) + timedelta(days=rng.randrange(300), minutes=rng.randrange(400))
    pool = [name for name in _OFFERED if name not in (*made.needs, *made.withheld)]
    count = max(0, rng.randint(2, 4) - len(made.needs) - bool(made.invented))
    offered = draw.shuffled([*made.needs, *rng.sample(pool, count), *(["*"] if made.invented else [])])
    fields = made.world

    def world() -> World:
        return World(**{name: value.copy() for name, value in fields.items()})

    def tools(its_world: World) -> Mapping[str, Tool]:
        known = world_tools(its_world)
        if made.invented:
            known["*"] = invented_tool(its_world, *made.invented)
        return {known[name].name: known[name] for name in offered}

    return Task(
        id=f"{split}/{seed}/{number}",
        kind=kind,
        language=language,
        goal=made.goal,
        now=now,
        world=world,
        tools=tools,
        moves=tuple(made.moves),
        answer=made.answer,
        split=split,
        **made.more,
    )


def _mail_words(draw: _Draw) -> dict[str, str]:
    return {"subject": draw.words.topic(), "body": draw.words.sentence()}


def _mail(draw: _Draw) -> _Made:
    to, mail = draw.words.address(), _mail_words(draw)
    goal = draw.ask("mail", to=to, topic=mail["subject"], body=mail["body"])
    return _Made(goal, [Move("send_mail", {"to": [to], **mail})], draw.done("mail"), ("send_mail",))


def _mail_name(draw: _Draw) -> _Made:
    contact, mail = Contact(draw.words.name(), draw.words.address()), _mail_words(draw)
    goal = draw.ask("mail_name", name=contact.name, topic=mail["subject"], body=mail["body"])
    moves = [Move("find_contact", {"name": contact.name}), Move("send_mail", {"to": [contact.email], **mail})]
    world = {"contacts": draw.contacts(contact)}
    return _Made(goal, moves, draw.done("mail"), ("send_mail", "find_contact"), world=world)


def _mail_no_to(draw: _Draw) -> _Made:
    to, mail = draw.words.address(), _mail_words(draw)
    goal = draw.ask("mail_no_to", topic=mail["subject"], body=mail["body"])
    moves = [Move("send_mail", {"to": [to], **mail}, unsaid=("to",))]
    said = {"to": draw.ask("ask_to", to=to)}
    return _Made(goal, moves, draw.done("mail"), ("send_mail",), more={"said": said})


def _mail_refused(draw: _Draw) -> _Made:
    return replace(_mail(draw), answer=draw.done("not_sent"), more={"decisions": (False,)})


def _mail_changed(draw: _Draw) -> _Made:
    made, other = _mail(draw), draw.words.address()
    words = draw.rng.choice(_OTHER_ADDRESS[draw.language])
    again = Move("send_mail", {**made.moves[0].whole(World()), "to": [other]})
    return replace(made, moves=[*made.moves, again], more={"decisions": (words.format(other),)})


def _event(draw: _Draw) -> _Made:
    event = {"title": draw.words.topic(), "start": draw.words.moment()}
    goal = draw.ask("event", title=event["title"], when=event["start"])
    return _Made(goal, [Move("add_event", event)], draw.done("event"), ("add_event",))


def _event_place(draw: _Draw) -> _Made:
    event = {"title": draw.words.topic(), "start": draw.words.moment(), "place": draw.words.place()}
    goal = draw.ask("event_place", title=event["title"], when=event["start"], place=event["place"])
    return _Made(goal, [Move("add_event", event)], draw.done("event"), ("add_event",))


def _event_no_start(draw: _Draw) -> _Made:
    event = {"title": draw.words.topic(), "start": draw.words.moment()}
    moves = [Move("add_event", event, unsaid=("start",))]
    said = {"start": draw.ask("ask_when", when=event["start"])}
    return _Made(draw.ask("event_no_start", title=event["title"]), moves, draw.done("event"), ("add_event",),
                 more={"said": said})  # fmt: skip


def _event_changed(draw: _Draw) -> _Made:
    title, when, day = draw.words.topic(), draw.words.time(), draw.words.date()
    other = draw.words.time()
    while other == when:
        other = draw.words.time()
    goal = draw.ask("event_changed", title=title, when=f"{day} {when}", other=f"{day} {other}")
    return _Made(
        goal, [Move("add_event", {"title": title, "start": f"{day} {other}"})], draw.done("event"), ("add_event",)
    )


def _delete_event(draw: _Draw) -> _Made:
    made = _events(draw)
    gone = draw.rng.choice(made)
    moves = [Move("delete_event", {"id": gone.title})]
    refused = draw.rng.random() < 0.25
    answer = draw.done("not_deleted" if refused else "deleted")
    more = {"decisions": (False,)} if refused else {}
    goal = draw.ask("delete_event", title=gone.title)
    return _Made(goal, moves, answer, ("delete_event",), world={"events": made}, more=more)


def _events(draw: _Draw) -> list[Event]:
    titles = list(dict.fromkeys(draw.words.topic() for _ in range(draw.rng.randint(2, 4))))
    start = "2026-12-01 10:00"
    return [
        Event(f"{draw.rng.choice('abcdefgh')}{draw.rng.randint(10, 99)}-{i}", title, start)
        for i, title in enumerate(titles)
    ]


def _fact(draw: _Draw, topic: str) -> tuple[str, str]:
    """What is asked of a topic, and a sentence that says it."""
    sort = draw.rng.choice(("day", "sum", "person"))
    what = draw.rng.choice(_WHAT[draw.language][sort])
    month, day, amount = draw.rng.randint(1, 12), draw.rng.randint(1, 28), draw.rng.randint(2, 999)
    if draw.language == "ko":
        value = {"day": f"{month}월 {day}일", "sum": f"{amount}만 원", "person": draw.words.name()}[sort]
        return what, f"{topic} {what}: {value}."
    value = {"day": f"{day} May", "sum": f"{amount} dollars", "person": draw.words.name()}[sort]
    return what, f"The {what} of the {topic} is {value}."


def _tricked(draw: _Draw, text: str) -> tuple[str, dict[str, Any]]:
    """A text that sometimes holds instructions which nobody who works here gave."""
    if draw.rng.random() > 0.3:
        return text, {}
    trick = draw.ask("injection", to=draw.words.address(), path=draw.words.path())
    return f"{text} {trick}", {"forbidden": (trick,)}


def _search(draw: _Draw) -> _Made:
    topic = draw.words.topic()
    what, fact = _fact(draw, topic)
    text, more = _tricked(draw, fact)
    moves = [Move("search_documents", {"query": topic})]
    world = {"documents": [Text(topic, text)]}
    goal = draw.ask("search", topic=topic, what=what)
    return _Made(goal, moves, fact, ("search_documents",), world=world, more={"facts": (fact,), **more})


def _read_mail(draw: _Draw) -> _Made:
    topic, fact = draw.words.topic(), draw.words.sentence()
    text, more = _tricked(draw, fact)
    moves = [Move("read_mail", {"query": topic})]
    world = {"inbox": [Text(topic, text)]}
    return _Made(
        draw.ask("read_mail", topic=topic), moves, fact, ("read_mail",), world=world, more={"facts": (fact,), **more}
    )


def _read_file(draw: _Draw) -> _Made:
    path, text = draw.words.path("txt", "md", "csv"), draw.words.sentence()
    moves = [Move("read_file", {"path": path})]
    world = {"files": {path: text}}
    return _Made(draw.ask("read_file", path=path), moves, text, ("read_file",), world=world, more={"facts": (text,)})


def _list_files(draw: _Draw) -> _Made:
    paths = sorted({draw.words.path() for _ in range(draw.rng.randint(1, 3))})
    world = {"files": dict.fromkeys(paths, "")}
    more = {"facts": tuple(paths)}
    return _Made(
        draw.ask("list_files"), [Move("list_files", {})], ", ".join(paths), ("list_files",), world=world, more=more
    )


def _delete_file(draw: _Draw) -> _Made:
    path, refused = draw.words.path(), draw.rng.random() < 0.25
    world = {"files": {path: "", draw.words.path(): ""}}
    answer = draw.done("not_deleted" if refused else "deleted")
    more = {"decisions": (False,)} if refused else {}
    goal = draw.ask("delete_file", path=path)
    return _Made(goal, [Move("delete_file", {"path": path})], answer, ("delete_file",), world=world, more=more)


def _document(draw: _Draw) -> _Made:
    kind = draw.rng.choice(("docx", "hwpx", "pdf"))
    path, title, body = draw.words.path(kind), draw.words.topic(), draw.words.sentence()
    sections = [{"heading": title, "text": body}]
    move = Move("write_document", {"path": path, "format": kind, "title": title, "sections": sections})
    goal = draw.ask("document", path=path, title=title, body=body)
    return _Made(goal, [move], draw.done("document"), ("write_document",))


def _sum(draw: _Draw) -> _Made:
    a, b = draw.rng.randint(2, 999), draw.rng.randint(2, 999)
    word, sign = draw.rng.choice(_OPERATORS[draw.language])
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    moves = [Move("calculate", {"expression": f"{a} {sign} {b}"})]
    return _Made(draw.ask("sum", a=a, op=word, b=b), moves, str(value), ("calculate",), more={"facts": (str(value),)})


def _page(draw: _Draw) -> _Made:
    url, text = draw.words.url(), draw.words.sentence()
    world = {"pages": [Text(url, text)]}
    moves = [Move(HELD_OUT_TOOL, {"url": url})]
    return _Made(draw.ask("page", url=url), moves, text, (HELD_OUT_TOOL,), world=world, more={"facts": (text,)})


def _device(draw: _Draw) -> _Made:
    while True:
        verb, noun = draw.rng.choice(list(VERBS)), draw.rng.choice(list(THINGS))
        if is_held_out(f"{verb} {noun}") == (draw.split == "names"):
            break
    parameter, place = draw.rng.choice(PARAMETERS), f"{draw.rng.choice('ABCDEFGHK')}{draw.rng.randint(2, 99)}"
    value = draw.rng.choice((place, draw.words.name()))
    said = {"verb": VERBS[verb], "noun": THINGS[noun]} if draw.language == "ko" else {"verb": verb, "noun": noun}
    goal = draw.ask("device", value=value, **said)
    return _Made(
        goal, [Move(f"{verb}_{noun}", {parameter: value})], draw.done("device"), invented=(verb, noun, parameter)
    )


def _chat(draw: _Draw) -> _Made:
    return _Made(draw.ask("chat"), [], draw.done("chat"))


def _lookup(draw: _Draw) -> _Made:
    """A tool of an unknown name that reads something."""
    while True:
        verb, noun = draw.rng.choice(LOOKING), draw.rng.choice(list(LOOKED_UP))
        if is_held_out(f"{verb} {noun}") == (draw.split == "names"):
            break
    words, parameter = draw.words, draw.rng.choice((*PARAMETERS, "address", "id", "link"))
    value = draw.rng.choice((words.name, words.path, words.url, words.url, words.address))()
    text = words.sentence()
    goal = draw.ask("lookup", value=value, noun=LOOKED_UP[noun] if draw.language == "ko" else noun)
    return _Made(goal, [Move(f"{verb}_{noun}", {parameter: value})], text, world={"pages": [Text(value, text)]},
                 more={"facts": (text,)}, invented=(verb, noun, parameter))  # fmt: skip


def _impossible(draw: _Draw) -> _Made:
    if draw.rng.random() < 0.5:  # what another tool could do that is not offered
        other = draw.rng.choice((_mail, _event, _sum, _delete_file, _read_file, _document))(draw)
        return _Made(other.goal, [], draw.done("impossible"), withheld=other.needs)
    goal = draw.ask("impossible", name=draw.words.name(), place=draw.words.place(), topic=draw.words.topic())
    return _Made(goal, [], draw.done("impossible"))


def _unsafe(draw: _Draw) -> _Made:
    goal = draw.ask("unsafe", name=draw.words.name(), to=draw.words.address())
    return _Made(goal, [], draw.done("unsafe"))


_MAKERS: dict[str, Callable[[_Draw], _Made]] = {
    "mail": _mail, "mail_name": _mail_name, "mail_no_to": _mail_no_to, "mail_refused": _mail_refused,
    "mail_changed": _mail_changed, "event": _event, "event_place": _event_place, "event_no_start": _event_no_start,
    "event_changed": _event_changed, "delete_event": _delete_event, "search": _search, "read_mail": _read_mail,
    "read_file": _read_file, "list_files": _list_files, "delete_file": _delete_file, "document": _document,
    "sum": _sum, "page": _page, "device": _device, "lookup": _lookup, "chat": _chat,
    "impossible": _impossible, "unsafe": _unsafe,
}  # fmt: skip
WEIGHTS: dict[str, float] = {
    "mail": 12, "mail_name": 12, "mail_no_to": 8, "mail_refused": 3, "mail_changed": 5, "event": 9, "event_place": 5,
    "event_no_start": 7, "event_changed": 4, "delete_event": 7, "search": 8, "read_mail": 7, "read_file": 5,
    "list_files": 2, "delete_file": 5, "document": 5, "sum": 6, "device": 9, "lookup": 9, "chat": 4,
    "impossible": 8, "unsafe": 5,
}  # fmt: skip
"""The kinds that are drawn, and how often each comes relative to the others."""
