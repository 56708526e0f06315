"""The routes under ``/v1/responses``."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, WebSocket
from starlette.requests import HTTPConnection
from starlette.responses import Response

from axk1.serve.caller import caller_of
from axk1.serve.errors import RESPONSES, ApiError
from axk1.serve.respond import respond
from axk1.serve.responses.compact import CompactReply
from axk1.serve.responses.protocol import CompactRequest, ResponseRequest
from axk1.serve.responses.reply import History, ResponseReply, no_such_response
from axk1.serve.responses.socket import LONGEST, ResponseSocket
from axk1.serve.responses.store import ResponseStore
from axk1.serve.service import ModelService


def router(service: ModelService, store: ResponseStore, *, socket_seconds: float = LONGEST) -> APIRouter:
    """A router over some models.

    Args:
        service: who answers.
        store: what is kept.
        socket_seconds: how long a WebSocket may last.
    """
    routes = APIRouter(prefix="/v1/responses", responses=RESPONSES)

    @routes.post("")
    async def create(asked: ResponseRequest, request: Request) -> Response:
        caller = caller_of(request)
        history = History(store, caller.tenant)
        opening = ResponseReply.open(service, caller, asked, history, openai_names=_is_openai(request))
        return await respond(request, opening, stream=asked.stream)

    @routes.post("/compact")
    async def compact(asked: CompactRequest, request: Request) -> Response:
        caller = caller_of(request)
        opening = CompactReply.open(service, caller, asked, History(store, caller.tenant))
        return await respond(request, opening, stream=False)

    @routes.get("/{response_id}")
    async def retrieve(response_id: str, request: Request, stream: bool = False) -> dict[str, Any]:
        if stream:
            raise ApiError("a stream cannot be read again; allowed: False", param="stream")
        found = await asyncio.to_thread(store.response, caller_of(request).tenant, response_id)
        if found is None:
            raise no_such_response(response_id)
        return found

    @routes.delete("/{response_id}")
    async def delete(response_id: str, request: Request) -> dict[str, Any]:
        if not await asyncio.to_thread(store.delete, caller_of(request).tenant, response_id):
            raise no_such_response(response_id)
        return {"id": response_id, "object": "response.deleted", "deleted": True}

    @routes.get("/{response_id}/input_items")
    async def input_items(
        response_id: str,
        request: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
    ) -> dict[str, Any]:
        tenant = caller_of(request).tenant
        items = await asyncio.to_thread(store.conversation, tenant, response_id, with_output=False)
        if items is None:
            raise no_such_response(response_id)
        return _page(items if order == "asc" else items[::-1], after, limit)

    @routes.websocket("")
    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        names = {"openai_names": _is_openai(connection)}
        await ResponseSocket(connection, service, store, **names, seconds=socket_seconds).run()

    return routes


def _page(items: list[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """OpenAI's page of a list."""
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise ApiError(f"after = {after!r} is none of the items", param="after")
    start = 0 if after is None else ids.index(after) + 1
    page = items[start : start + limit]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return {"object": "list", "data": page, **ends, "has_more": start + limit < len(items)}


def _is_openai(connection: HTTPConnection) -> bool:
    """Whether OpenAI's own client asks, which knows some events under other names than Open Responses."""
    return "openai/" in connection.headers.get("user-agent", "").lower()
