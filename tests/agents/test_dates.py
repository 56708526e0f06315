"""Dates and times as people say them, in both languages."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.agents.dates import find, is_certain
from axk1.agents.number_words import find_numbers

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=ZoneInfo("Asia/Seoul"))
"""A Monday."""
DAYS = {
    "오늘": "2026-11-23", "내일": "2026-11-24", "모레": "2026-11-25", "내일모레": "2026-11-25", "글피": "2026-11-26",
    "어제": "2026-11-22", "다음 주 화요일": "2026-12-01", "다음주 월요일": "2026-11-30", "이번 주 금요일": "2026-11-27",
    "다다음 주 수요일": "2026-12-09", "수요일에": "2026-11-25", "월요일": "2026-11-30", "이번 달 말": "2026-11-30",
    "다음 달 3일": "2026-12-03", "다음 달 말까지": "2026-12-31", "11월 25일": "2026-11-25", "1월 5일": "2027-01-05",
    "2027년 3월 1일": "2027-03-01", "25일에 보자": "2026-11-25", "3일에": "2026-12-03", "사흘 뒤": "2026-11-26",
    "2주 뒤": "2026-12-07", "일주일 후": "2026-11-30", "한 달 뒤": "2026-12-23", "2주 뒤 목요일": "2026-12-10",
    "2026.12.24": "2026-12-24", "12/24": "2026-12-24", "연말까지": "2026-12-31", "이틀 전": "2026-11-21",
    "today": "2026-11-23", "tomorrow": "2026-11-24", "the day after tomorrow": "2026-11-25", "Friday": "2026-11-27",
    "next Friday": "2026-12-04", "this Friday": "2026-11-27", "in two weeks": "2026-12-07", "in 3 days": "2026-11-26",
    "a week from now": "2026-11-30", "Nov 25": "2026-11-25", "November 25th, 2027": "2027-11-25",
    "25 December": "2026-12-25", "the 25th": "2026-11-25", "end of next month": "2026-12-31",
    "2026-12-01": "2026-12-01",
    "2 days ago": "2026-11-21", "29 Feb": "2028-02-29",
    "내년 12월 25일": "2027-12-25", "작년 12월 25일": "2025-12-25", "올해 3월 1일": "2026-03-01",
    "내년 연말": "2027-12-31", "December 5 next year": "2027-12-05", "5 December of last year": "2025-12-05",
    "next year on December 5": "2027-12-05", "지난 금요일": "2026-11-20", "저번 월요일": "2026-11-16",
    "last Friday": "2026-11-20", "다음 금요일": "2026-12-04", "이번 금요일": "2026-11-27", "2주 3일 뒤": "2026-12-10",
    "Friday next week": "2026-12-04", "next week on Friday": "2026-12-04", "다다음 달 3일": "2027-01-03",
    "1년 반 뒤": "2028-05-23",
}  # fmt: skip
TIMES = {
    "오후 3시 반": "15:30", "세 시": "15:00", "3시": "15:00", "오전 10시": "10:00", "열한 시": "11:00",
    "열두 시": "12:00",
    "밤 12시": "00:00", "낮 12시": "12:00", "새벽 2시": "02:00", "저녁 7시 30분": "19:30", "아침 8시 십오 분": "08:15",
    "15시": "15:00", "오후 3:30": "15:30", "14:05": "14:05", "09:00": "09:00", "정오": "12:00", "자정": "00:00",
    "3pm": "15:00", "3:30 p.m.": "15:30", "at 3": "15:00", "noon": "12:00", "half past two": "14:30",
    "nine o'clock": "09:00", "12am": "00:00", "12 PM": "12:00",
}  # fmt: skip
NONE = (
    "3시간 걸려요", "3일간 출장", "버전 3.14", "May I help you?", "가능한 시간", "방 101호", "10명", "일요", "at 3%",
    "30분 전에 알려줘", "1.5시간 뒤", "스물한 시간 뒤", "1.5 hours from now", "in an hour and a quarter",
    "내년 2월 29일", "2월 30일", "25:00", "13월 1일", "필요한 시점", "32일", "전화 010-1234-5678",
)  # fmt: skip


@pytest.mark.parametrize("text", DAYS)
def test_a_day(text):
    (found,) = find(text, NOW)
    assert (str(found.dates[0]), found.times) == (DAYS[text], ())


@pytest.mark.parametrize("text", TIMES)
def test_a_time(text):
    (found,) = find(text, NOW)
    assert (f"{found.times[0]:%H:%M}", found.dates) == (TIMES[text], ())


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_date(text):
    assert find(text, NOW) == []


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("내일 오후 3시에 주간 회의", "2026-11-24T15:00"),
        ("다음 주 화요일 세 시", "2026-12-01T15:00"),
        ("12월 3일 (목) 오전 10시", "2026-12-03T10:00"),
        ("next Friday at 3pm", "2026-12-04T15:00"),
        ("3pm tomorrow", "2026-11-24T15:00"),
        ("30분 뒤", "2026-11-23T10:30"),
        ("한 시간 반 뒤", "2026-11-23T11:30"),
        ("in 2 hours", "2026-11-23T12:00"),
        ("1시간 30분 뒤", "2026-11-23T11:30"),
        ("1일 2시간 뒤", "2026-11-24T12:00"),
        ("이십오 분 뒤", "2026-11-23T10:25"),
        ("열두 시간 뒤", "2026-11-23T22:00"),
        ("in 1 hour and 30 minutes", "2026-11-23T11:30"),
        ("in an hour and a half", "2026-11-23T11:30"),
        ("half an hour from now", "2026-11-23T10:30"),
        ("twenty-five minutes from now", "2026-11-23T10:25"),
        ("오늘 밤 12시", "2026-11-24T00:00"),
        ("오늘 밤 1시", "2026-11-24T01:00"),
        ("오늘 밤 11시", "2026-11-23T23:00"),
        ("내일 24시", "2026-11-25T00:00"),
        ("내일 24:00", "2026-11-25T00:00"),
        ("오늘 자정", "2026-11-24T00:00"),
        ("tonight at midnight", "2026-11-24T00:00"),
        ("tonight at 8", "2026-11-23T20:00"),
        ("1am tonight", "2026-11-24T01:00"),
        ("March 5 next year at 3pm", "2027-03-05T15:00"),
        ("2026-11-25T15:00:00+09:00", "2026-11-25T15:00"),
        ("2026-11-25T06:00Z", "2026-11-25T15:00"),
    ],
)
def test_a_day_beside_a_time_is_one_moment(text, start):
    (found,) = find(text, NOW)
    assert datetime.combine(found.dates[0], found.times[0]).isoformat(timespec="minutes") == start


def test_two_moments_stay_two():
    found = find("내일 3시 회의랑 모레 오후 4시 치과", NOW)
    assert [(str(one.dates[0]), one.times[0].hour) for one in found] == [("2026-11-24", 15), ("2026-11-25", 16)]


def test_what_is_ambiguous_keeps_its_readings():
    assert find("3시", NOW)[0].times == (time(15), time(3))
    assert find("8시", NOW)[0].times == (time(8), time(20))
    assert find("next Friday", NOW)[0].dates == (date(2026, 12, 4), date(2026, 11, 27))


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("다음 달 둘째 주 월요일", []), ("다음 달 둘째 주 월요일 오후 3시", [time(15)]), ("12월 첫 월요일", []),
        ("다음 달 월요일", []), ("지지난 금요일", []), ("금요일 다음 날", []), ("2027년에 3월 1일", []),
        ("first Monday of next month", []), ("last Friday of December", []), ("a week from Tuesday", []),
        ("the 3rd next month", []), ("Friday at 3pm next week", [time(15)]), ("다음 주 오후 3시", [time(15)]),
    ],
)  # fmt: skip
def test_half_a_day_is_none(text, times):
    """The word beside it makes another day of it, which the grammar does not know."""
    found = find(text, NOW)
    assert [one.times[0] for one in found] == times and not any(one.dates for one in found)
    assert not is_certain(text, NOW)


@pytest.mark.parametrize(
    "text", ["내일 지난주 회의록", "내년 예산 회의를 12월 3일에", "이번 주 25일", "first, tomorrow"]
)
def test_words_that_belong_to_something_else_leave_a_day_as_it_is(text):
    assert len(find(text, NOW)) == 1 and is_certain(text, NOW)


def test_a_night_apart_from_its_day():
    day, night = find("오늘 회의를 밤 12시에", NOW)
    assert (day.dates, night.times) == ((date(2026, 11, 24), date(2026, 11, 23)), (time(0),))
    assert not is_certain("밤 12시", NOW)


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)), st.times())
def test_iso_comes_back(day, at):
    at = at.replace(second=0, microsecond=0, fold=0)
    (found,) = find(f"on {day.isoformat()}T{at:%H:%M} then", NOW)
    assert (found.dates, found.times) == ((day,), (at,))


@given(st.dates(date(2026, 11, 23), date(2027, 11, 22)))
def test_a_day_of_the_coming_year_is_found_without_its_year(day):
    assert find(f"{day.month}월 {day.day}일에", NOW)[0].dates == (day,)
    assert find(day.strftime("%B %d"), NOW)[0].dates == (day,)


@given(st.integers(1, 300))
def test_days_from_now(days):
    expected = (NOW + timedelta(days=days)).date()
    assert find(f"{days}일 뒤", NOW)[0].dates == find(f"in {days} days", NOW)[0].dates == (expected,)


@given(st.integers(0, 23), st.integers(0, 59))
def test_both_ways_of_the_clock(hour, minute):
    part, twelve = ("오전", "am") if hour < 12 else ("오후", "pm"), hour % 12 or 12
    assert find(f"{part[0]} {twelve}시 {minute}분", NOW)[0].times == (time(hour, minute),)
    assert find(f"{twelve}:{minute:02d}{part[1]}", NOW)[0].times == (time(hour, minute),)
    assert time(hour, minute) in find(f"{hour}:{minute:02d}", NOW)[0].times


@given(st.text(max_size=80) | st.text("일이삼월화수시분반0123456789:/.-년 뒤후다음주말오전후atpm", max_size=40))
def test_any_text_is_read_without_harm(text):
    for one in find(text, NOW):
        assert 0 <= one.start < one.end <= len(text) and (one.dates or one.times)
    for start, end, value in find_numbers(text):
        assert 0 <= start < end <= len(text) and value == value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3만 원", [30000]), ("천오백 원", [1500]), ("3만 5천원", [35000]), ("1,250.5", [1250.5]),
        ("2.5억 원", [2.5e8]),
        ("세 명이 두 잔", [3, 2]), ("two people, 12 cups", [12, 2]), ("10만원 12개", [100000, 12]),
        ("이만 줄입니다", []),
        ("십이 개", [12]), ("-5 degrees", [-5]),
    ],
)  # fmt: skip
def test_numbers(text, values):
    assert [value for _, _, value in find_numbers(text)] == values
