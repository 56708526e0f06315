"""A reply -> an HTTP answer, whole or as server-sent events, that ends when the client leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from axk1.serve.errors import as_api_error
from axk1.serve.service import Reply

T = TypeVar("T")
_KEEP_ALIVE = 15.0
"""Seconds of silence after which a stream sends a comment, so that nobody between takes it for dead."""
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
        body = await _unless_gone(reply.whole(), request.receive)
    finally:
        reply.close()
    return Response(status_code=_GONE) if body is None else JSONResponse(body, headers=dict(reply.headers))


class EventStream(StreamingResponse):
    """The chunks of a reply as server-sent events, the last of which is ``[DONE]``."""

    def __init__(self, reply: Reply) -> None:
        """Args: reply: closed at the end, even of a stream that never began."""
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **reply.headers}
        super().__init__(_events(reply.chunks()), media_type="text/event-stream", headers=headers)
        self._close = reply.close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _unless_gone(self.stream_response(send), receive)
        finally:
            self._close()


async def _unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """The result of some work, which is cancelled, and None, as soon as the client has left."""
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, left):
            each.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _events(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    try:
        async for chunk in _with_silence(chunks):
            yield ": keep-alive\n\n" if chunk is None else _event(chunk)
    except Exception as error:  # the status has left already: the error is the last event
        yield f"data: {json.dumps(as_api_error(error).body())}\n\n"
    yield "data: [DONE]\n\n"


def _event(chunk: dict[str, Any]) -> str:
    """A chunk as an event, under its name where it has one."""
    name = f"event: {chunk['type']}\n" if "type" in chunk else ""
    return f"{name}data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


async def _with_silence(items: AsyncIterator[T]) -> AsyncIterator[T | None]:
    """The items, and None whenever nothing came for a while."""
    upcoming: asyncio.Future[T] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(items))
            done, _ = await asyncio.wait((upcoming,), timeout=_KEEP_ALIVE)
            if not done:
                yield None
                continue
            finished, upcoming = upcoming, None
            try:
                item = finished.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if upcoming is not None:
            upcoming.cancel()
