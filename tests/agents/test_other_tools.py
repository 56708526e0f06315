"""Files, the calendar, arithmetic, programs and pages: what they do, and what they refuse."""

import ast
import http.server
import operator
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.agents.tool import Effect, ToolContext, ToolRefusal
from axk1.agents.tools import web
from axk1.agents.tools.arithmetic import calculate, evaluate, written
from axk1.agents.tools.built_in import ToolsConfig, built_in_tools
from axk1.agents.tools.calendar import add_event, delete_event, list_events
from axk1.agents.tools.files import delete_file, list_files, read_file, write_file
from axk1.agents.tools.program import program_tools
from axk1.agents.tools.web import WebConfig, fetch
from axk1.agents.tools.workspace import put_back

NOW = datetime(2026, 11, 23, 9, tzinfo=ZoneInfo("Asia/Seoul"))


def context(folder: Path, call: int = 1) -> ToolContext:
    return ToolContext(folder, f"run:{call}", NOW, "ko")


def test_files_are_written_listed_read_deleted_and_brought_back(tmp_path):
    first = write_file.function(context(tmp_path), path="메모/a.txt", text="하나")
    write_file.function(context(tmp_path, 2), path="b.txt", text="둘")
    listed = list_files.function(context(tmp_path)).content
    assert [one["path"] for one in listed["files"]] == ["b.txt", "메모/a.txt"] and listed["more"] == 0
    assert read_file.function(context(tmp_path), path="메모/a.txt").content == "하나"
    assert "메모/a.txt" in delete_file.preview(context(tmp_path, 3), path="메모/a.txt")
    gone = delete_file.function(context(tmp_path, 3), path="메모/a.txt")
    assert delete_file.recover(context(tmp_path, 3), path="메모/a.txt").content == gone.content
    put_back(context(tmp_path, 4), gone.undo)
    assert read_file.function(context(tmp_path), path="메모/a.txt").content == "하나"
    put_back(context(tmp_path, 5), first.undo)
    assert not (tmp_path / "메모/a.txt").exists()


def test_a_second_attempt_of_a_call_keeps_what_the_first_one_found(tmp_path):
    write_file.function(context(tmp_path), path="a.txt", text="before")
    for _ in range(2):  # as after a crash behind the writing
        outcome = write_file.function(context(tmp_path, 2), path="a.txt", text="after")
    put_back(context(tmp_path, 3), outcome.undo)
    assert (tmp_path / "a.txt").read_text() == "before"


def test_bringing_back_a_deleted_file_spares_a_newer_one(tmp_path):
    write_file.function(context(tmp_path), path="a.txt", text="old")
    gone = delete_file.function(context(tmp_path, 2), path="a.txt")
    newer = write_file.function(context(tmp_path, 3), path="a.txt", text="newer")
    for undo in (gone.undo, {"path": "a.txt", "kept": None}):
        with pytest.raises(ToolRefusal, match="changed since"):
            delete_file.undo(context(tmp_path, 4), undo)
    assert (tmp_path / "a.txt").read_text() == "newer"
    put_back(context(tmp_path, 5), newer.undo)
    for _ in range(2):  # as after a crash behind the copying
        delete_file.undo(context(tmp_path, 6), gone.undo)
    assert (tmp_path / "a.txt").read_text() == "old"
    (tmp_path / "a.txt").unlink()
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(ToolRefusal, match="changed since"):
        delete_file.undo(context(tmp_path, 7), gone.undo)


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "link/x", "linked.txt", "", "a\0b", ".history/x", "."]
)
def test_no_path_leads_out_of_the_workspace(tmp_path, path):
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    (outside / "x").write_text("secret")
    os.symlink(outside, work / "link")
    os.symlink(outside / "x", work / "linked.txt")
    before = {file: file.read_bytes() for file in outside.rglob("*")}
    with pytest.raises((ToolRefusal, IsADirectoryError)):
        write_file.function(context(work), path=path, text="mine")
    for tool in (read_file, delete_file):
        with pytest.raises(ToolRefusal):
            tool.function(context(work), path=path)
    assert {file: file.read_bytes() for file in outside.rglob("*")} == before
    assert list_files.function(context(work)).content["files"] == []


def test_events_are_added_told_of_overlaps_deleted_and_brought_back(tmp_path):
    start = datetime(2026, 11, 24, 15)
    first = add_event.function(context(tmp_path), title="회의", start=start, place="3층", attendees=["a@b.kr"])
    assert first.content["added"]["start"] == "2026-11-24T15:00:00+09:00" and not first.content["overlaps"]
    second = add_event.function(context(tmp_path, 2), title="면담", start=start.replace(minute=30))
    assert [one["title"] for one in second.content["overlaps"]] == ["회의"]
    calendar = icalendar.Calendar.from_ical((tmp_path / "calendar.ics").read_bytes())
    event = next(one for one in calendar.walk("VEVENT") if one["summary"] == "회의")
    assert event["dtstart"].dt.utcoffset() == NOW.utcoffset() and event["attendee"] == "mailto:a@b.kr"
    again = add_event.function(context(tmp_path, 2), title="면담", start=start.replace(minute=30))
    assert again.content["added"] == second.content["added"], "the same call adds one event"
    assert len(list_events.function(context(tmp_path)).content["events"]) == 2
    assert not list_events.function(context(tmp_path), since=date(2026, 11, 25)).content["events"]
    assert "면담" in delete_event.preview(context(tmp_path, 3), id="면담")
    gone = delete_event.function(context(tmp_path, 3), id="면담")
    assert len(list_events.function(context(tmp_path)).content["events"]) == 1
    put_back(context(tmp_path, 4), gone.undo)
    assert len(list_events.function(context(tmp_path)).content["events"]) == 2
    with pytest.raises(ToolRefusal, match="no event"):
        delete_event.function(context(tmp_path), id="휴가")
    with pytest.raises(ToolRefusal, match="is not after"):
        add_event.function(context(tmp_path), title="x", start=start, end=start)


def add_one(folder: Path, call: int) -> None:
    add_event.function(context(folder, call), title=f"회의 {call}", start=NOW + timedelta(days=call))


@pytest.mark.parametrize("workers", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_events_that_are_added_at_once_are_all_there(tmp_path, workers):
    with workers(4) as pool:
        list(pool.map(add_one, [tmp_path] * 8, range(8)))
    assert len(list_events.function(context(tmp_path)).content["events"]) == 8
    assert list_files.function(context(tmp_path)).content["files"][0]["path"] == "calendar.ics"


def test_a_deletion_that_was_interrupted_is_found_by_the_events_title(tmp_path):
    add_one(tmp_path, 1)
    interrupted = context(tmp_path, 2)
    assert delete_event.recover(interrupted, id="회의 1") is None
    delete_event.function(interrupted, id="회의 1")
    assert delete_event.recover(interrupted, id="회의 1").content == {"deleted": "회의 1"}
    add_event.function(context(tmp_path, 3), title="회의 1", start=NOW)
    assert delete_event.recover(interrupted, id="회의 1") is not None, "another event of the same title is not meant"


FOREIGN = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:x
BEGIN:VEVENT
UID:1
SUMMARY:all of yesterday
DTSTART;VALUE=DATE:20261122
DTEND;VALUE=DATE:20261123
END:VEVENT
BEGIN:VEVENT
UID:2
SUMMARY:seven in the morning in Seoul
DTSTART:20261122T220000Z
DTEND:20261122T230000Z
END:VEVENT
BEGIN:VEVENT
UID:3
SUMMARY:until midnight
DTSTART;TZID=Asia/Seoul:20261122T220000
DTEND;TZID=Asia/Seoul:20261123T000000
END:VEVENT
BEGIN:VEVENT
UID:4
SUMMARY:all of today
DTSTART;VALUE=DATE:20261123
END:VEVENT
BEGIN:VEVENT
UID:5
SUMMARY:one moment
DTSTART;TZID=Asia/Seoul:20261123T000000
DTEND;TZID=Asia/Seoul:20261123T000000
END:VEVENT
END:VCALENDAR
"""


@pytest.mark.parametrize(("day", "there"), [(22, {"1", "3"}), (23, {"2", "4", "5"}), (24, set())])
def test_the_events_of_a_day_are_those_of_the_persons_day(tmp_path, day, there):
    (tmp_path / "calendar.ics").write_bytes(FOREIGN.replace("\n", "\r\n").encode())
    wanted = date(2026, 11, day)
    events = list_events.function(context(tmp_path), since=wanted, until=wanted).content["events"]
    assert {one["id"] for one in events} == there
    assert list_events.function(context(tmp_path), since=date.max).content["events"] == []
    assert "repeats" in list_events.description


SIGNS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}


def reference(tree: ast.AST) -> Fraction:
    """What Python's own parser makes of it."""
    if isinstance(tree, ast.Constant):
        return Fraction(str(tree.value))
    if isinstance(tree, ast.UnaryOp):
        return -reference(tree.operand)
    return SIGNS[type(tree.op)](reference(tree.left), reference(tree.right))


EXPRESSIONS = st.recursive(
    st.one_of(st.integers(0, 999).map(str), st.decimals(0, 99, places=2).map(str)),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - ", " * ", " / "]), inner).map("".join),
        inner.map(lambda one: f"({one})"),
        inner.map(lambda one: f"-({one})"),
    ),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_arithmetic_is_exact(expression):
    try:
        expected = reference(ast.parse(expression, mode="eval").body)
    except ZeroDivisionError:
        with pytest.raises(ToolRefusal, match="division by zero"):
            evaluate(expression)
    else:
        assert evaluate(expression) == expected
        if "(" not in written(expected):
            assert Fraction(written(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("3만 5천 + 1,000", "36000"), ("1.5억 * 3", "450000000"), ("200 * 15%", "30"), ("17 % 5", "2"),
        ("2^10", "1024"), ("-2^2", "-4"), ("2^3^2", "512"), ("round(2.5)", "3"), ("round(1/3, 2)", "0.33"),
        ("max(100,200)", "200"), ("mean(1,2,6)", "3"), ("1/3", "0.333333333333 (1/3)"),
        ("2026-12-25 - 2026-11-23", "32"), ("2026-11-23 + 30", "2026-12-23"), ("12 × 3 ÷ 4", "9"),
    ],
)  # fmt: skip
def test_what_people_write(expression, value):
    assert calculate.function(None, expression=expression).content["result"] == value


@pytest.mark.parametrize(
    "expression", ["", "1 +", "(1", "1 2", "f(1)", "__import__('os')", "9^9^9^9", "1e9", "2026-13-01", "(" * 200, "1/0"]
)
def test_what_cannot_be_calculated_says_where(expression):
    with pytest.raises(ToolRefusal):
        evaluate(expression)


def test_programs_print_and_reach_nothing():
    tools = program_tools()
    if not tools:
        pytest.skip("there is no sandbox here: bubblewrap is not installed, or does not work")
    (run,) = tools
    assert run.function(None, program="print('안녕', sum(range(10)))").content == {"printed": "안녕 45\n"}
    for program in ("import socket; socket.create_connection(('1.1.1.1', 80), 1)", "open('/etc/passwd')", "1/0"):
        assert run.function(None, program=f"print(1)\n{program}").content["failed"]


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        seen.append(self.headers["Host"])
        body = (
            b"<html><title>T</title><body><article><h1>H</h1><p>" + "예산은 늘었다. ".encode() * 20 + b"</p></article>"
        )
        redirected = self.path.startswith("/to/")
        self.send_response(302 if redirected else 200)
        if redirected:
            self.send_header("Location", self.path.removeprefix("/to/"))
        self.send_header("Content-Type", "image/png" if self.path == "/picture" else "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


seen: list[str] = []


@pytest.fixture
def pages():
    seen.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_page_of_an_allowed_host_is_text(pages):
    config = WebConfig(hosts=("localhost",), private=True)
    assert "예산은 늘었다." in fetch(f"{pages}/a", config)["text"]
    assert fetch(f"{pages}/to//b", config)["url"] == f"{pages}/b"
    assert seen == [pages.removeprefix("http://")] * 3


@pytest.mark.parametrize(
    ("path", "config", "said"),
    [
        ("/a", WebConfig(hosts=("localhost",)), "machine of this network"),
        ("/a", WebConfig(hosts=("example.org",), private=True), "is not allowed"),
        ("/a", WebConfig(hosts=("ocalhost",), private=True), "is not allowed"),
        ("/to/http://127.0.0.1/x", WebConfig(hosts=("localhost",), private=True), "127.0.0.1 is not allowed"),
        ("/to/file:///etc/passwd", WebConfig(hosts=("localhost",), private=True), "https://"),
        ("/to/" * 9 + "/a", WebConfig(hosts=("localhost",), private=True), "more than 5 times"),
        ("/picture", WebConfig(hosts=("localhost",), private=True), "image/png"),
        ("/a", WebConfig(hosts=("localhost",), private=True, largest_bytes=10), "larger than 10"),
    ],
)
def test_what_is_not_fetched(pages, path, config, said):
    with pytest.raises(ToolRefusal, match=said):
        fetch(pages + path, config)


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "fd00::1"])
def test_no_name_leads_into_this_network(monkeypatch, address):
    """A name's addresses are what the system says; here it says one of an inner machine."""
    family = web.socket.AF_INET6 if ":" in address else web.socket.AF_INET
    monkeypatch.setattr(web.socket, "getaddrinfo", lambda *_, **__: [(family, 1, 6, "", (address, 80))])
    with pytest.raises(ToolRefusal, match="machine of this network"):
        fetch("http://example.org/", WebConfig(hosts=("example.org",)))


def test_only_what_is_set_up_is_offered():
    assert not {"send_mail", "read_mail", "find_contact", "fetch_page", "search_documents"} & set(built_in_tools())
    tools = built_in_tools(ToolsConfig(web=WebConfig(hosts=(".go.kr",))))
    assert "fetch_page" in tools and all(tool.preview for tool in tools.values() if tool.effect is Effect.DELETE)
    assert all(tool.described()["function"]["parameters"]["type"] == "object" for tool in tools.values())
    assert web._allowed("law.go.kr", (".go.kr",)) and not web._allowed("evilgo.kr", (".go.kr",))
    assert httpx.URL("http://a@b/").host == "b"
