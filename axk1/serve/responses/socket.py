"""``/v1/responses`` over a WebSocket: ``response.create`` in, the events of a response out, one response at a time.

A request that is refused is answered by ``{"type": "error", "status", "error"}``, and the connection goes on; a
response that fails while it is written ends with ``response.failed``, as in a stream.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import WebSocket
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from axk1.serve.caller import caller_of
from axk1.serve.errors import ApiError, as_api_error
from axk1.serve.responses.protocol import ResponseRequest
from axk1.serve.responses.reply import History, ResponseReply
from axk1.serve.responses.store import ResponseStore
from axk1.serve.service import ModelService

LONGEST = 3600.0
"""Seconds that a connection may last."""
_MOST_WAITING = 16
"""Requests that wait behind the one that is being answered; whoever sends more waits too."""
_OVER = "websocket_connection_limit_reached"
_HTTP_ONLY = ("stream", "stream_options", "background")
"""Fields that have no meaning on a WebSocket."""


class ResponseSocket:
    """One connection."""

    def __init__(
        self, socket: WebSocket, service: ModelService, store: ResponseStore, *, openai_names: bool, seconds: float
    ) -> None:
        """Args: socket: accepted; service, store: who answers and what is kept; openai_names: as in ``Writer``;
        seconds: how long the connection may last."""
        self._socket, self._service, self._openai_names = socket, service, openai_names
        self._caller = caller_of(socket)
        self._history = History(store, self._caller.tenant)
        self._ends = time.monotonic() + seconds
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue(_MOST_WAITING)

    async def run(self) -> None:
        """Answers until the client leaves or the time is over; what is being written ends then."""
        work = asyncio.ensure_future(self._answer_all())
        reader = asyncio.ensure_future(self._read())
        try:
            await asyncio.wait((work, reader), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                with contextlib.suppress(WebSocketDisconnect):
                    work.result()
        finally:
            for task in (work, reader):
                task.cancel()
            await asyncio.gather(work, reader, return_exceptions=True)

    async def _read(self) -> None:
        """Takes messages in, so that it is known at once when the client has left."""
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._inbox.put(message.get("text") or (message.get("bytes") or b"").decode(errors="replace"))

    async def _answer_all(self) -> None:
        while True:
            try:
                message = await asyncio.wait_for(self._inbox.get(), self._ends - time.monotonic())
            except TimeoutError:
                limit = ApiError(
                    "the connection has lasted its time; open a new one", code="websocket_connection_limit_reached"
                )
                await self._refuse(limit)
                await self._socket.close()
                return
            await self._answer(message)

    async def _answer(self, message: str) -> None:
        """Answers one request."""
        asked = None
        try:
            asked = _parsed(message)
            reply = await ResponseReply.open(
                self._service, self._caller, asked, self._history, openai_names=self._openai_names
            )
        except Exception as error:
            self._history.evict(asked and asked.previous_response_id)
            await self._refuse(as_api_error(error))
            return
        try:
            async for event in _without_errors(reply.chunks()):
                if event["type"] == "response.failed":
                    self._history.evict(asked.previous_response_id)
                await self._send(event)
        finally:
            reply.close()

    async def _refuse(self, error: ApiError) -> None:
        body = error.body()["error"]
        body["code"] = body["code"] or body["type"]
        await self._send({"type": "error", "status": error.status, "error": body})

    async def _send(self, event: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(event, ensure_ascii=False))


def _parsed(message: str) -> ResponseRequest:
    """A message -> the request in it. Raises ApiError or RequestValidationError."""
    try:
        event = json.loads(message)
    except ValueError as error:
        raise ApiError(f"the message is not JSON: {error}", code="invalid_json") from None
    if not isinstance(event, dict) or event.get("type") != "response.create":
        raise ApiError("the message is not an object with type = 'response.create'", param="type")
    for name in _HTTP_ONLY:
        if name in event:
            raise ApiError(f"{name} is for HTTP only; leave it out", param=name, code="unsupported_parameter")
    try:
        return ResponseRequest.model_validate({name: value for name, value in event.items() if name != "type"})
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None


async def _without_errors(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream but for ``error``, which would end the turn here before ``response.failed`` does."""
    async for event in events:
        if event["type"] != "error":
            yield event
