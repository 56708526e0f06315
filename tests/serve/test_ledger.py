"""Reserve, settle, release: on SQLite and on PostgreSQL, at the edges of periods, in parallel, twice, and late."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from axk1.core.errors import ConfigError
from axk1.serve.database import open_database, writing
from axk1.serve.errors import ApiError
from axk1.serve.tenants import ledger, servers
from axk1.serve.tenants.directory import Directory
from axk1.serve.tenants.ledger import Grant, Need, Usage
from axk1.serve.tenants.limits import Limits
from axk1.serve.tenants.periods import bounds, day_of
from axk1.serve.tenants.report import audit_rows, usage_rows
from axk1.serve.tenants.tables import Balance, Hold, LedgerEntry

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()


class Book:
    """A key with limits, and a clock that tests turn."""

    def __init__(self, database, zone="UTC", now=NOON, key_limits=None, **limits):
        self.database, self.now, self.count = database, now, 0
        self.directory = Directory(database, clock=lambda: self.now)
        self.organisation = self.directory.add("acme", time_zone=zone, limits=Limits(**limits))
        self.key, _ = self.directory.add_key("acme", limits=Limits(**(key_limits or {})))

    def need(self, prompt, answer, request=None, **fields):
        self.count += 1
        return Need(request or f"r{self.count}", fields.pop("key", self.key), "m", "chat", prompt, answer, **fields)

    def reserve(self, prompt, answer, request=None, server="s", **fields):
        with writing(self.database) as connection:
            need = self.need(prompt, answer, request, **fields)
            return ledger.reserve(connection, need, server=server, now=self.now)

    def settle(self, request, prompt, completion, **fields):
        with writing(self.database) as connection:
            usage = Usage(prompt, 0, completion, **fields)
            return ledger.settle(connection, request, usage, "done", now=self.now)

    def release(self, request):
        with writing(self.database) as connection:
            return ledger.release(connection, request, "refused", now=self.now)

    def left(self):
        """Tokens left of the tightest limit."""
        found = self.reserve(0, 0)
        assert isinstance(found, Grant), found.message
        self.release(f"r{self.count}")
        return min(room.remaining for room in found.rooms if room.kind == "tokens")


def test_what_is_reserved_is_not_there_and_what_is_settled_counts(database):
    book = Book(database, tokens_per_day=100)
    assert isinstance(book.reserve(10, 40, "a"), Grant) and book.left() == 50
    refused = book.reserve(30, 30)
    assert isinstance(refused, ApiError) and refused.status == 429
    assert refused.headers["retry-after"] == "1"  # the open request may give back enough
    assert book.settle("a", 10, 5) and book.left() == 85
    assert isinstance(book.reserve(60, 25, "b"), Grant) and book.left() == 0
    assert book.release("b") and book.left() == 85


def test_every_step_is_made_once(database):
    book = Book(database, tokens_per_day=100)
    first, again = book.reserve(10, 10, "a"), book.reserve(10, 10, "a")
    assert isinstance(first, Grant) and isinstance(again, Grant) and book.left() == 80
    assert book.settle("a", 10, 1)
    assert not book.settle("a", 10, 9) and not book.release("a") and not book.settle("unknown", 1, 1)
    assert isinstance(book.reserve(10, 10, "a"), Grant) and book.left() == 89
    (row,) = usage_rows(database)
    assert (row.requests, row.prompt_tokens, row.completion_tokens) == (1, 10, 1)


def test_an_answer_whose_length_is_open_gets_what_is_left(database):
    book = Book(database, tokens_per_day=100)
    assert book.reserve(10, 500).status == 400  # it never fits
    grant = book.reserve(10, 500, "a", flexible=True, choices=4)
    assert grant.answer == 88
    assert book.reserve(1, None, flexible=True).answer == 1
    assert book.reserve(1, 10, flexible=True).status == 429
    assert book.reserve(1, 0).status == 429


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("Asia/Seoul", 9)])
def test_days_and_months_begin_at_midnight_of_the_organisation(database, zone, hours):
    midnight = datetime(2026, 12, 1, tzinfo=UTC).timestamp() - hours * 3600
    book = Book(database, zone, now=midnight - 0.25, tokens_per_day=100, tokens_per_month=1000)
    book.reserve(0, 100, "a")
    refused = book.reserve(0, 1)
    assert refused.status == 429 and refused.headers["x-ratelimit-reset-tokens"] == "1s"
    book.now = midnight
    assert book.left() == 100  # the open request belongs to the day in which it began
    assert book.settle("a", 0, 30) and book.left() == 100
    (row,) = usage_rows(database)
    assert row.day == "2026-11-30" and row.completion_tokens == 30
    book.now = midnight + 86400 - 1
    book.reserve(0, 40, "b")
    assert book.left() == 60
    book.now = midnight + 86400
    assert book.left() == 100
    with database.connect() as connection:
        month = connection.execute(select(Balance.tokens, Balance.start).where(Balance.period == "month")).one()
    assert month == (40, midnight)


def test_a_minute_ends_too(database):
    book = Book(database, requests_per_minute=2, key_limits={"tokens_per_minute": 50})
    assert isinstance(book.reserve(1, 1), Grant) and isinstance(book.reserve(1, 1), Grant)
    refused = book.reserve(1, 1)
    assert refused.status == 429 and refused.headers["retry-after"] == "60"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "46"
    book.now += 59.5
    assert book.reserve(1, 1).headers["retry-after"] == "1"
    book.now += 0.5
    assert isinstance(book.reserve(1, 1), Grant)


def test_a_limit_that_comes_later_counts_what_was_used_before(database):
    book = Book(database)
    book.reserve(10, 10, "a")
    book.settle("a", 10, 7)
    book.reserve(5, 5, "b")
    book.directory.change("acme", tokens_per_month=100)
    assert book.left() == 100 - 17 - 10
    book.directory.change(book.key, tokens_per_day=50)
    assert book.left() == 50 - 17 - 10
    book.directory.change(book.key, tokens_per_day=None)
    assert book.left() == 73


def test_a_key_that_moves_keeps_what_it_has_used_and_its_reset(database):
    book = Book(database, tokens_per_day=1000, key_limits={"tokens_per_day": 100})
    book.reserve(0, 60, "a")
    other = book.directory.add("other", time_zone="UTC", limits=Limits(tokens_per_day=500))
    book.directory.move(book.key, "other")
    book.settle("a", 0, 50)  # still acme's
    assert book.left() == 50
    book.reserve(0, 20, "b")
    book.settle("b", 0, 20)
    used = {row.organisation: row.completion_tokens for row in usage_rows(database)}
    assert used == {"acme": 50, "other": 20}
    with database.connect() as connection:
        mine = select(func.sum(LedgerEntry.tokens)).where(LedgerEntry.organisation == other)
        assert connection.scalar(mine) == 20
    book.now = bounds("day", book.now, "UTC")[1]
    assert book.left() == 100


def test_a_revoked_key_reserves_nothing(database):
    book = Book(database)
    book.directory.revoke(book.key)
    assert book.reserve(1, 1).status == 401
    assert book.reserve(1, 1, key="guessed").status == 401


def test_a_dead_server_s_requests_are_released_and_one_that_lives_after_all_is_still_paid(database):
    book = Book(database, tokens_per_day=100)
    with writing(database) as connection:
        dead, alive = (servers.register(connection, now=book.now) for _ in range(2))
    book.reserve(10, 10, "a", server=dead)
    book.reserve(10, 10, "b", server=alive)
    with writing(database) as connection:
        assert servers.recover(connection, alive, now=book.now + servers.SILENT_SECONDS) == 0
        servers.beat(connection, alive, now=book.now + servers.SILENT_SECONDS)
        assert servers.recover(connection, alive, now=book.now + servers.SILENT_SECONDS + 1) == 1
    assert book.left() == 80
    assert [row["detail"] for row in audit_rows(database) if row.get("request") == "a"] == ["chat m: lost"]
    assert book.settle("a", 10, 5) and book.left() == 65
    assert not book.settle("a", 10, 5)


def test_the_ledger_keeps_its_rows_and_balances_are_its_sums(database):
    book = Book(database, tokens_per_day=10_000, tokens_per_month=10_000)
    before = 0
    for number in range(12):
        book.reserve(number, 20, f"x{number}")
        if number % 3 == 0:
            book.release(f"x{number}")
        elif number % 3 == 1:
            book.settle(f"x{number}", number, 7)
        with database.connect() as connection:
            rows = connection.scalar(select(func.count()).select_from(LedgerEntry))
            total = connection.scalar(select(func.sum(LedgerEntry.tokens)))
            kept = connection.execute(select(Balance.tokens)).scalars().all()
            held = connection.scalar(select(func.sum(Hold.tokens))) or 0
        assert rows > before and set(kept) == {total}
        before = rows
    with writing(database) as connection:
        connection.execute(delete(Balance))
    assert book.left() == 10_000 - total and held == sum(n + 20 for n in range(12) if n % 3 == 2)


def test_parallel_calls_cannot_overspend(database):
    book = Book(database, tokens_per_day=1000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: book.reserve(10, 20, f"p{n}"), range(64)))
    assert sum(isinstance(each, Grant) for each in found) == 33


SPENDER = """
import sys
from axk1.serve.database import open_database, writing
from axk1.serve.tenants import ledger
url, key, now, name = sys.argv[1:]
database, granted = open_database(url), 0
sys.stdin.readline()
for number in range(40):
    with writing(database) as connection:
        need = ledger.Need(f"{name}-{number}", key, "m", "chat", 5, 20)
        granted += isinstance(ledger.reserve(connection, need, server=name, now=float(now)), ledger.Grant)
print(granted)
"""


def test_two_processes_on_one_database_cannot_overspend(postgres):  # for SQLite, two servers do it in another test
    database_url = postgres.new_database()
    book = Book(open_database(database_url), tokens_per_day=1000)
    words = [sys.executable, "-c", SPENDER, database_url, book.key, str(NOON)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([*words, name], **pipes) for name in ("one", "two")]
    granted = [int(each.communicate("go\n", timeout=60)[0]) for each in running]
    assert sum(granted) == 40, granted


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)),
    st.sampled_from(["UTC", "Asia/Seoul", "America/New_York", "Europe/London", "Asia/Kathmandu", "Africa/Cairo"]),
    st.sampled_from(["minute", "day", "month"]),
)
@settings(max_examples=200, deadline=None)
def test_a_moment_lies_in_its_period_and_periods_follow_each_other(moment, zone, period):
    at = moment.replace(tzinfo=UTC).timestamp()
    start, end = bounds(period, at, zone)
    assert start <= at < end
    assert bounds(period, end, zone)[0] == end and bounds(period, start, zone) == (start, end)
    local = datetime.fromtimestamp(at, ZoneInfo(zone))
    if period == "day":
        assert day_of(start, zone) == day_of(at, zone) == local.date().isoformat()
        assert day_of(end, zone) == (local.date() + timedelta(days=1)).isoformat()


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/axk1.db"
    with open_database(url).begin() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    with pytest.raises(ConfigError, match="version 99"):
        open_database(url)


def test_a_password_is_not_shown_when_nobody_answers():
    with pytest.raises(ConfigError) as refused:
        open_database("postgresql://me:secret@127.0.0.1:9/x")
    assert "secret" not in refused.value.message and "127.0.0.1" in refused.value.message


def test_a_reservation_does_not_wait_for_the_disk_and_whatever_comes_after_it_does(tmp_path):
    """What a lazy transaction changes of a connection is undone before others get it, also when the job fails."""
    opened = open_database(f"sqlite:///{tmp_path}/lazy.db")

    def level(connection) -> int:
        return connection.exec_driver_sql("PRAGMA synchronous").scalar()

    normal, full = 1, 2
    with writing(opened, lazily=True) as connection:
        assert level(connection) == normal
    with writing(opened) as connection:
        assert level(connection) == full
    with pytest.raises(ZeroDivisionError), writing(opened, lazily=True):
        raise ZeroDivisionError
    with opened.connect() as connection:
        assert level(connection) == full
    opened.dispose()
