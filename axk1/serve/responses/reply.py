"""``ResponseReply``: one request to ``/v1/responses``, from its items over a chat to a response that is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from axk1.core.errors import AXK1Error
from axk1.serve.caller import Caller
from axk1.serve.errors import ApiError, as_api_error
from axk1.serve.protocol import ChatRequest
from axk1.serve.responses.events import Event, Writer
from axk1.serve.responses.items import (
    Item,
    count_turns,
    messages,
    normalised,
    require_calls,
    without_oldest,
)
from axk1.serve.responses.protocol import ENCRYPTED_REASONING, ResponseRequest
from axk1.serve.responses.store import ResponseStore
from axk1.serve.service import ModelService, Reply


def no_such_response(response_id: str, param: str | None = None) -> ApiError:
    """The answer where a tenant has no such response, whether or not another has."""
    code = "previous_response_not_found" if param == "previous_response_id" else "response_not_found"
    return ApiError(f"there is no response {response_id!r}", status=404, param=param, code=code)


class History:
    """Where earlier conversations are: the database, and for a WebSocket the last one in memory, kept or not."""

    def __init__(self, store: ResponseStore, tenant: str) -> None:
        """Args: store: the responses that are kept; tenant: whose are found."""
        self._store, self._tenant = store, tenant
        self._last: tuple[str, list[Item], bool] | None = None

    async def find(self, response_id: str | None) -> tuple[list[Item], str | None]:
        """A conversation up to some response, and that response's id where it is kept. Raises ApiError, 404."""
        if response_id is None:
            return [], None
        if self._last is not None and self._last[0] == response_id:
            return list(self._last[1]), response_id if self._last[2] else None
        found = await asyncio.to_thread(self._store.conversation, self._tenant, response_id)
        if found is None:
            raise no_such_response(response_id, "previous_response_id")
        return found, response_id

    async def keep(self, response: dict[str, Any], before: list[Item], given: list[Item], parent: str | None) -> None:
        """Keeps a response in the database if it asks for that.

        Args: before: the conversation up to its input; given: its input; parent: the kept response before it.
        """
        if response["store"]:
            fresh = given if parent is not None else [*before, *given]
            await asyncio.to_thread(self._store.save, self._tenant, response, fresh, parent)

    def remember(self, response: dict[str, Any], conversation: list[Item]) -> None:
        """Holds a conversation, which ends with this response, in memory."""
        self._last = (response["id"], conversation + response["output"], response["store"])

    def evict(self, response_id: str | None) -> None:
        """Lets go of a conversation in memory."""
        if self._last is not None and self._last[0] == response_id:
            self._last = None


async def open_chat(service: ModelService, fields: dict[str, Any], caller: Caller) -> Reply:
    """Asks for a chat. Raises what is wrong with it in OpenAI's form."""
    try:
        asked = ChatRequest.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None
    return await service.chat(asked, caller)


class ResponseReply:
    """A ``Reply`` whose chunks are the events of a response. Make one with ``open``."""

    def __init__(self, chat: Reply, writer: Writer, keep: Callable[[dict[str, Any]], Any]) -> None:
        self._chat, self._writer, self._keep = chat, writer, keep
        self.headers: Mapping[str, str] = chat.headers

    @classmethod
    async def open(
        cls, service: ModelService, caller: Caller, asked: ResponseRequest, history: History, *, openai_names: bool
    ) -> "ResponseReply":
        """Begins to answer.

        Args:
            service: who answers.
            caller: on whose behalf.
            asked: the request.
            history: where its earlier conversation is and its answer goes.
            openai_names: as in ``Writer``.

        Raises:
            ApiError, AXK1Error, RequestValidationError: it cannot be answered; nothing has begun.
        """
        before, parent = await history.find(asked.previous_response_id)
        given = normalised(asked.input)
        conversation = before + given
        if not given:
            raise ApiError("input is empty", param="input")
        require_calls(conversation)
        chat = await _open_fitting(service, caller, asked, conversation)
        seals = ENCRYPTED_REASONING in asked.include
        resource = {**asked.resource(), "model": asked.model or ""}
        writer = Writer(resource, seals_reasoning=seals, openai_names=openai_names)

        async def keep(response: dict[str, Any]) -> None:
            await history.keep(response, before, given, parent)
            history.remember(response, conversation)

        return cls(chat, writer, keep)

    async def whole(self) -> dict[str, Any]:
        self._writer.begin()
        async for chunk in self._chat.chunks():
            for _ in self._writer.add(chunk):
                pass
        for _ in self._writer.end(self.usage()):
            pass
        await self._keep(self._writer.response)
        return self._writer.response

    async def chunks(self) -> AsyncIterator[Event]:
        try:
            for event in self._writer.begin():
                yield event
            async for chunk in self._chat.chunks():
                for event in self._writer.add(chunk):
                    yield event
            for event in self._writer.end(self.usage()):
                yield event
            await self._keep(self._writer.response)
            yield self._writer.last()
        except Exception as error:  # the status has left already: the failure is the end of the stream
            for event in self._writer.fail(as_api_error(error)):
                yield event

    def usage(self) -> dict[str, Any]:
        return self._chat.usage()

    def close(self) -> None:
        self._chat.close()


async def _open_fitting(service: ModelService, caller: Caller, asked: ResponseRequest, items: list[Item]) -> Reply:
    """Asks for a chat; where that is allowed, without as many of the oldest turns as do not fit."""
    dropped, most = 0, count_turns(items) - 1 if asked.truncation == "auto" else 0
    while True:
        kept = without_oldest(items, dropped)
        try:
            fields = {**asked.for_chat(), "messages": messages(kept, asked.instructions)}
            return await open_chat(service, fields, caller)
        except (ApiError, AXK1Error) as error:
            if dropped >= most or as_api_error(error).code != "context_length_exceeded":
                raise
            dropped = min(max(1, 2 * dropped), most)
