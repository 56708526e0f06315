"""A real database, a real SMTP server, real small tools, and a model of rules behind real HTTP."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from mail_server import mail_server
from model_server import serving
from postgres import postgres  # noqa: F401 - a fixture
from small_tools import (
    Inbox,
    add_event,
    delete_file,
    find_contact,
    list_events,
    mail_tool,
    read_file,
    read_mail,
    write_file,
)

from axk1.agents.loop import Runner
from axk1.agents.store import RunStore
from axk1.core.chat_client import ChatClient
from axk1.serve.database import open_database

SEOUL = ZoneInfo("Asia/Seoul")


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 10, 0, tzinfo=SEOUL)  # a Monday

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_store(request, tmp_path: Path) -> Iterator[RunStore]:
    """A store on each of the databases."""
    url = f"sqlite:///{tmp_path}/axk1.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    database = open_database(url)
    yield RunStore(database)
    database.dispose()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    database = open_database(f"sqlite:///{tmp_path}/axk1.db")
    yield RunStore(database)
    database.dispose()


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    opened = Inbox(tmp_path / "received")
    with mail_server(opened) as opened.port:
        yield opened


@pytest.fixture
def tools(inbox: Inbox) -> dict:
    all_of_them = [find_contact, read_mail, list_events, add_event, delete_file, write_file, read_file]
    return {one.name: one for one in [*all_of_them, mail_tool(inbox.port, inbox.folder)]}


@pytest.fixture
def runner_of(store, tools, clock, tmp_path) -> Iterator[Callable[..., Runner]]:
    """Makes a runner over a model of rules."""
    with ExitStack() as open_servers:

        def make(rules, **options) -> Runner:
            client = ChatClient(open_servers.enter_context(serving(rules)))
            options = {"workspace": tmp_path / "work", "clock": clock, **options}
            return Runner(client, options.pop("tools", tools), options.pop("store", store), **options)

        yield make
