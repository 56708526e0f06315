"""Dates and times in what somebody said -> moments: ``find("내일 오후 3시 반에 회의", now)``, in Korean and English.

A small grammar, no model: a list of date expressions, a list of time expressions, and a date beside a time is one
moment. What is ambiguous keeps all its readings, the likelier first: ``3시`` is 15:00 or 03:00, ``next Friday`` that of
next week or the coming one. A day without a year is the next that comes.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from axk1.agents.number_words import KOREAN_HOURS, whole

_WORD_NUMBER = (
    r"\d{1,3}|an?|one|two|three|four|five|six|seven|eight|nine|ten|"
    r"한|두|세|네|다섯|여섯|일곱|여덟|아홉|열|일|이|삼|사|오|육|칠|팔|구|십"
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
_SPANS = {"하루": 1, "이틀": 2, "사흘": 3, "나흘": 4, "닷새": 5, "엿새": 6, "열흘": 10, "보름": 15}
_KOREAN_WEEKS = {"지지난": -2, "지난": -1, "저번": -1, "이번": 0, "금": 0, "다음": 1, "담": 1, "다다음": 2}
_ENGLISH_WEEKS = {"last": (-1,), "this": (0,), "next": (1, 0), "coming": (0, 1)}
_PARTS = {"오전": "am", "아침": "am", "새벽": "am", "오후": "pm", "낮": "pm", "저녁": "pm", "밤": "pm"}
_BETWEEN = re.compile(r"\s*(?:,|에|의|날|at|on|from|\(.\))?\s*", re.I)
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


def find(text: str, now: datetime) -> list[Moment]:
    """All moments in a text, in their order.

    Args:
        text: what somebody said.
        now: when they said it, in their time zone.
    """
    whole_moments = list(_scan(text, _MOMENTS, now))
    masked = _masked(text, whole_moments)
    dates = list(_scan(masked, _DATES, now))
    times = list(_scan(_masked(masked, dates), _TIMES, now))
    return _joined(text, sorted([*whole_moments, *dates, *times], key=lambda one: one.start))


def _scan(text: str, rules: "list[_Rule]", now: datetime) -> Iterator[Moment]:
    """What the rules read, the earliest rule first; no two overlap."""
    free = [True] * len(text)
    for pattern, read in rules:
        for match in pattern.finditer(text):
            start, end = match.span()
            if not all(free[start:end]):
                continue
            try:
                dates, times = read(match, now)
            except (ValueError, OverflowError):  # the 31st of February is no date
                continue
            if dates or times:
                free[start:end] = [False] * (end - start)
                yield Moment(start, end, tuple(dict.fromkeys(dates)), tuple(dict.fromkeys(times)))


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
            dates, times = before.dates or one.dates, before.times or one.times
            joined[-1] = replace(before, end=one.end, dates=dates, times=times)
        else:
            joined.append(one)
    return joined


def _complements(one: Moment, other: Moment) -> bool:
    """Whether one is only a date and the other only a time."""
    return bool(one.dates) != bool(other.dates) and bool(one.times) != bool(other.times)


_Read = tuple[tuple[date, ...], tuple[time, ...]]
_Rule = tuple[re.Pattern[str], Callable[[re.Match[str], datetime], _Read]]


def _rule(pattern: str, read: Callable[[re.Match[str], datetime], _Read]) -> _Rule:
    return re.compile(pattern, re.I), read


def _day(*days: date) -> _Read:
    return days, ()


def _time(*times: time) -> _Read:
    return (), times


def _iso(match: re.Match[str], now: datetime) -> _Read:
    read = datetime.fromisoformat(match[0])
    if read.tzinfo is not None:
        read = read.astimezone(now.tzinfo)
    return (read.date(),), (read.time().replace(microsecond=0),)


def _after(match: re.Match[str], now: datetime) -> _Read:
    """``2시간 뒤``, ``in 30 minutes``: a day and a time."""
    unit = match["unit"].lower()
    hours = timedelta(hours=1) if unit.startswith(("시", "h")) else timedelta(minutes=1)
    then = now + whole(match["n"]) * hours + (timedelta(minutes=30) if match.groupdict().get("half") else timedelta())
    return (then.date(),), (then.time().replace(second=0, microsecond=0),)


def _days_away(match: re.Match[str], now: datetime) -> _Read:
    """``사흘 뒤``, ``2주 후``, ``in two weeks``, ``3 days ago``."""
    parts = match.groupdict()
    sign = -1 if parts["way"].strip().lower() in ("전", "ago") else 1
    if parts.get("span"):
        return _day(now.date() + sign * timedelta(days=_SPANS[parts["span"]]))
    count, unit = sign * whole(parts["n"]), parts["unit"].lower()
    if unit.startswith(("달", "개월", "month")):
        return _day(_in_months(now.date(), count))
    return _day(now.date() + timedelta(days=count * (7 if unit.startswith(("주", "week")) else 1)))


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


def _weeks_away(match: re.Match[str], now: datetime) -> _Read:
    return _weekday(now, _WEEKDAYS.index(match["day"]), (whole(match["n"]),))


def _english_week(match: re.Match[str], now: datetime) -> _Read:
    return _weekday(now, _english_weekday(match["day"]), _ENGLISH_WEEKS[match["week"].lower()])


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


def _numeric(match: re.Match[str], now: datetime) -> _Read:
    year = match.groupdict().get("year")
    return _calendar(now, int(match["month"]), int(match["day"]), int(year) if year else None)


def _named_month(match: re.Match[str], now: datetime) -> _Read:
    year = match.groupdict().get("year")
    month = _MONTHS.index(match["month"].lower()[:3]) + 1
    return _calendar(now, month, int(match["day"]), int(year) if year else None)


def _of_month(match: re.Match[str], now: datetime) -> _Read:
    """``이번 달 말``, ``다음 달 3일``, ``end of next month``."""
    which = (match.groupdict().get("which") or "이번").lower()
    months = {"지난": -1, "last": -1, "다음": 1, "담": 1, "next": 1}.get(which, 0)
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
    if match["part"] == "밤" and (hour == 12 or hour < 6):  # 밤 12시 is midnight, 밤 1시 after it
        part = "am"
    if match["part"] == "낮" and hour == 11:
        part = "am"
    return _clock(hour, minute, part)


def _english_clock(match: re.Match[str], _: datetime) -> _Read:
    parts = match.groupdict()
    part = (parts.get("part") or "").replace(".", "").lower() or None
    if part is None and parts["hour"].startswith("0") and len(parts["hour"]) == 2:
        return _time(time(int(parts["hour"]), int(parts.get("minute") or 0)))  # 09:00 is no evening
    return _clock(whole(parts["hour"]), int(parts.get("minute") or 0), part)


_WAY = r"\s*(?P<way>뒤|후|있다가|전)"
_MOMENTS: list[_Rule] = [
    _rule(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?(?!\d)", _iso),
    _rule(rf"(?P<n>{_WORD_NUMBER})\s*(?P<unit>시간|분)(?:\s*(?P<half>반))?\s*(?:뒤|후|있다가)", _after),
    _rule(rf"\bin (?P<n>{_WORD_NUMBER})\s+(?P<unit>hours?|minutes?|mins?)\b", _after),
    _rule(rf"\b(?P<n>{_WORD_NUMBER})\s+(?P<unit>hours?|minutes?|mins?) from now\b", _after),
]
_DATES: list[_Rule] = [
    _rule(r"(?<!\d)(?P<year>\d{4})\s*(?:[-./]|년)\s*(?P<month>\d{1,2})\s*(?:[-./]|월)\s*(?P<day>\d{1,2})(?:일|(?!\d))",
          _numeric),
    _rule(r"(?<!\d)(?P<month>\d{1,2})\s*월\s*(?P<day>\d{1,2})\s*일", _numeric),
    _rule(rf"\b(?P<month>{_MONTH_NAME})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>\d{{4}})\b)?",
          _named_month),
    _rule(rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH_NAME})\b\.?(?:,?\s+(?P<year>\d{{4}})\b)?",
          _named_month),
    _rule(rf"(?P<week>{'|'.join(sorted(_KOREAN_WEEKS, key=len, reverse=True))})\s*주\s*(?P<day>[{_WEEKDAYS}])요일",
          _korean_week),
    _rule(r"\b(?P<week>last|this|next|coming) "
          r"(?P<day>(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?)\b", _english_week),
    _rule(r"(?P<which>지난|이번|다음|담)\s*달\s*(?P<day>\d{1,2})\s*일", _of_month),
    _rule(r"(?:(?P<which>이번|다음|담)\s*달|월)\s*말(?:일|까지|에|$|\s)", _of_month),
    _rule(r"\bend of (?:the )?(?:(?P<which>this|next) )?month\b", _of_month),
    _rule(r"연말|\bend of (?:the |this )?year\b", lambda _, now: _day(date(now.year, 12, 31))),
    _rule(rf"(?P<n>{_WORD_NUMBER})\s*주일?\s*(?:뒤|후)\s*(?P<day>[{_WEEKDAYS}])요일", _weeks_away),
    _rule(rf"(?P<span>{'|'.join(_SPANS)}){_WAY}", _days_away),
    _rule(rf"(?P<n>{_WORD_NUMBER})\s*(?P<unit>일|주일?|달|개월){_WAY}", _days_away),
    _rule(rf"\b(?P<way>in) (?P<n>{_WORD_NUMBER}) (?P<unit>days?|weeks?|months?)\b", _days_away),
    _rule(rf"\b(?P<n>{_WORD_NUMBER}) (?P<unit>days?|weeks?|months?) (?P<way>from now|from today|later|ago)\b",
          _days_away),
    _rule(rf"(?<![가-힣a-z])(?:the )?(?P<word>{'|'.join(sorted(_DAY_WORDS, key=len, reverse=True))})(?![a-z])",
          lambda match, now: _day(now.date() + timedelta(days=_DAY_WORDS[match["word"].lower()]))),
    _rule(rf"(?P<day>[{_WEEKDAYS}])요일", lambda match, now: _coming(now, _WEEKDAYS.index(match["day"]))),
    _rule(r"\b(?:on )?(?P<day>(?:mon|tues|wednes|thurs|fri|satur|sun)day)s?\b",
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
    _rule(rf"\bhalf past (?P<hour>{_WORD_NUMBER})\b", lambda match, _: _clock(whole(match["hour"]), 30, None)),
    _rule(rf"\b(?P<hour>{_WORD_NUMBER}) o'?clock\b", lambda match, _: _clock(whole(match["hour"]), 0, None)),
    _rule(r"\bat (?P<hour>\d{1,2})(?![\d:.,%]|\s*[a-z가-힣])", _english_clock),
    _rule(r"정오|\bnoon\b", lambda *_: _time(time(12))),
    _rule(r"자정|\bmidnight\b", lambda *_: _time(time(0))),
]  # fmt: skip
