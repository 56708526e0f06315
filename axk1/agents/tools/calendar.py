"""A calendar: one ``.ics`` file of the workspace, as any calendar program reads it."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

import icalendar

from axk1.agents.tool import Effect, Outcome, Slot, Tool, ToolContext, ToolRefusal, tool
from axk1.agents.tools.mail import Address
from axk1.agents.tools.workspace import alone, inside, kept_copy, put_back, relative, replace_file

FILE = "calendar.ics"
_HOUR = timedelta(hours=1)


def _take_back(context: ToolContext, undo: Mapping[str, Any]) -> str:
    with alone(context, FILE):
        return put_back(context, undo)


@tool(effect=Effect.WRITE, undo=_take_back)
def add_event(
    context: ToolContext,
    title: Annotated[str, Slot(ko="무슨 일정인가요?", en="What is the event?")],
    start: Annotated[datetime, Slot(ko="언제 시작하나요? (날짜와 시각)", en="When does it start? (date and time)")],
    end: Annotated[datetime | None, Slot(ko="언제 끝나나요?", en="When does it end?")] = None,
    place: Annotated[str | None, Slot(ko="어디에서 하나요?", en="Where is it?")] = None,
    attendees: Annotated[
        list[Address] | None, Slot(ko="누가 참석하나요? (메일 주소)", en="Who attends? (addresses)")
    ] = None,
) -> Outcome:
    """Adds an event to the calendar; without an end it takes an hour."""
    start, end = _local(start, context), _local(end, context) if end else None
    end = end or start + _HOUR
    if end <= start:
        raise ToolRefusal(f"end = {end.isoformat()} is not after start = {start.isoformat()}")
    identity = f"{hashlib.sha256(context.idempotency_key.encode()).hexdigest()[:24]}@axk1"
    event = icalendar.Event()
    for name, value in {
        "uid": identity,
        "dtstamp": context.now,
        "summary": title,
        "dtstart": start,
        "dtend": end,
    }.items():
        event.add(name, value)
    if place:
        event.add("location", place)
    for address in attendees or ():
        event.add("attendee", f"mailto:{address}")
    with alone(context, FILE):
        calendar = _read(context)
        calendar.subcomponents = [one for one in calendar.subcomponents if str(one.get("uid", "")) != identity]
        overlapping = [_told(other) for other in _events(calendar) if _overlaps(other, start, end)]
        calendar.add_component(event)
        undo = _write(context, calendar)
    return Outcome({"added": _told(event), "overlaps": overlapping}, files=(FILE,), undo=undo)


@tool(effect=Effect.READ, untrusted=True)
def list_events(context: ToolContext, since: date | None = None, until: date | None = None) -> Outcome:
    """Lists the events of the calendar, from a day to a day; without days the next thirty.

    An event that repeats is listed only at its first time.
    """
    first = since or context.now.date()
    last = until or first + min(timedelta(days=30), date.max - first)
    begin, over = (_local(datetime.combine(*one), context) for one in ((first, time()), (last, time.max)))
    found = []
    for event in _events(_read(context)):
        start, end = (_moment(event, name, context) for name in ("dtstart", "dtend"))
        if start <= over and (end > begin or start >= begin):  # an end is where the event is over, no part of it
            found.append((start, event))
    return Outcome({"events": [_told(event) for _, event in sorted(found, key=lambda one: one[0])]})


def _show_deletion(context: ToolContext, id: str) -> str:
    event = _by_id(_read(context), id)
    told = _told(event)
    said = {"ko": "이 일정을 지웁니다. 되돌릴 수 있습니다.", "en": "This event is deleted. It can be brought back."}
    return f"{said[context.language]}\n\n- {told['title']}\n- {told['start']} – {told['end']}"


def _was_deleted(context: ToolContext, id: str) -> Outcome | None:
    """What was meant is what the interrupted call had found: another event may have the same title since."""
    now, kept = _read(context), kept_copy(context, inside(context, FILE))
    meant = {str(one.get("uid")) for one in _named(_parsed(kept) if kept.exists() else now, id)}
    there = any(str(one.get("uid")) in meant for one in _events(now))
    return None if there else Outcome({"deleted": id})


@tool(effect=Effect.DELETE, preview=_show_deletion, recover=_was_deleted, undo=_take_back)
def delete_event(
    context: ToolContext,
    id: Annotated[str, Slot(ko="어느 일정을 지울까요?", en="Which event shall be deleted?")],
) -> Outcome:
    """Deletes an event of the calendar, by its id of list_events or by its title."""
    with alone(context, FILE):
        calendar = _read(context)
        event = _by_id(calendar, id)
        calendar.subcomponents.remove(event)
        undo = _write(context, calendar)
    return Outcome({"deleted": _told(event)}, files=(FILE,), undo=undo)


def _read(context: ToolContext) -> icalendar.Calendar:
    place = inside(context, FILE)
    if not place.exists():
        calendar = icalendar.Calendar()
        calendar.add("prodid", "-//A.X K1//axk1//")
        calendar.add("version", "2.0")
        return calendar
    return _parsed(place)


def _parsed(place: Path) -> icalendar.Calendar:
    try:
        return icalendar.Calendar.from_ical(place.read_bytes())
    except (ValueError, OSError) as error:
        raise ToolRefusal(f"{FILE} cannot be read: {error}; mend or move it") from None


def _write(context: ToolContext, calendar: icalendar.Calendar) -> dict[str, Any]:
    calendar.add_missing_timezones()
    content = calendar.to_ical()

    def written(made: Path) -> None:
        made.write_bytes(content)
        again = icalendar.Calendar.from_ical(made.read_bytes())
        if len(list(_events(again))) != len(list(_events(calendar))):
            raise ToolRefusal("the calendar was not written as it is")

    place = inside(context, FILE)
    undo = replace_file(context, place, written)
    return {**undo, "path": relative(context, place)}


def _events(calendar: icalendar.Calendar) -> Iterator[icalendar.Event]:
    yield from (one for one in calendar.walk("VEVENT") if one.get("dtstart") is not None)


def _named(calendar: icalendar.Calendar, wanted: str) -> list[icalendar.Event]:
    """The event of an id; without one, those of a title."""
    events = list(_events(calendar))
    return [one for one in events if str(one.get("uid")) == wanted] or [
        one for one in events if wanted.strip() and wanted.strip().casefold() == str(one.get("summary", "")).casefold()
    ]


def _by_id(calendar: icalendar.Calendar, wanted: str) -> icalendar.Event:
    found = _named(calendar, wanted)
    if len(found) != 1:
        there = "; ".join(
            f"{one.get('uid')} ({one.get('summary')}, {_value(one, 'dtstart').isoformat()})"
            for one in (found or list(_events(calendar)))[:10]
        )
        raise ToolRefusal(
            f"id = {wanted!r} is {'more than one event' if found else 'no event'}; there is {there or 'none'}"
        )
    return found[0]


def _told(event: icalendar.Event) -> Mapping[str, Any]:
    told = {"id": str(event.get("uid", "")), "title": str(event.get("summary", ""))}
    told |= {"start": _value(event, "dtstart").isoformat(), "end": _value(event, "dtend").isoformat()}
    if event.get("location"):
        told["place"] = str(event["location"])
    attendees = event.get("attendee") or []
    attendees = attendees if isinstance(attendees, list) else [attendees]
    return told | ({"attendees": [str(one).removeprefix("mailto:") for one in attendees]} if attendees else {})


def _value(event: icalendar.Event, name: str) -> date | datetime:
    """Start or end; an event without an end takes an hour, or its day."""
    if event.get(name) is not None:
        return event[name].dt
    start = event["dtstart"].dt
    if event.get("duration") is not None:
        return start + event["duration"].dt
    return start + (_HOUR if isinstance(start, datetime) else timedelta(days=1))


def _moment(event: icalendar.Event, name: str, context: ToolContext) -> datetime:
    """Start or end, counted in the person's zone: days and times without a zone are theirs."""
    value = _value(event, name)
    return _local(value if isinstance(value, datetime) else datetime.combine(value, time()), context)


def _overlaps(event: icalendar.Event, start: datetime, end: datetime) -> bool:
    first, last = (_value(event, name) for name in ("dtstart", "dtend"))
    if not isinstance(first, datetime):
        return False  # a whole day leaves room for hours
    zone = start.tzinfo
    first, last = (one if one.tzinfo else one.replace(tzinfo=zone) for one in (first, last))
    return first < end and start < last


def _local(moment: datetime, context: ToolContext) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=context.now.tzinfo)


def calendar_tools() -> list[Tool]:
    """The tools of this file."""
    return [add_event, list_events, delete_event]
