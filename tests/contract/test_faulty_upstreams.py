"""Upstreams that do wrong: every fault reaches the client in OpenAI's form, and none passes for an answer."""

import json

import httpx
import pytest
from faulty_server import faulty, http, stream
from programs import until
from running_server import listening

from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.service import UpstreamService

CHAT = "/v1/chat/completions"
PIECE = '{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": null}]}'
LAST = '{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'
USAGE = '{"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}'
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "x-own": 1}, "new": True}


@pytest.fixture(scope="module")
def both():
    """A faulty server and the address of a front before it."""
    with faulty() as server:
        service = UpstreamService([Upstream(server.url, key="secret", timeout=1)])
        with listening(service) as front:
            yield server, front


@pytest.fixture
def ask(both):
    """Sets the upstream's answer and asks the front: (status, headers, body or events)."""
    server, front = both
    server.hang, server.asked[:] = False, []

    def asking(answer: bytes | None, **fields):
        server.answers[CHAT] = answer
        body = {"model": "m", "messages": [{"role": "user", "content": "good morning"}], **fields}
        got = httpx.post(front + CHAT, json=body, timeout=100)
        if "text/event-stream" not in got.headers["content-type"]:
            return got.status_code, got.headers, got.json()
        lines = [line[6:] for line in got.text.split("\n") if line.startswith("data: ")]
        assert lines.pop() == "[DONE]"
        return got.status_code, got.headers, [json.loads(line) for line in lines]

    return asking


VLLM = '{"error": {"message": "slow down", "type": "Busy", "param": null, "code": 429}}'
OLD = '{"object": "error", "message": "too long", "type": "BadRequestError", "param": "messages", "code": 400}'


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("answer", "status", "words", "code"),
    [
        (http("429 Too Many Requests", VLLM, "Retry-After: 7"), 429, "slow down", 429),
        (http("400 Bad Request", OLD), 400, "too long", 400),
        (http("422 Unprocessable", '{"detail": [{"loc": ["body"]}]}'), 422, '"loc"', None),
        (http("502 Bad Gateway", "<html>nginx</html>"), 502, "nginx", None),
        (http("500 Internal Server Error", ""), 500, "nothing", None),
        (http("307 Temporary Redirect", "", "Location: /x"), 502, "307", "upstream_bad_answer"),
        (http("401 Unauthorized", VLLM), 502, "AXK1_UPSTREAM_API_KEY", "upstream_refused_key"),
        (None, 502, "before it answered", "upstream_disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", 502, "before it answered", "upstream_disconnected"),
    ],
)
def test_errors_keep_their_status_and_form(ask, answer, status, words, code, streamed):
    got, headers, body = ask(answer, stream=streamed)
    assert got == status and set(body["error"]) == {"message", "type", "param", "code"}
    assert words in body["error"]["message"] and body["error"]["code"] == code
    assert headers.get("retry-after") == ("7" if status == 429 else None)
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http("200 OK", "{"), "not JSON"),
        (http("200 OK", "[]"), "no object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", "broke off"),
    ],
)
def test_whole_answers_that_are_none(ask, answer, words):
    status, _, body = ask(answer)
    assert status == 502 and words in body["error"]["message"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (stream(PIECE, PIECE), "broke off"),
        (stream(PIECE, '{"choices": ['), "not JSON"),
        (stream(PIECE, "[1]"), "no object"),
        (stream(PIECE, '{"error": {"message": "engine died", "code": 500}}', "[DONE]"), "engine died"),
        (http("200 OK", "{}", "Content-Type: application/json"), "broke off"),
        (stream(PIECE, "x" * 17_000_000), "longer than"),
    ],
)
def test_a_stream_that_goes_wrong_ends_with_an_error(ask, answer, words):
    status, _, events = ask(answer, stream=True)
    assert status == 200 and words in events[-1]["error"]["message"]
    assert [event["choices"][0]["delta"]["content"] for event in events[:-1]] == ["hello"] * (len(events) - 1)


def test_silence_is_given_up(both, ask):
    server, _ = both
    server.hang = True
    _, _, events = ask(stream(PIECE), stream=True)
    assert events[-1]["error"]["code"] == "upstream_timeout"
    status, _, body = ask(b"")
    assert status == 504 and body["error"]["code"] == "upstream_timeout"


def test_a_client_that_leaves_before_the_first_byte_closes_the_upstream_s_connection(both):
    server, front = both
    server.hang, server.answers[CHAT], before = True, b"", server.left
    for streamed in (False, True):
        with pytest.raises(httpx.ReadTimeout):
            body = {"messages": [{"role": "user", "content": "a"}], "stream": streamed}
            httpx.post(front + CHAT, json=body, timeout=httpx.Timeout(100, read=0.1))
    until(lambda: server.left == before + 2)


def test_usage_is_asked_for_and_told_only_to_those_who_asked(both, ask):
    answer = stream(PIECE, LAST, USAGE, "[DONE]")
    _, _, events = ask(answer, stream=True)
    assert json.loads(both[0].asked[-1][2])["stream_options"] == {"include_usage": True}
    assert len(events) == 2 and not any("usage" in event for event in events)
    _, _, events = ask(answer, stream=True, stream_options={"include_usage": True})
    assert events[-1]["usage"]["completion_tokens"] == 1 and "estimated" not in events[-1]["usage"]


def test_usage_that_the_upstream_leaves_out_is_counted_or_estimated_and_flagged(both, ask):
    server, _ = both
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    _, _, events = ask(stream(PIECE, PIECE, LAST, "[DONE]"), **fields)
    assert events[-1]["usage"]["estimated"] and events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] >= 2 and events[-1]["usage"]["prompt_tokens"] >= 1
    server.answers["/tokenize"] = http("200 OK", '{"count": 11}')
    _, _, events = ask(stream(PIECE, LAST, "[DONE]"), **fields)
    counted = {"prompt_tokens": 11, "completion_tokens": 11, "total_tokens": 22, "estimated": True}
    assert events[-1]["usage"] == counted
    _, _, body = ask(http("200 OK", '{"choices": [{"index": 0, "message": {"content": "a"}}]}'))
    assert body["usage"] == counted
    del server.answers["/tokenize"]


def test_what_is_not_known_here_is_passed_on_both_ways(both, ask):
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    fields = {"messages": [{"role": "user", "content": image}], "tools": [TOOL], "guided_regex": "a+"}
    told = {"model": "m", "choices": [{"index": 0, "message": {"reasoning": "why", "tool_calls": [1]}}], "new": [1]}
    _, _, body = ask(http("200 OK", json.dumps({**told, "usage": {"prompt_tokens": 1}})), **fields)
    path, headers, sent = both[0].asked[-1]
    assert path == CHAT and {name: json.loads(sent)[name] for name in fields} == fields
    assert headers["authorization"] == "Bearer secret" and headers["x-request-id"]
    told["choices"][0]["message"]["reasoning_content"] = "why"
    assert body == {**told, "usage": {"prompt_tokens": 1}}


def test_a_full_upstream_and_one_that_cannot_be_reached_leave_it_to_the_next():
    with faulty() as full, faulty() as free:
        full.answers[CHAT] = http("429 Too Many Requests", VLLM, "Retry-After: 7")
        free.answers[CHAT] = http("200 OK", '{"choices": [], "usage": {}}')
        with listening(UpstreamService([Upstream(each.url) for each in (full, free)])) as front:
            for _ in range(4):
                assert httpx.post(front + CHAT, json={"messages": []}).status_code == 200
            free.answers[CHAT] = http("503 Service Unavailable", VLLM)
            assert httpx.post(front + CHAT, json={"messages": []}).status_code == 429
        posted = sum(path == CHAT for path, _, _ in free.asked)
    assert posted == 5


def test_a_failure_after_work_may_have_begun_is_not_tried_again():
    with faulty() as one, faulty() as other:
        one.answers[CHAT] = other.answers[CHAT] = None
        with listening(UpstreamService([Upstream(each.url) for each in (one, other)])) as front:
            assert httpx.post(front + CHAT, json={"messages": []}).status_code == 502
        assert sum(path == CHAT for server in (one, other) for path, _, _ in server.asked) == 1
