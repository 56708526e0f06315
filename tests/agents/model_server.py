"""A model of a few rules behind OpenAI's API, over real HTTP: what it says follows from the conversation alone."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Messages = Sequence[dict[str, Any]]
Turn = str | Sequence[tuple[str, dict[str, Any]]]
"""An answer, or calls of tools with their arguments."""


@contextmanager
def serving(rules: Callable[[Messages, dict[str, Any]], Turn]) -> Iterator[str]:
    """The address of a model whose turn is ``rules(messages, request)``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"object": "list", "data": [{"id": "rules", "object": "model"}]})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(as_completion(rules(request["messages"], request)))

        def _answer(self, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def as_completion(turn: Turn) -> dict[str, Any]:
    """A turn as the JSON of ``/v1/chat/completions``."""
    message: dict[str, Any] = {"role": "assistant", "content": turn if isinstance(turn, str) else ""}
    if not isinstance(turn, str):
        message["tool_calls"] = [
            {"id": "call_0", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for name, arguments in turn
        ]
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def results(messages: Messages) -> list[str]:
    """What the tools said so far."""
    return [message["content"] for message in messages if message["role"] == "tool"]


def turns(messages: Messages) -> int:
    """Turns that the model has taken."""
    return sum(message["role"] == "assistant" for message in messages)


def said(messages: Messages) -> list[str]:
    """What the person said so far."""
    return [message["content"] for message in messages if message["role"] == "user"]
