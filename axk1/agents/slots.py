"""The rule that asks: before a call runs, every slot of its tool must have been said.

``checked_slots`` decides over what a model proposed; ``bound`` reads a person's answer. Neither asks a model.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from axk1.agents.dates import find, is_certain, moved
from axk1.agents.number_words import find_numbers
from axk1.agents.said import Kind, Said, Source, combine, emails, flat, is_unknown, yes_or_no
from axk1.agents.tool import Effect, Tool

_TO_OTHERS = (Effect.SEND, Effect.PAY)
"""Effects whose slots strangers' words never fill: they name who gets a mail, or money."""
_FORMATS = {"email": Kind.EMAIL, "date-time": Kind.MOMENT, "date": Kind.DATE, "time": Kind.TIME}
_DAY, _CLOCK = r"\d{4}-\d{2}-\d{2}", r"\d{2}:\d{2}(?::\d{2})?"
_WRITTEN = {_DAY: Kind.DATE, _CLOCK: Kind.TIME, f"{_DAY}[T ]{_CLOCK}": Kind.MOMENT, r"-?\d+(?:\.\d+)?": Kind.NUMBER}
_BETWEEN = re.compile(r"\s*(?:[,、;\n]|\band\b|그리고|하고(?=\s)|및)\s*")
_POLITE = re.compile(
    r"\s*(?:(?:이?라고|으로|로) (?:해|부탁해|적어|써)\s?(?:줘요?|주세요)|입니다|이에요|예요|이야)?[\s.!]*$"
)
_PARTICLE = re.compile(r"^(?:에는|에|으로|로|까지|부터|날)(?=[\s,.]|$)")
_JOINTS = re.compile(r"^[\s,.;:]+|[\s,.;:]*(?:에게|한테|에|로|으로|까지|부터)?[\s,.;:]*$")


@dataclass(frozen=True)
class Checked:
    """What the rule says of a call."""

    arguments: Mapping[str, Any]
    """What was proposed, without what nobody said, with what the person said instead."""
    missing: tuple[str, ...]
    """Required slots to ask for."""
    doubtful: tuple[str, ...]
    """Slots that only strangers' words fill; the person must agree."""


def checked_slots(tool: Tool, arguments: Mapping[str, Any], said: Said, now: datetime) -> Checked:
    """Holds the slots of a call against what was said.

    Args:
        tool: whose call it is.
        arguments: what the model wrote, as JSON.
        said: by the person and by tools.
        now: the person's time.
    """
    kept, missing, doubtful = dict(arguments), [], []
    for name in tool.slots:
        kind, many = kind_of(tool, name)
        value, source = _said_value(arguments.get(name), kind, many, said, now, _least(tool))
        if value is None and name in tool.required:
            value, source = _only_one(tool, name, arguments, said, now), Source.PERSON
        if value is not None:
            kept[name] = value
            doubtful += [name] if source is Source.UNTRUSTED else []
        else:
            kept.pop(name, None)
            missing += [name] if name in tool.required else []
    return Checked(kept, tuple(missing), tuple(doubtful))


def bound(tool: Tool, asked: Sequence[str], text: str, said: Said, now: datetime) -> dict[str, Any]:
    """The values that a person's answer gives to the slots that were asked; those that it does not give are left out.

    Args:
        tool: whose slots they are.
        asked: their names.
        text: the answer.
        said: all that was said before, so that ``3시`` completes the day that is known.
        now: the person's time.
    """
    if yes_or_no(text) is False or is_unknown(text):
        return {}
    values: dict[str, Any] = {}
    texts = [name for name in asked if kind_of(tool, name)[0] is Kind.TEXT]
    rest = text
    for name in (name for name in asked if name not in texts):
        value, rest = _typed(*kind_of(tool, name), rest, said, now)
        if value is not None:
            values[name] = value
    if texts:
        rest = _JOINTS.sub("", rest) if values else rest
        parts = [part for part in _BETWEEN.split(rest) if part] if len(texts) > 1 else [rest]
        pairs = zip(texts, parts, strict=False) if len(parts) >= len(texts) else [(texts[0], rest)]
        for name, part in pairs:
            value = _text_value(tool, name, part)
            if value:
                values[name] = value
    return values


def plain_value(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    return float(value) if isinstance(value, Decimal) else value


def kind_of(tool: Tool, name: str) -> tuple[Kind, bool]:
    """What sort of value a parameter takes, and whether it is a list of them."""
    schema = _resolved(tool, _schema(tool.arguments)["properties"][name])
    many = schema.get("type") == "array"
    if many:
        schema = _resolved(tool, schema.get("items", {}))
    if schema.get("type") in ("number", "integer"):
        return Kind.NUMBER, many
    if "@" in schema.get("pattern", ""):
        return Kind.EMAIL, many
    return _FORMATS.get(schema.get("format", ""), Kind.TEXT), many


def read_value(value: Any, kind: Kind, now: datetime) -> Any | None:
    """A value in its type: JSON's form, or words such as ``tomorrow at 3pm``; None where it is none of its kind."""
    try:
        if kind is Kind.NUMBER:
            return float(value) if not isinstance(value, str) else next(n for _, _, n in find_numbers(value))
        if kind is Kind.MOMENT:
            return _moment(str(value), now)
        if kind is Kind.DATE:
            return next(one.dates[0] for one in find(str(value), now) if one.dates)
        if kind is Kind.TIME:
            return _time(str(value), now)
        if kind is Kind.EMAIL:
            return emails(str(value))[0]
    except (StopIteration, IndexError, ValueError, TypeError, OverflowError):  # the year 9999 ends in some zones
        return None
    return str(value).strip() or None


def _least(tool: Tool) -> Source:
    """Who must have said a slot of a tool at least."""
    return Source.TRUSTED if tool.effect in _TO_OTHERS else Source.UNTRUSTED


def _said_value(
    value: Any, kind: Kind, many: bool, said: Said, now: datetime, least: Source
) -> tuple[Any | None, Source]:
    """The value as somebody said it, and who did; None where nobody who counts did."""
    if value in (None, "", []):
        return None, Source.NOBODY
    if not many and isinstance(value, list | dict):
        return None, Source.NOBODY
    found = []
    for one in value if isinstance(value, list) else [value]:
        exact_kind = Kind.EMAIL if kind is Kind.TEXT and emails(str(one)) == [str(one).lower()] else kind
        for reading in [] if isinstance(one, bool) else _readings(one, kind, now):
            read = _corrected(reading, exact_kind, said, now)
            source = said.source(read, exact_kind)
            if kind is Kind.MOMENT and plain_value(read) in said.exact:  # as ``bound`` has read an answer
                source = Source.PERSON
            if source < least and exact_kind is Kind.TEXT:
                source = _source_of_written(str(one), said, now)
            if source >= least:
                found.append((read if kind is not Kind.NUMBER or read != one else one, source))
                break
    if not found:
        return None, Source.NOBODY
    values = [plain_value(read) for read, _ in found]
    return (list(dict.fromkeys(values)) if many else values[0]), min(source for _, source in found)


def _source_of_written(text: str, said: Said, now: datetime) -> Source:
    """Who said a text that is a day, a time, both or a number in figures, for tools that take these as plain text:
    ``2022-05-12`` is said where ``May 12, 2022`` is."""
    for pattern, kind in _WRITTEN.items():
        if re.fullmatch(pattern, text):
            value = read_value(text, kind, now)
            return Source.NOBODY if value is None else said.source(value, kind)
    return Source.NOBODY


def _corrected(value: Any, kind: Kind, said: Said, now: datetime) -> Any:
    """What the person said in its place, where they took the value back."""
    if kind is Kind.MOMENT:
        day = _corrected(value.date(), Kind.DATE, said, now)
        at = _corrected(value.time(), Kind.TIME, said, now)
        return combine(day, at, now)
    if kind is Kind.TEXT or said.source(value, kind) is Source.PERSON:
        return value
    newest = said.newest(value, kind)
    return value if newest is None else newest


def _only_one(tool: Tool, name: str, arguments: Mapping[str, Any], said: Said, now: datetime) -> Any | None:
    """The one value of this kind that the person said, where no other slot could mean it: none that is required, and
    none to which the model gave it. An address that the model made up instead is no reason to take another."""
    kind, many = kind_of(tool, name)
    rivals = [one for one in tool.slots if one != name and kind_of(tool, one)[0] is kind]
    if kind in (Kind.TEXT, Kind.NUMBER) or any(one in tool.required for one in rivals):
        return None
    if kind is not Kind.EMAIL and not all(
        is_certain(one.text, one.now) for one in said.utterances if one.source is Source.PERSON
    ):
        return None  # what was not read may be the value
    parts = (Kind.DATE, Kind.TIME) if kind is Kind.MOMENT else (kind,)
    found = []
    for part in parts:
        standing = {one.readings for one in said.values(part) if one.source is Source.PERSON and not one.corrected}
        if len(standing) != 1:
            return None
        found.append(standing.pop()[0])
    only = combine(found[0], found[1], now) if kind is Kind.MOMENT else found[0]
    if any(only in _readings(arguments.get(one), kind, now) for one in rivals):
        return None
    if kind is Kind.EMAIL and arguments.get(name) not in (None, "", []):
        return None
    value = plain_value(only)
    return [value] if many else value


def _readings(value: Any, kind: Kind, now: datetime) -> list[Any]:
    """What a value may mean; a moment with an offset also its figures in the person's own zone, for models write
    ``13:30Z`` for half past one wherever that is."""
    read = read_value(value, kind, now) if isinstance(value, str | int | float) else None
    if read is None:
        return []
    if kind is not Kind.MOMENT or not isinstance(value, str):
        return [read]
    try:
        local = datetime.fromisoformat(value).replace(tzinfo=now.tzinfo)
    except ValueError:
        return [read]
    return [read] if local == read else [read, local]


def _typed(kind: Kind, many: bool, text: str, said: Said, now: datetime) -> tuple[Any | None, str]:
    """The values of a kind in an answer, and the answer without them."""
    if kind is Kind.EMAIL:
        found = emails(text)
        for one in found:
            text = re.sub(re.escape(one), " ", text, flags=re.I)
    elif kind is Kind.NUMBER:
        spans = list(find_numbers(text))
        found = [int(n) if n == int(n) else n for _, _, n in spans]
        text = _without(text, [(start, end) for start, end, _ in (spans if many else spans[:1])])
    else:
        moments = [one for one in find(text, now) if _complete(one, kind, said) is not None]
        moments = moments if many else _last_word(moments, text, kind, said, now)
        found = [plain_value(_complete(one, kind, said, now)) for one in moments]
        text = _without(text, [(one.start, one.end) for one in moments])
    if not found:
        return None, text
    return (found if many else found[0]), text


def _last_word(moments: list[Any], text: str, kind: Kind, said: Said, now: datetime) -> list[Any]:
    """Of several moments in one answer the first, unless it is taken back there (``3시 아니 4시``)."""
    if len(moments) > 1:
        taken_back = re.compile(r"\s*(?:말고|아니|대신|no\b|actually\b|instead\b|sorry\b)", re.I)
        while len(moments) > 1 and taken_back.search(text, moments[0].end, moments[1].start):
            moments = moments[1:]
    return moments[:1]


def _complete(one: Any, kind: Kind, said: Said, now: datetime | None = None) -> Any | None:
    """A moment of a text as a value; what it leaves open is what the person said last."""
    if kind is Kind.MOMENT and one.unread:
        return None
    dates = one.dates or (moved(said.latest(Kind.DATE), one.later) if kind is Kind.MOMENT else ())
    times = one.times or (said.latest(Kind.TIME) if kind is Kind.MOMENT else ())
    if kind is Kind.DATE:
        return dates[0] if dates else None
    if kind is Kind.TIME:
        return times[0] if times else None
    if not dates or not times:
        return None
    return combine(dates[0], times[0], now) if now is not None else datetime.combine(dates[0], times[0])


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in sorted(spans, reverse=True):
        text = f"{text[:start]} {_PARTICLE.sub('', text[end:])}"
    return text


def _text_value(tool: Tool, name: str, text: str) -> Any | None:
    """The words of an answer for a slot of text: one of its choices where it has some, a list where it takes one."""
    schema = _resolved(tool, _schema(tool.arguments)["properties"][name])
    text = _POLITE.sub("", text).strip()
    choices = schema.get("enum")
    if choices:
        return next((one for one in choices if flat(str(one)) in flat(text)), None)
    if schema.get("type") == "boolean":
        return None
    if schema.get("type") == "array":
        return [part for part in _BETWEEN.split(text) if part] or None
    return text or None


@functools.cache
def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    return arguments.model_json_schema()


def _resolved(tool: Tool, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema without ``anyOf`` null and without references."""
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return _resolved(tool, choice)
    if "$ref" in schema:
        definitions = _schema(tool.arguments).get("$defs", {})
        return _resolved(tool, definitions.get(schema["$ref"].rsplit("/", 1)[-1], {}))
    return schema


def _moment(text: str, now: datetime) -> datetime:
    try:
        read = datetime.fromisoformat(text)
        return read.astimezone(now.tzinfo) if read.tzinfo else read.replace(tzinfo=now.tzinfo)
    except ValueError:
        found = next(one for one in find(text, now) if one.dates and one.times)
        return combine(found.dates[0], found.times[0], now)


def _time(text: str, now: datetime) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        return next(one.times[0] for one in find(text, now) if one.times)
