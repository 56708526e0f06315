"""``Visit``: one request at one upstream, from being sent to being closed."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx

from axk1.serve.errors import ApiError
from axk1.serve.upstream.events import EventTooLong, event_data
from axk1.serve.upstream.failures import NotBegun, bad_answer, broke_off, from_transport, told_error
from axk1.serve.upstream.metrics import FrontMetrics
from axk1.serve.upstream.pool import Pool
from axk1.serve.upstream.server import Upstream

_LEFT = "left"
_END_SECONDS = 1.0


class Visit:
    """A request that an upstream has begun to answer. Whoever gets one reads it once and closes it.

    Attributes:
        upstream: who answers.
    """

    def __init__(self, upstream: Upstream, model: str, route: str, metrics: FrontMetrics) -> None:
        """Args: model: what the request calls the model; route: the last part of the path."""
        self.upstream, self._model, self._route, self._metrics = upstream, model, route, metrics
        self._theirs = upstream.names.get(model, model)
        self._response: httpx.Response | None = None
        self._status, self._sent, self._closed = _LEFT, time.monotonic(), False
        upstream.in_flight += 1

    @classmethod
    async def open(
        cls, pool: Pool, metrics: FrontMetrics, path: str, body: dict[str, Any], *, request_id: str
    ) -> "Visit":
        """Sends a request to the least busy upstream that has the model; to the next where one does not begin.

        Args:
            path: under ``/v1``, or beside it where it starts with a slash.
            body: what is sent, with the name by which requests call the model.

        Raises:
            ApiError: none has the model, or none answers it, or one answers with an error.
        """
        model = pool.model(body.get("model"))
        refusals: list[NotBegun] = []
        for upstream in pool.candidates(model):
            if refusals:
                metrics.retried(upstream)
            visit = cls(upstream, model, path.rpartition("/")[2], metrics)
            try:
                return await visit._begin(path, body, request_id)
            except NotBegun as error:
                refusals.append(error)
        raise min(refusals, key=lambda error: error.status)  # "come again" (429) says more than "not there" (503)

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece. Raises ApiError where it breaks off or is not JSON."""
        assert self._response is not None
        try:
            value = json.loads(await self._response.aread())
        except httpx.HTTPError as error:
            raise self._failed(from_transport(self.upstream.url, error, begun=True)) from error
        except ValueError as error:
            raise self._failed(bad_answer(self.upstream.url, "answered what is not JSON")) from error
        if not isinstance(value, dict):
            raise self._failed(bad_answer(self.upstream.url, "answered JSON that is no object"))
        self._status = "200"
        return self._named(value)

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """The answer as it is written. Raises ApiError where it is not what OpenAI sends, or has no end."""
        assert self._response is not None
        where = self.upstream.url
        try:
            events = event_data(self._response.aiter_bytes())
            async for data in events:
                if data == b"[DONE]":
                    self._status = "200"
                    await _read_to_the_end(events)
                    return
                yield self._chunk(data)
        except httpx.HTTPError as error:
            raise self._failed(from_transport(where, error, begun=True)) from error
        except EventTooLong as error:
            raise self._failed(bad_answer(where, f"sent {error}")) from error
        raise self._failed(broke_off(where))

    def close(self) -> None:
        """Ends the upstream's work on the request. May be called more than once."""
        if self._closed:
            return
        self._closed = True
        self.upstream.in_flight -= 1
        if self._response is not None:
            self.upstream.close_soon(self._response)
        self._metrics.ended(self.upstream, self._route, self._status, time.monotonic() - self._sent)

    async def _begin(self, path: str, body: dict[str, Any], request_id: str) -> "Visit":
        try:
            self._response = await self.upstream.send(path, {**body, "model": self._theirs}, request_id)
        except ApiError as error:
            self._failed(error)
            raise
        finally:
            if self._response is None:
                self.close()
        self._metrics.begun(self.upstream, self._route, time.monotonic() - self._sent)
        return self

    def _chunk(self, data: bytes) -> dict[str, Any]:
        try:
            chunk = json.loads(data)
        except ValueError as error:
            raise self._failed(bad_answer(self.upstream.url, "sent an event that is not JSON")) from error
        if not isinstance(chunk, dict):
            raise self._failed(bad_answer(self.upstream.url, "sent an event that is no object"))
        told = told_error(chunk) if "choices" not in chunk else None
        if told is not None:
            code, param, kind = told.get("code"), told.get("param"), told.get("type")
            raise self._failed(ApiError(told["message"], status=502, param=param, code=code, kind=kind))
        return self._named(chunk)

    def _named(self, value: dict[str, Any]) -> dict[str, Any]:
        if value.get("model") == self._theirs:
            value["model"] = self._model
        return value

    def _failed(self, error: ApiError) -> ApiError:
        self._status = str(error.status)
        return error


async def _read_to_the_end(events: AsyncIterator[bytes]) -> None:
    """Lets a finished body end, so that its connection can serve again; one that does not end is closed."""
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            async for _ in events:
                pass
