"""The meter before servers elsewhere: those that tell no usage, break off, refuse, or are left by the client."""

import json
from http.client import HTTPConnection

import httpx
import pytest
from faulty_server import faulty, http, stream
from programs import until
from running_server import listening
from sqlalchemy import select

from axk1.serve.database import open_database
from axk1.serve.tenants.directory import Directory
from axk1.serve.tenants.limits import Limits
from axk1.serve.tenants.report import usage_rows
from axk1.serve.tenants.tables import Hold, LedgerEntry
from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.service import UpstreamService

CHAT = "/v1/chat/completions"
PIECE = '{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": null}]}'
LAST = '{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'
USAGE = '{"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}'
WHOLE = '{"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]}'


@pytest.fixture
def front(tmp_path):
    """A faulty server, a front with tenants before it, its database, and a key's headers."""
    url = f"sqlite:///{tmp_path}/axk1.db"
    directory = Directory(open_database(url))
    directory.add("acme", time_zone="UTC", limits=Limits(tokens_per_day=10_000))
    headers = {"Authorization": f"Bearer {directory.add_key('acme')[1]}"}
    with faulty() as server:
        service = UpstreamService([Upstream(server.url, timeout=60)])
        with listening(service, database=url, with_tenants=True) as address:
            yield server, address, open_database(url), headers


def ask(front, answer, **fields) -> httpx.Response:
    server, address, _, headers = front
    server.answers[CHAT] = answer
    body = {"model": "m", "messages": [{"role": "user", "content": "good morning"}], "max_tokens": 50, **fields}
    return httpx.post(address + CHAT, json=body, headers=headers, timeout=100)


def entries(front) -> list:
    with front[2].connect() as connection:
        closed = select(LedgerEntry.__table__).where(LedgerEntry.step != "reserved").order_by(LedgerEntry.id)
        assert connection.execute(select(Hold.request)).all() == []
        return list(connection.execute(closed))


def test_usage_that_comes_after_the_last_text_is_what_counts(front):
    assert ask(front, stream(PIECE, LAST, USAGE, "[DONE]"), stream=True).status_code == 200
    (entry,) = entries(front)
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (3, 9, False)


@pytest.mark.parametrize("streamed", [True, False])
def test_usage_that_is_left_out_is_estimated_and_flagged(front, streamed):
    answer = stream(PIECE, PIECE, LAST, "[DONE]") if streamed else http("200 OK", WHOLE)
    assert ask(front, answer, stream=streamed).status_code == 200
    (entry,) = entries(front)
    assert entry.estimated and entry.outcome == "done" and entry.prompt_tokens > 0 and entry.completion_tokens > 0
    assert [row.estimated_requests for row in usage_rows(front[2])] == [1]


def test_an_answer_that_breaks_off_costs_what_came(front):
    assert "upstream_disconnected" in ask(front, stream(PIECE, PIECE), stream=True).text
    until(lambda: not_open(front))
    (entry,) = entries(front)
    assert entry.outcome == "failed" and entry.estimated and entry.completion_tokens >= 2


@pytest.mark.parametrize("streamed", [True, False])
def test_an_upstream_s_refusal_costs_nothing(front, streamed):
    refused = ask(front, http("429 Too Many Requests", "busy", "Retry-After: 7"), stream=streamed)
    assert refused.status_code == 429
    until(lambda: not_open(front))
    (entry,) = entries(front)
    assert (entry.prompt_tokens, entry.completion_tokens) == (0, 0)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_pays_although_the_upstream_tells_nothing(front, streamed):
    server, address, _, headers = front
    server.hang, server.answers[CHAT] = True, stream(PIECE, PIECE) if streamed else b""
    body = {"model": "m", "messages": [{"role": "user", "content": "good morning"}], "stream": streamed}
    client = HTTPConnection(address.removeprefix("http://"))
    client.request("POST", CHAT, json.dumps(body), {**headers, "Content-Type": "application/json"})
    until(lambda: CHAT in [path for path, _, _ in server.asked])
    if streamed:
        assert b"hello" in client.getresponse().readline()
    client.close()
    until(lambda: not_open(front))
    (entry,) = entries(front)
    assert entry.outcome == "left" and entry.estimated and entry.prompt_tokens > 0
    assert (entry.completion_tokens > 0) == streamed


def not_open(front) -> bool:
    """Whether no reservation is open, after there was one."""
    with front[2].connect() as connection:
        closed = connection.execute(select(LedgerEntry.id).where(LedgerEntry.step != "reserved")).all()
        return bool(closed) and not connection.execute(select(Hold.request)).all()
