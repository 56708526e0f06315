"""A reply -> an HTTP answer, whole or as server-sent events, that ends when the client leaves."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from axk1.serve.errors import as_api_error
from axk1.serve.service import Reply

T = TypeVar("T")
_KEEP_ALIVE = 15.0
"""Seconds of silence after which a stream sends a comment, so that nobody between takes it for dead."""
_MOST_UNSENT = 64
"""Events that wait for a client that reads slowly, before nothing more is made for it."""
_DONE = b"data: [DONE]\n\n"
_json = json.JSONEncoder(ensure_ascii=False).encode
_GONE = 499
"""Status in the log for a client that left; nobody receives it."""


async def respond(request: Request, opening: Coroutine[Any, Any, Reply], *, stream: bool) -> Response:
    """The answer to a request. The reply is closed when it has been sent, or when the client has left before."""
    reply = await _unless_gone(opening, request.receive)
    if reply is None:
        return Response(status_code=_GONE)
    if stream:
        return EventStream(reply)
    try:
        body = await _unless_gone(reply.whole(), request.receive, reply.close)
    finally:
        reply.close()
    return Response(status_code=_GONE) if body is None else JSONResponse(body, headers=dict(reply.headers))


class EventStream(Response):
    """The chunks of a reply as server-sent events, the last of which is ``[DONE]``.

    Events that are ready together leave in one write, such as the tokens of a step that drafted some.
    """

    media_type = "text/event-stream"

    def __init__(self, reply: Reply) -> None:
        """Args: reply: closed at the end, even of a stream that never began."""
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **reply.headers})
        del self.headers["Content-Length"]  # nobody knows it yet
        self._reply = reply
        self._ready: asyncio.Queue[bytes] = asyncio.Queue(_MOST_UNSENT)
        self._last_write = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _unless_gone(self._write_all(send), receive, self._reply.close)
        finally:
            self._reply.close()

    async def _write_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        helpers = [asyncio.ensure_future(work) for work in (self._read(), self._break_silence())]
        try:
            events = [b""]
            while events[-1] != _DONE:
                events = [await self._ready.get()]
                while not self._ready.empty():
                    events.append(self._ready.get_nowait())
                self._last_write = time.monotonic()
                await send({"type": "http.response.body", "body": b"".join(events), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _read(self) -> None:
        """Makes events as the reply goes on; waits where the client is slow."""
        try:
            async for chunk in self._reply.chunks():
                await self._ready.put(_event(chunk))
        except Exception as error:  # the status has left already: the error is the last event
            await self._ready.put(f"data: {json.dumps(as_api_error(error).body())}\n\n".encode())
        await self._ready.put(_DONE)

    async def _break_silence(self) -> None:
        """Adds a comment whenever nothing came for a while."""
        self._last_write = time.monotonic()
        while True:
            await asyncio.sleep(self._last_write + _KEEP_ALIVE - time.monotonic())
            if self._last_write + _KEEP_ALIVE <= time.monotonic() and self._ready.empty():
                await self._ready.put(b": keep-alive\n\n")
                self._last_write = time.monotonic()


async def _unless_gone(
    work: Coroutine[Any, Any, T], receive: Receive, leave: Callable[[], None] = lambda: None
) -> T | None:
    """The result of some work, which is cancelled, and None, as soon as the client has left.

    Args: leave: called as the first thing then, so that the engine makes no further step for nobody.
    """
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive, leave))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, left):
            each.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _disconnected(receive: Receive, leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()


def _event(chunk: dict[str, Any]) -> bytes:
    """A chunk as an event, under its name where it has one."""
    name = f"event: {chunk['type']}\n" if "type" in chunk else ""
    return f"{name}data: {_json(chunk)}\n\n".encode()
