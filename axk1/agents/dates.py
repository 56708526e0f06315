"""Dates and times in what somebody said -> moments: ``find("내일 오후 3시 반에 회의", now)``, in Korean and English.

A small grammar, no model: a list of date expressions, a list of time expressions, and a date beside a time is one
moment. What is ambiguous keeps all its readings, the likelier first: ``3시`` is 15:00 or 03:00, ``next Friday`` that of
next week or the coming one. A day without a year is the next that comes. A moment beside a word of time that the
grammar does not know (``다음 달 둘째 주 월요일``) is not read at all: half of it would be another day.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from axk1.agents.number_words import KOREAN_HOURS, whole

_BELOW_TEN = "one|two|three|four|five|six|seven|eight|nine"
_ENGLISH_NUMBER = (
    rf"\d{{1,3}}|an?|{_BELOW_TEN}|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    rf"(?:twenty|thirty|forty|fifty)(?:[ -](?:{_BELOW_TEN}))?"
)
_KOREAN_NUMBER = (
    r"\d{1,3}|(?:(?:열|스물|서른|마흔|쉰)\s?)?(?:한|두|세|네|다섯|여섯|일곱|여덟|아홉)|열|스무|서른|마흔|쉰|"
    r"[일이삼사오육칠팔구십백]{1,5}"
)
_WEEKDAYS = "월화수목금토일"
_ENGLISH_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAME = (
    r"jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?"
)
_DAY_WORDS = {
    "그저께": -2, "그제": -2, "어제": -1, "오늘": 0, "내일모레": 2, "내일": 1, "낼": 1, "모레": 2, "글피": 3,
    "day before yesterday": -2, "day after tomorrow": 2, "yesterday": -1, "today": 0, "tonight": 0, "tomorrow": 1,
}  # fmt: skip
_DAY_NAME = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_DAY_NUMBER = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR_BEHIND = r"(?:,?\s+(?:(?P<year>\d{4})\b|(?:of\s+)?(?P<years>last|this|next)\s+year\b))?"
_SPANS = {"하루": 1, "이틀": 2, "사흘": 3, "나흘": 4, "닷새": 5, "엿새": 6, "열흘": 10, "보름": 15}
_KOREAN_WEEKS = {"지지난": -2, "지난": -1, "저번": -1, "이번": 0, "금": 0, "다음": 1, "담": 1, "다다음": 2}
_ENGLISH_WEEKS = {"last": (-1,), "this": (0,), "next": (1, 0), "coming": (0, 1)}
_YEARS = {
    "재작년": -2, "작년": -1, "지난해": -1, "올해": 0, "금년": 0, "내년": 1, "내후년": 2,
    "last": -1, "this": 0, "next": 1,
}  # fmt: skip
_PARTS = {"오전": "am", "아침": "am", "새벽": "am", "오후": "pm", "낮": "pm", "저녁": "pm", "밤": "pm"}
_BETWEEN = re.compile(r"\s*(?:,|에|의|날|밤|at|on|from|\(.\))?\s*", re.I)
"""What may stand between a date and a time that belong together."""


@dataclass(frozen=True)
class Moment:
    """A date, a time, or both, as said somewhere in a text."""

    start: int
    """Where it begins in the text, in characters."""
    end: int
    """Where it ends."""
    dates: tuple[date, ...] = ()
    """The days it may mean, the likeliest first; empty where no day was said."""
    times: tuple[time, ...] = ()
    """The times of day it may mean, the likeliest first; empty where none was said."""
    later: tuple[int, ...] = (0,)
    """Days from the day that people name with such a time to its date, the likelier first: the night's ``12시`` and
    ``1시`` are on the next."""
    unread: bool = False
    """Whether a day was said beside it that the grammar does not know, so that no other may take its place."""


def find(text: str, now: datetime) -> list[Moment]:
    """All moments in a text, in their order.

    Args:
        text: what somebody said.
        now: when they said it, in their time zone.
    """
    return [one for one in _found(text, now) if one.dates or one.times]


def is_certain(text: str, now: datetime) -> bool:
    """Whether the days of a text are all it says: none that is half read, and no night whose day is not said."""
    return all(not one.unread and (one.dates or one.later == (0,)) for one in _found(text, now))


def moved(dates: tuple[date, ...], later: tuple[int, ...]) -> tuple[date, ...]:
    """The days on which a time is that people count to some days; ``later`` as of ``Moment``."""
    found = (day + timedelta(days=days) for days in later for day in dates if day.toordinal() + days <= _LAST_DAY)
    return tuple(dict.fromkeys(found)) or dates


def _found(text: str, now: datetime) -> list[Moment]:
    """As ``find``, with the moments of which nothing is read."""
    whole_moments = list(_scan(text, _MOMENTS, now))
    masked = _masked(text, whole_moments)
    dates = list(_scan(masked, _DATES, now))
    masked = _masked(masked, dates)
    times = list(_scan(masked, _TIMES, now))
    joined = _joined(text, sorted([*whole_moments, *dates, *times], key=lambda one: one.start))
    relative = sorted(one.start for one in dates if _RELATIVE.fullmatch(text, one.start, one.end))
    masked = _masked(masked, times)
    before = [match.end() for match in _UNREAD_BEFORE.finditer(masked)]
    behind = [match.start() for match in _UNREAD_BEHIND.finditer(masked)]

    def unread(one: Moment) -> bool:
        if one.dates and not _between(relative, one.start, one.end - 1):
            return False  # no word beside ``내일`` makes another day of it
        gaps = [(end, one.start) for end in _between(before, one.start - _FAR, one.start)]
        gaps += [(one.end, start) for start in _between(behind, one.end, one.end + _FAR)]
        return any(_BESIDE.fullmatch(text, *gap) for gap in gaps)

    return [replace(one, dates=(), unread=True) if unread(one) else one for one in joined]


def _between(places: list[int], first: int, last: int) -> list[int]:
    """Those of some sorted places that are in a range, its last included."""
    return places[bisect_left(places, first) : bisect_right(places, last)]


def _scan(text: str, rules: "list[_Rule]", now: datetime) -> Iterator[Moment]:
    """What the rules read, the earliest rule first; no two overlap."""
    free = [True] * len(text)
    for pattern, read in rules:
        for match in pattern.finditer(text):
            start, end = match.span()
            if not all(free[start:end]):
                continue
            try:
                dates, times, later = read(match, now)
            except (ValueError, OverflowError):  # the 31st of February is no date
                continue
            if dates or times:
                free[start:end] = [False] * (end - start)
                yield Moment(start, end, tuple(dict.fromkeys(dates)), tuple(dict.fromkeys(times)), later)


def _masked(text: str, found: list[Moment]) -> str:
    """The text with what was found covered, at the same length."""
    letters = list(text)
    for one in found:
        letters[one.start : one.end] = "\0" * (one.end - one.start)
    return "".join(letters)


def _joined(text: str, found: list[Moment]) -> list[Moment]:
    """A date and a time that stand side by side are one moment."""
    joined: list[Moment] = []
    for one in found:
        before = joined[-1] if joined else None
        if before and _complements(before, one) and _BETWEEN.fullmatch(text, before.end, one.start):
            day, at = (before, one) if before.dates else (one, before)
            at = _of_tonight(at) if text[day.start : day.end].lower() == "tonight" else at
            joined[-1] = Moment(before.start, one.end, moved(day.dates, at.later), at.times)
            continue
        lone_days = [place for place, other in enumerate(joined) if other.dates and not other.times]
        if one.later != (0,) and lone_days:  # 오늘 회의를 밤 12시에
            day = joined[lone_days[-1]]
            joined[lone_days[-1]] = replace(day, dates=moved(day.dates, (*one.later, 0)))
            one = replace(one, later=(0,))
        joined.append(one)
    return joined


def _of_tonight(at: Moment) -> Moment:
    """``tonight at 8`` is in the evening, ``tonight at 1`` behind midnight."""
    evening = tuple(one for one in at.times if one.hour >= 17)
    early = tuple(one for one in at.times if one.hour < 6)
    if evening or not early:
        return replace(at, times=evening or at.times)
    return replace(at, times=early, later=(1,))


def _complements(one: Moment, other: Moment) -> bool:
    """Whether one is only a date and the other only a time."""
    return bool(one.dates) != bool(other.dates) and bool(one.times) != bool(other.times)


_LAST_DAY = date.max.toordinal()
_Read = tuple[tuple[date, ...], tuple[time, ...], tuple[int, ...]]
"""The days, the times and the ``later`` of a moment."""
_Rule = tuple[re.Pattern[str], Callable[[re.Match[str], datetime], _Read]]


def _rule(pattern: str, read: Callable[[re.Match[str], datetime], _Read]) -> _Rule:
    return re.compile(pattern, re.I), read


def _day(*days: date) -> _Read:
    return days, (), (0,)


def _time(*times: time, later: tuple[int, ...] = (0,)) -> _Read:
    return (), times, later


def _both(then: datetime) -> _Read:
    return (then.date(),), (then.time().replace(second=0, microsecond=0),), (0,)


def _iso(match: re.Match[str], now: datetime) -> _Read:
    read = datetime.fromisoformat(match[0])
    if read.tzinfo is not None:
        read = read.astimezone(now.tzinfo)
    return (read.date(),), (read.time().replace(microsecond=0),), (0,)


def _away(match: re.Match[str], now: datetime) -> _Read:
    """``사흘 뒤``, ``1시간 30분 뒤``, ``in two weeks``, ``3 days ago``: a day; with hours or minutes also a time."""
    months, days, minutes = 0, 0, None
    for part in _SPAN.finditer(match["spans"]):
        if part["fixed"] in _SPANS:
            days += _SPANS[part["fixed"]]
            continue
        if part["fixed"]:
            minutes = (minutes or 0) + 30
            continue
        count, unit = _count(part["n"]), part["unit"].lower()
        half = bool(part["half"] or part["before"])
        if unit.startswith(("시간", "h")):
            minutes = (minutes or 0) + 60 * count + (30 if half else 0)
        elif unit.startswith(("년", "year")):
            months += 12 * count + (6 if half else 0)
        elif half:
            raise ValueError("half of it is no number of days")
        elif unit.startswith(("분", "min")):
            minutes = (minutes or 0) + count
        elif unit.startswith(("달", "개월", "month")):
            months += count
        else:
            days += count * (7 if unit.startswith(("주", "week")) else 1)
    sign = -1 if match["way"].strip().lower() in ("전", "ago") else 1
    day = _in_months(now.date(), sign * months) + timedelta(days=sign * days)
    if minutes is None:
        return _day(day)
    if sign < 0:
        raise ValueError("a half hour before is mostly before something else")
    then = datetime.combine(day, now.time()) + timedelta(minutes=minutes)
    return _both(then)


def _count(word: str) -> int:
    """``two`` is 2, ``twenty-five`` 25."""
    return sum(whole(one) for one in re.split(r"[\s-]+", word.strip()))


def _in_months(day: date, months: int) -> date:
    """The same day some months later, or that month's last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return min(date(year, month + 1, 1) + timedelta(days=day.day - 1), _month_end(date(year, month + 1, 1)))


def _month_end(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1) - timedelta(days=1)


def _weekday(now: datetime, weekday: int, weeks: tuple[int, ...]) -> _Read:
    monday = now.date() - timedelta(days=now.weekday())
    return _day(*(monday + timedelta(days=7 * week + weekday) for week in weeks))


def _coming(now: datetime, weekday: int) -> _Read:
    return _day(now.date() + timedelta(days=(weekday - now.weekday()) % 7 or 7))


def _korean_week(match: re.Match[str], now: datetime) -> _Read:
    return _weekday(now, _WEEKDAYS.index(match["day"]), (_KOREAN_WEEKS[match["week"]],))


def _korean_which(match: re.Match[str], now: datetime) -> _Read:
    """``지난 금요일`` is the last one that was, ``다음 금요일`` that of next week or the coming one."""
    weekday = _WEEKDAYS.index(match["day"])
    before, this, behind = _weekday(now, weekday, (-1, 0, 1))[0]
    coming = _coming(now, weekday)[0][0]
    if match["which"] == "이번":
        return _day(this, coming) if this >= now.date() else _day(coming, this)
    return _day(behind, coming) if match["which"] in ("다음", "담") else _day(_gone(now, weekday), before)


def _gone(now: datetime, weekday: int) -> date:
    return now.date() - timedelta(days=(now.weekday() - weekday) % 7 or 7)


def _weeks_away(match: re.Match[str], now: datetime) -> _Read:
    return _weekday(now, _WEEKDAYS.index(match["day"]), (whole(match["n"]),))


def _english_week(match: re.Match[str], now: datetime) -> _Read:
    weekday, week = _english_weekday(match["day"]), match["week"].lower()
    days = _weekday(now, weekday, _ENGLISH_WEEKS[week])[0]
    return _day(*days, _gone(now, weekday)) if week == "last" else _day(*days)


def _day_of_week(match: re.Match[str], now: datetime) -> _Read:
    """``Friday next week``, ``next week on Friday``."""
    return _weekday(now, _english_weekday(match["day"]), _ENGLISH_WEEKS[match["week"].lower()][:1])


def _english_weekday(name: str) -> int:
    return next(i for i, one in enumerate(_ENGLISH_WEEKDAYS) if one.startswith(name.lower()[:3]))


def _calendar(now: datetime, month: int, day: int, year: int | None = None) -> _Read:
    """A day of a month; without a year the next that comes."""
    if year is not None:
        return _day(date(year, month, day))
    for each in range(now.year, now.year + 9):  # the 29th of February may be eight years away
        try:
            found = date(each, month, day)
        except ValueError:
            continue
        if found >= now.date():
            return _day(found)
    raise ValueError("no such day")


def _year(match: re.Match[str], now: datetime) -> int | None:
    """The year that was said, as a number or as ``내년``, ``last year``."""
    parts = match.groupdict()
    if parts.get("years"):
        return now.year + _YEARS[parts["years"].lower()]
    return int(parts["year"]) if parts.get("year") else None


def _numeric(match: re.Match[str], now: datetime) -> _Read:
    return _calendar(now, int(match["month"]), int(match["day"]), _year(match, now))


def _named_month(match: re.Match[str], now: datetime) -> _Read:
    month = _MONTHS.index(match["month"].lower()[:3]) + 1
    return _calendar(now, month, int(match["day"]), _year(match, now))


def _year_before(match: re.Match[str], now: datetime) -> _Read:
    """``next year on March 1``; the year may be that of what is planned: ``the budget for next year on May 4``."""
    month, day = _MONTHS.index(match["month"].lower()[:3]) + 1, int(match["day"])
    return _day(*_calendar(now, month, day, _year(match, now))[0], *_calendar(now, month, day)[0])


def _year_end(match: re.Match[str], now: datetime) -> _Read:
    """``연말``, ``내년 말``, ``end of next year``."""
    return _day(date(_year(match, now) or now.year, 12, 31))


def _of_month(match: re.Match[str], now: datetime) -> _Read:
    """``이번 달 말``, ``다음 달 3일``, ``end of next month``."""
    which = (match.groupdict().get("which") or "이번").lower()
    months = {"지난": -1, "저번": -1, "last": -1, "다음": 1, "담": 1, "next": 1, "다다음": 2}.get(which, 0)
    first = _in_months(now.date().replace(day=1), months)
    day = match.groupdict().get("day")
    return _day(_month_end(first)) if day is None else _calendar(now, first.month, int(day), first.year)


def _this_day(match: re.Match[str], now: datetime) -> _Read:
    """``25일``, ``the 25th``: of this month, or of the next that has it."""
    for months in range(4):
        first = _in_months(now.date().replace(day=1), months)
        if int(match["day"]) <= _month_end(first).day:
            found = first.replace(day=int(match["day"]))
            if found >= now.date():
                return _day(found)
    raise ValueError("no such day")


def _clock(hour: int, minute: int, part: str | None) -> _Read:
    """The times that an hour may mean, given the part of the day that was said, if any."""
    if not (0 <= hour <= 24 and 0 <= minute < 60):
        raise ValueError("no such time")
    if hour == 24:  # where a day ends, the next begins
        return _time(time(0, minute), later=(1,))
    if part in ("am", "pm") and hour <= 12:
        return _time(time(hour % 12 + (12 if part == "pm" else 0), minute))
    if hour == 0 or hour > 12:
        return _time(time(hour % 24, minute))
    morning, afternoon = time(hour % 12, minute), time(hour % 12 + 12, minute)
    return _time(morning, afternoon) if 7 <= hour <= 11 else _time(afternoon, morning)


def _korean_clock(match: re.Match[str], _: datetime) -> _Read:
    hour = KOREAN_HOURS.get(match["hour"]) or int(match["hour"])
    minute = 30 if match["half"] else whole(match["minute"]) if match["minute"] else 0
    part = _PARTS.get(match["part"] or "")
    if match["part"] == "밤" and (hour in (12, 24) or hour < 6):  # 밤 12시 is midnight, 밤 1시 after it
        return _time(time(hour % 12, minute), later=(1,))
    if match["part"] == "낮" and hour == 11:
        part = "am"
    return _clock(hour, minute, part)


def _english_clock(match: re.Match[str], _: datetime) -> _Read:
    parts = match.groupdict()
    part = (parts.get("part") or "").replace(".", "").lower() or None
    if part is None and parts["hour"].startswith("0") and len(parts["hour"]) == 2:
        return _time(time(int(parts["hour"]), int(parts.get("minute") or 0)))  # 09:00 is no evening
    return _clock(whole(parts["hour"]), int(parts.get("minute") or 0), part)


_WAY = r"\s*(?P<way>뒤|후|있다가|이따가?|전)"
_KOREAN_SPAN = rf"(?:(?:{_KOREAN_NUMBER})\s*(?:(?:시간|년)(?:\s*반)?|분|개월|달|주일|주|일)|{'|'.join(_SPANS)})"
_ENGLISH_UNIT = r"(?:years?|months?|weeks?|days?|hours?|hrs?|minutes?|mins?)\b"
_ENGLISH_SPAN = rf"(?:half an hour|(?:{_ENGLISH_NUMBER})(?: and a half)?\s+{_ENGLISH_UNIT}(?: and a half\b)?)"
_SPAN = re.compile(
    rf"(?P<fixed>{'|'.join(_SPANS)}|half an hour)|(?P<n>{_KOREAN_NUMBER}|\b(?:{_ENGLISH_NUMBER}))"
    r"(?P<before> and a half)?\s*"
    rf"(?P<unit>시간|년|분|개월|달|주일|주|일|{_ENGLISH_UNIT})"
    r"(?P<half>\s*반| and a half\b)?",
    re.I,
)
"""One part of a span of time."""
_KOREAN_SPANS = rf"(?P<spans>{_KOREAN_SPAN}(?:\s*(?:(?:하고|과|와|,)\s*)?{_KOREAN_SPAN}){{0,5}})"
_ENGLISH_SPANS = rf"(?P<spans>{_ENGLISH_SPAN}(?:,?(?: and)?\s+{_ENGLISH_SPAN}){{0,5}})"
_NUMBER_BEFORE = r"(?<![\d.])(?<!\d,)(?<![일이삼사오육칠팔구십백천만열쉰])(?<!스물)(?<!서른)(?<!마흔)"
"""Keeps a span from beginning inside a number: ``1.5시간 뒤``."""
_UNIT_BEFORE = "".join(
    rf"(?<![\d{'한두세네섯곱덟홉열' if unit == '시' else '십일이삼사오육칠팔구'}]{before}{unit}{behind})"
    for unit in ("시", "월", "시간")
    for before in ("", " ")
    for behind in ("", " ")
)
"""Keeps a span from beginning inside a time or a date: ``9시 30분 후``."""
_MOMENTS: list[_Rule] = [
    _rule(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?(?!\d)", _iso),
    _rule(rf"(?P<n>{_KOREAN_NUMBER})\s*주일?\s*(?:뒤|후)\s*(?P<day>[{_WEEKDAYS}])요일", _weeks_away),
    _rule(rf"{_NUMBER_BEFORE}{_UNIT_BEFORE}{_KOREAN_SPANS}{_WAY}", _away),
    _rule(rf"\b(?P<way>in) {_ENGLISH_SPANS}(?! and (?:a|three) (?:half|quarters?))", _away),
    _rule(rf"(?<![\w.,-])(?<!ty )(?<!\d )(?<!half ){_ENGLISH_SPANS} (?P<way>from now|from today|later|ago)\b", _away),
]
_DATES: list[_Rule] = [
    _rule(r"(?<!\d)(?P<year>\d{4})\s*(?:[-./]|년)\s*(?P<month>\d{1,2})\s*(?:[-./]|월)\s*(?P<day>\d{1,2})(?:일|(?!\d))",
          _numeric),
    _rule(r"(?:(?P<years>재작년|작년|지난해|올해|금년|내후년|내년)(?:의|에)?\s*)?(?<!\d)(?P<month>\d{1,2})\s*월\s*(?P<day>\d{1,2})\s*일",
          _numeric),
    _rule(rf"\b(?P<years>last|this|next) year,?\s+(?:on\s+)?(?P<month>{_MONTH_NAME})\.?\s+"
          r"(?P<day>\d{1,2})(?:st|nd|rd|th)?\b", _year_before),
    _rule(rf"\b(?P<month>{_MONTH_NAME})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b{_YEAR_BEHIND}", _named_month),
    _rule(rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH_NAME})\b\.?{_YEAR_BEHIND}",
          _named_month),
    _rule(rf"(?P<week>{'|'.join(sorted(_KOREAN_WEEKS, key=len, reverse=True))})\s*주\s*(?P<day>[{_WEEKDAYS}])요일",
          _korean_week),
    _rule(rf"(?<![가-힣])(?P<which>지난|저번|이번|다음|담)\s*(?P<day>[{_WEEKDAYS}])요일", _korean_which),
    _rule(rf"\b(?:on )?(?P<day>{_DAY_NAME})s?,? (?:of )?(?P<week>last|this|next) week\b(?!['’]s)", _day_of_week),
    _rule(rf"\b(?P<week>last|this|next) week,? (?:on )?(?P<day>{_DAY_NAME})\b", _day_of_week),
    _rule(r"\b(?P<week>last|this|next|coming) "
          r"(?P<day>(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?)\b", _english_week),
    _rule(r"(?<!지)(?P<which>지난|저번|이번|다다음|다음|담)\s*달\s*(?P<day>\d{1,2})\s*일", _of_month),
    _rule(r"(?:(?P<which>이번|다다음|다음|담)\s*달|월)\s*말(?:일|까지|에|$|\s)", _of_month),
    _rule(r"\bend of (?:the )?(?:(?P<which>this|next) )?month\b", _of_month),
    _rule(r"(?:(?P<years>재작년|작년|지난해|올해|금년|내후년|내년)\s*)?연말", _year_end),
    _rule(r"(?P<years>올해|금년|내후년|내년)\s*말(?=까지|에|$|\s)", _year_end),
    _rule(r"\bend of (?:the |(?P<years>this|next|last) )?year\b", _year_end),
    _rule(rf"(?<![가-힣a-z])(?:the )?(?P<word>{'|'.join(sorted(_DAY_WORDS, key=len, reverse=True))})(?![a-z])",
          lambda match, now: _day(now.date() + timedelta(days=_DAY_WORDS[match["word"].lower()]))),
    _rule(rf"(?P<day>[{_WEEKDAYS}])요일", lambda match, now: _coming(now, _WEEKDAYS.index(match["day"]))),
    _rule(rf"\b(?:on )?(?P<day>{_DAY_NAME})s?\b",
          lambda match, now: _coming(now, _english_weekday(match["day"]))),
    _rule(r"(?<![\d.:/-])(?P<month>1[0-2]|0?[1-9])/(?P<day>3[01]|[12]\d|0?[1-9])(?![\d/])", _numeric),
    _rule(r"(?<![\d월.])(?<!월 )(?P<day>3[01]|[12]\d|[1-9])일(?!\s*(?:간|동안|째|차|뒤|후|전|치))", _this_day),
    _rule(r"\bthe (?P<day>3[01]|[12]\d|[1-9])(?:st|nd|rd|th)\b(?! of)", _this_day),
]  # fmt: skip
_TIMES: list[_Rule] = [
    _rule(rf"(?<![가-힣])(?:(?P<part>{'|'.join(_PARTS)})\s*)?(?<!\d)(?P<hour>\d{{1,2}}|{'|'.join(KOREAN_HOURS)})\s*시(?!간)"
          r"(?:\s*(?:(?P<half>반)|(?P<minute>\d{1,2}|[일이삼사오육칠팔구십]{1,3})\s*분))?", _korean_clock),
    _rule(r"(?:(?P<part>오전|오후)\s*)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?P<half>(?!))?", _korean_clock),
    _rule(r"(?<![\d:])(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?\s*(?P<part>[ap]\.?m\b\.?)", _english_clock),
    _rule(r"(?<![\d:])(?P<hour>\d{1,2}):(?P<minute>\d\d)(?![\d:])", _english_clock),
    _rule(rf"\bhalf past (?P<hour>{_ENGLISH_NUMBER})\b", lambda match, _: _clock(whole(match["hour"]), 30, None)),
    _rule(rf"\b(?P<hour>{_ENGLISH_NUMBER}) o'?clock\b", lambda match, _: _clock(whole(match["hour"]), 0, None)),
    _rule(r"\bat (?P<hour>\d{1,2})(?![\d:.,%]|\s*[a-z가-힣])", _english_clock),
    _rule(r"정오|\bnoon\b", lambda *_: _time(time(12))),
    _rule(r"자정|\bmidnight\b", lambda *_: _time(time(0), later=(1, 0))),
]  # fmt: skip
_RELATIVE = re.compile(
    rf"(?:\d{{1,2}}\s*월\s*)?\d{{1,2}}\s*일|[{_WEEKDAYS}]요일|(?:(?:on|last|this|next|coming) )?{_DAY_NAME}s?|"
    rf"\d{{1,2}}/\d{{1,2}}|the {_DAY_NUMBER}|(?:{_MONTH_NAME})\.?\s+{_DAY_NUMBER}|"
    rf"{_DAY_NUMBER}\s+(?:of\s+)?(?:{_MONTH_NAME})\.?",
    re.I,
)
"""Days that the words beside them may change."""
_UNREAD_BEFORE = re.compile(
    r"(?:첫|둘|두|셋|세|넷|네|다섯|\d{1,2})\s*(?:번\s*)?째(?:\s*주)?|\d\s*주\s*차|마지막(?:\s*주)?|(?<![가-힣])첫(?:\s*주)?|"
    r"[초중하]순|(?<=[년월달주])\s*초|(?:지지난|다다음)(?:\s*[주달해])?|(?:지난|저번|다음|담)\s*[주달해]|내달|이듬해|"
    r"\d{1,2}\s*월|\d{4}\s*년|재작년|작년|지난해|내후년|내년|후년|"
    r"\b(?:first|second|third|fourth|fifth|last|\d(?:st|nd|rd|th))(?: week)?\b|"
    r"\b(?:last|next|following|coming) (?:week|month|year)\b|\b(?:days?|weeks?|months?|years?) (?:from|after|before)\b|"
    r"\b(?:january|february|march|april|june|july|august|september|october|november|december)\b",
    re.I,
)
"""Words of time that no rule has read: before a day they make another of it."""
_UNREAD_BEHIND = re.compile(
    r"다음\s*날|전날|\b(?:last|next|following) (?:week|month|year)\b(?!['’]s)|\bafter next\b|\b(?:in|of) \d{4}\b|"
    rf"\b(?:in|of) (?:the )?(?:{_MONTH_NAME}|(?:(?:last|next|following) )?(?:week|month|year))\b",
    re.I,
)
"""The same behind a day."""
_BESIDE = re.compile(r"(?:\s|,|의|에는|에|\b(?:of|in|the|on)\b)*", re.I)
"""What may stand between such a word and its day."""
_FAR = 16
"""The most characters between them."""
