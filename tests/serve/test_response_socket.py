"""``/v1/responses`` over a WebSocket, and conversations made short."""

import contextlib
import json

import httpx
import openai
import pytest
from fastapi import FastAPI
from programs import until
from running_server import start
from starlette.testclient import TestClient
from websockets.sync.client import connect

from axk1.serve.database import open_database
from axk1.serve.responses.router import router
from axk1.serve.responses.store import ResponseStore

DIRECT = {"model": "tiny", "reasoning": {"effort": "none"}, "max_output_tokens": 10, "temperature": 0}


@contextlib.contextmanager
def opened(server):
    with connect(server.url.replace("http", "ws") + "/v1/responses") as connection:
        yield connection


def turn(connection, given, **fields):
    """Sends a request; returns the events of its answer."""
    connection.send(json.dumps({"type": "response.create", **DIRECT, "input": given, **fields}))
    return answer(connection)


def answer(connection):
    events = []
    while not events or events[-1]["type"] not in (
        "response.completed",
        "response.incomplete",
        "response.failed",
        "error",
    ):
        events.append(json.loads(connection.recv(timeout=60)))
    return events


def test_the_same_events_as_in_a_stream(server):
    body = {**DIRECT, "input": "예산은?", "stream": True}
    stream = httpx.post(f"{server.url}/v1/responses", json=body, timeout=100).text.splitlines()
    with opened(server) as connection:
        events = turn(connection, "예산은?")
    assert [event["type"] for event in events] == [
        line.removeprefix("event: ") for line in stream if line.startswith("event: ")
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert httpx.get(f"{server.url}/v1/responses/{events[-1]['response']['id']}").json() == events[-1]["response"]


def test_a_conversation_that_is_kept_nowhere_goes_on_while_the_connection_lasts(server):
    with opened(server) as connection:
        first = turn(connection, "하나", store=False)[-1]["response"]
        second = turn(connection, "둘", store=False, previous_response_id=first["id"])[-1]["response"]
        everything = [{"role": "user", "content": "하나"}, *first["output"], {"role": "user", "content": "둘"}]
        again = turn(connection, everything, store=False)[-1]["response"]
        assert again["output"][0]["content"] == second["output"][0]["content"]
        assert again["usage"]["input_tokens"] == second["usage"]["input_tokens"]
        kept = turn(connection, "셋", previous_response_id=again["id"])[-1]["response"]
    listed = server.client.responses.input_items.list(kept["id"], limit=100)
    assert len(listed.data) == 5  # the beginning was kept nowhere, so it is kept with the end
    with opened(server) as connection:
        for lost in (first["id"], again["id"]):
            (error,) = turn(connection, "넷", store=False, previous_response_id=lost)
            assert error["error"]["code"] == "previous_response_not_found" and error["status"] == 404
        assert turn(connection, "넷", previous_response_id=kept["id"])[-1]["response"]["status"] != "failed"


def test_a_refused_turn_forgets_what_it_went_on_from(server):
    with opened(server) as connection:
        first = turn(connection, "하나", store=False)[-1]["response"]
        lost = [{"type": "function_call_output", "call_id": "c", "output": "1"}]
        (error,) = turn(connection, lost, store=False, previous_response_id=first["id"])
        assert error["error"]["code"] == "function_call_not_found"
        (error,) = turn(connection, "둘", store=False, previous_response_id=first["id"])
        assert error["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("{", None),
        ("[]", "type"),
        ('{"type": "response.cancel"}', "type"),
        ('{"type": "response.create", "input": "a", "stream": true}', "stream"),
        ('{"type": "response.create", "input": "a", "background": false}', "background"),
        ('{"type": "response.create", "input": 5}', "input"),
        ('{"type": "response.create", "input": "a", "model": "big"}', "model"),
        (b"\xff\xfe", None),
    ],
)
def test_what_is_wrong_is_refused_and_the_connection_goes_on(server, message, param):
    with opened(server) as connection:
        connection.send(message)
        (error,) = answer(connection)
        assert set(error) == {"type", "status", "error"} and 400 <= error["status"] < 500
        assert isinstance(error["error"]["code"], str) and isinstance(error["error"]["message"], str)
        assert param is None or param in error["error"]["param"]
        assert turn(connection, "a")[-1]["response"]["output"]


def test_requests_are_answered_one_after_another(server):
    with opened(server) as connection:
        for text in ("하나", "둘", "셋"):
            connection.send(json.dumps({"type": "response.create", **DIRECT, "input": text}))
        turns = [answer(connection) for _ in range(3)]
    for events in turns:
        assert {e["response"]["id"] for e in events if "response" in e} == {events[-1]["response"]["id"]}
    assert len({events[-1]["response"]["id"] for events in turns}) == 3


def test_a_client_that_leaves_ends_the_writing(server):
    before, endless = server.service.engine.aborted, {token: -100 for token in server.llm.tokenizer.stop_ids}
    fields = {**DIRECT, "input": "a", "max_output_tokens": 400, "logit_bias": endless}
    with opened(server) as connection:
        connection.send(json.dumps({"type": "response.create", **fields}))
        connection.recv(timeout=60)
    until(lambda: server.service.engine.aborted == before + 1)
    until(server.idle)


def test_a_connection_ends_after_its_time(server, tmp_path):
    app = FastAPI()
    store = ResponseStore(open_database(f"sqlite:///{tmp_path}/axk1.db"))
    app.include_router(router(server.service, store, socket_seconds=0.2))
    with TestClient(app).websocket_connect("/v1/responses") as connection:
        error = connection.receive_json()
    assert error["error"]["code"] == "websocket_connection_limit_reached" and error["status"] == 400


def test_openai_s_own_connection(server):
    with server.client.responses.connect() as connection:
        connection.response.create(input="예산", **{k: v for k, v in DIRECT.items() if k != "temperature"})
        kinds = []
        for event in connection:
            kinds.append(event.type)
            if event.type in ("response.completed", "response.incomplete"):
                break
    assert kinds[0] == "response.created" and "response.output_text.delta" in kinds


USER = "회의는 화요일이다."


def test_a_compacted_conversation_goes_on(server):
    said = [
        {"role": "user", "content": USER},
        {"role": "assistant", "content": "네."},
        {"role": "user", "content": "요약"},
    ]
    compacted = server.client.responses.compact(model="tiny", input=said)
    kinds = [item.type for item in compacted.output]
    assert compacted.object == "response.compaction" and kinds == ["message", "message", "compaction"]
    assert compacted.output[0].content[0].text == USER
    assert compacted.usage.total_tokens == compacted.usage.input_tokens + compacted.usage.output_tokens
    window = [item.to_dict() for item in compacted.output]
    goes_on = [*window, {"role": "user", "content": "계속"}]
    answer = server.client.responses.create(input=goes_on, **DIRECT)
    bare = [*window[:2], {"role": "user", "content": "계속"}]
    assert answer.usage.input_tokens > server.client.responses.create(input=bare, **DIRECT).usage.input_tokens
    first = server.client.responses.create(input=USER, **DIRECT)
    chained = server.client.responses.compact(model="tiny", previous_response_id=first.id)
    assert [item.type for item in chained.output] == ["message", "compaction"]


def test_a_conversation_beyond_the_context_is_summarised_in_parts(server):
    turns = [{"role": role, "content": f"{n} {USER}"} for n in range(30) for role in ("user", "assistant")]
    with pytest.raises(openai.BadRequestError, match="more than fit"):
        server.client.responses.create(input=turns, **DIRECT)
    compacted = server.client.responses.compact(model="tiny", input=turns)
    assert compacted.usage.input_tokens > 512 and compacted.output[-1].type == "compaction"
    with pytest.raises(openai.BadRequestError, match="more than fit"):
        server.client.responses.compact(model="tiny", input="조" * 3000)
    until(server.idle)


def test_a_compaction_needs_a_model_and_a_conversation(server):
    for body in ({"input": "a"}, {"model": "tiny"}, {"model": "tiny", "input": "a", "temperature": 1}):
        assert httpx.post(f"{server.url}/v1/responses/compact", json=body).status_code == 400
    assert httpx.post(f"{server.url}/v1/responses/compact", json={"model": "big", "input": "a"}).status_code == 404


def test_a_pass_that_fails_ends_the_response_and_keeps_nothing(network, tokenizer):
    for running in start(network, tokenizer):
        engine = running.service.engine.engine
        with opened(running) as connection:
            first = turn(connection, "하나", store=False)[-1]["response"]
            request = {**DIRECT, "input": "둘", "max_output_tokens": 400, "previous_response_id": first["id"]}
            connection.send(json.dumps({"type": "response.create", **request}))
            json.loads(connection.recv(timeout=60))
            engine._runner._model = None  # the next pass cannot run
            last = answer(connection)[-1]
            assert last["type"] == "response.failed" and last["response"]["error"]["code"] == "engine_stopped"
            assert httpx.get(f"{running.url}/v1/responses/{last['response']['id']}").status_code == 404
            (error,) = turn(connection, "셋", store=False, previous_response_id=first["id"])
            assert error["error"]["code"] == "previous_response_not_found"
            (error,) = turn(connection, "넷")
            assert (error["status"], error["error"]["code"]) == (503, "engine_stopped")
        body = {**DIRECT, "input": "a"}
        assert httpx.post(f"{running.url}/v1/responses", json=body).status_code == 503
