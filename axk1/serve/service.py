"""``ModelService``: one model behind the API, and what all its routes need."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from axk1.engine.async_engine import AsyncEngine, Stream
from axk1.engine.llm_engine import LLMEngine
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.sequence import Sequence
from axk1.serve.errors import ApiError, as_api_error
from axk1.serve.metrics import Metrics

T = TypeVar("T")
_KEEP_ALIVE = 15.0
"""Seconds of silence after which a stream sends a comment, so that nobody between takes it for dead."""
_GONE = 499
"""Status in the log for a client that left; nobody receives it."""


class ModelService:
    """A model under its name.

    Attributes:
        name: what requests call it.
        engine: runs it.
        tokenizer: its tokenizer.
        metrics: what is counted of it.
        created: when it was opened, in seconds since 1970.
    """

    def __init__(self, engine: LLMEngine, name: str, *, max_waiting: int = 256) -> None:
        """Args: max_waiting: most texts that wait; more are refused."""
        self.name, self.tokenizer, self.created = name, engine.tokenizer, int(time.time())
        self.metrics = Metrics(name)
        self.engine = AsyncEngine(engine, max_waiting=max_waiting, observe=self.metrics.observe)
        self.metrics.watch(self.engine)

    def require_model(self, name: str | None) -> None:
        """Raises ApiError for a request that names another model; one that names none is content with this."""
        if name not in (None, self.name):
            raise ApiError(
                f"the model {name!r} does not exist; there is {self.name!r}",
                status=404, param="model", code="model_not_found",
            )  # fmt: skip

    def submit(self, prompts: list[list[int]], params: SamplingParams) -> Stream:
        """Queues prompts; see ``AsyncEngine.submit``."""
        return self.engine.submit(prompts, params)


def usage(sequences: list[Sequence], *, reasoning_tokens: int | None = None) -> dict[str, Any]:
    """OpenAI's count of tokens; a prompt with several texts counts once."""
    prompts = {sequence.request_id: sequence for sequence in sequences}
    prompt = sum(sequence.num_prompt_tokens for sequence in prompts.values())
    completion = sum(sequence.num_output_tokens for sequence in sequences)
    count: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(s.num_cached_tokens or 0 for s in prompts.values())},
    }
    if reasoning_tokens is not None:
        count["completion_tokens_details"] = {"reasoning_tokens": reasoning_tokens}
    return count


async def answer(request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> Response:
    """The JSON of some work, which ends early when the client leaves."""
    body = await _unless_gone(work, request.receive)
    return Response(status_code=_GONE) if body is None else JSONResponse(body)


class EventStream(StreamingResponse):
    """Chunks as server-sent events, the last of which is ``[DONE]``."""

    def __init__(self, chunks: AsyncIterator[dict[str, Any]], close: Callable[[], None]) -> None:
        """Args: chunks: the events; close: called at the end, even of a stream that never began."""
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_events(chunks), media_type="text/event-stream", headers=headers)
        self._close = close

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
            yield ": keep-alive\n\n" if chunk is None else f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
    except Exception as error:  # the status has left already: the error is the last event
        yield f"data: {json.dumps(as_api_error(error).body())}\n\n"
    yield "data: [DONE]\n\n"


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
