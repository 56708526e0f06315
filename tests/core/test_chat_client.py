"""The client of any server of OpenAI's API, against a real server process that answers as it is told."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from axk1.core.chat_client import ChatClient
from axk1.core.chat_model import ChatReply, ToolCall
from axk1.core.errors import AXK1Error

QUESTION = [{"role": "user", "content": "안녕"}]


@contextmanager
def server(*answers: tuple[int, dict, object]) -> Iterator[tuple[str, list[dict]]]:
    """Answers requests to /chat/completions with (status, headers, body) one after another; gives its address and what
    it was sent."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send(200, {}, {"data": [{"id": "first"}, {"id": "second"}]})

        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._send(*left.pop(0))

        def _send(self, status, headers, body):
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", asked
    finally:
        running.shutdown()
        running.server_close()


def ask(url: str, **options) -> ChatReply:
    async def once() -> ChatReply:
        async with ChatClient(url) as client:
            return await client.chat(QUESTION, **options)

    return asyncio.run(once())


def reply(**message) -> dict:
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}


def test_what_is_asked_and_answered():
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    with server((200, {}, reply(content=None, tool_calls=[call], reasoning_content="so"))) as (url, asked):
        answer = ask(url, tools=tools, tool_choice="required", max_tokens=7, seed=5)
    assert answer == ChatReply("", (ToolCall("c1", "add", {"a": 1}),), "so", prompt_tokens=3)
    assert json.loads(answer.message()["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    (sent,) = asked
    assert sent["model"] == "first" and sent["messages"] == QUESTION and sent["tools"] == tools
    assert (sent["max_tokens"], sent["seed"], sent["tool_choice"]) == (7, 5, "required")


def test_a_busy_server_is_asked_again_after_what_it_says():
    busy = (429, {"Retry-After": "0.01"}, {"error": {"message": "full"}})
    with server(busy, (503, {"Retry-After": "0.01"}, b""), (200, {}, reply(content="여기"))) as (url, asked):
        assert ask(url).content == "여기"
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {}, {"error": {"message": "max_tokens = 0; allowed: 1 or more"}}), "max_tokens = 0"),
        ((200, {}, b"<html>"), "no JSON"),
        ((200, {}, {"choices": []}), "another form"),
        ((200, {}, reply(tool_calls=[{"function": {"name": "f", "arguments": "{"}}])), "arguments that are no JSON"),
        ((200, {}, reply(tool_calls=[{"function": {"name": "f", "arguments": "[1]"}}])), "no JSON object"),
    ],
)
def test_what_cannot_be_used_says_why(answer, said):
    with server(answer) as (url, asked), pytest.raises(AXK1Error, match=said):
        ask(url)
    assert len(asked) == 1


def test_nobody_there(monkeypatch):
    monkeypatch.setattr("axk1.core.asking._FIRST_WAIT", 0.001)
    with server() as (url, _):
        pass
    with pytest.raises(AXK1Error, match="did not answer in 5 attempts") as raised:
        ask(url)
    assert "axk1 serve" in raised.value.repair
