"""A server of OpenAI's API that does wrong what it is told to: real ones cannot be made to. It speaks raw HTTP/1.1."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def http(status: str, body: str | bytes, *headers: str) -> bytes:
    """A whole answer."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def stream(*events: str) -> bytes:
    """A stream whose length nobody knows; it ends when the connection does."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return head + "".join(f"data: {event}\n\n" for event in events).encode()


class Faulty:
    """What the server answers, and what it was asked.

    Attributes:
        answers: path -> bytes of the HTTP answer; ``None`` closes the connection without one.
        hang: whether the connection stays open after the answer.
        asked: (path, headers in lower case, body) of every request.
        left: connections that the client closed while they hung.
    """

    def __init__(self) -> None:
        models = {"data": [{"id": "m", "object": "model"}]}
        self.answers: dict[str, bytes | None] = {
            "/v1/models": http("200 OK", json.dumps(models)),
            "/health": http("404 Not Found", ""),
        }
        self.hang = False
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.left = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = head[0].split()[1]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.asked.append((path, headers, body))
        writer.write(self.answers.get(path, http("404 Not Found", '{"detail": "Not Found"}')) or b"")
        await writer.drain()
        if self.hang and path.endswith("completions"):
            await reader.read()
            self.left += 1
        writer.close()


@contextmanager
def faulty() -> Iterator[Faulty]:
    """A running faulty server."""
    server, loop = Faulty(), asyncio.new_event_loop()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(server.answer, "127.0.0.1", 0)

    listener = loop.run_until_complete(listen())
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listener.close()
