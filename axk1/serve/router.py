"""The routes: OpenAI's under ``/v1``, and those that vLLM's users know beside them."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from axk1.serve.caller import caller_of
from axk1.serve.errors import RESPONSES, no_such_model
from axk1.serve.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    TokenizeChatRequest,
    TokenizeRequest,
)
from axk1.serve.respond import respond
from axk1.serve.service import ModelService

_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "The answer, or with stream = true its chunks"}
}
"""What routes that can stream answer, for the page that describes them."""


def router(service: ModelService) -> APIRouter:
    """A router over some models; the application starts and stops the service."""
    routes = APIRouter(responses=RESPONSES)

    @routes.post("/v1/chat/completions", responses=_STREAMED)
    async def chat_completions(asked: ChatRequest, request: Request) -> Response:
        return await respond(request, service.chat(asked, caller_of(request)), stream=asked.stream)

    @routes.post("/v1/completions", responses=_STREAMED)
    async def completions(asked: CompletionRequest, request: Request) -> Response:
        return await respond(request, service.complete(asked, caller_of(request)), stream=asked.stream)

    @routes.post("/v1/embeddings")
    async def embeddings(asked: EmbeddingRequest, request: Request) -> Response:
        return await respond(request, service.embed(asked, caller_of(request)), stream=False)

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": await service.models()}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        cards = {card["id"]: card for card in await service.models()}
        if name not in cards:
            raise no_such_model(name, cards)
        return cards[name]

    @routes.post("/tokenize")
    async def tokenize(asked: TokenizeChatRequest | TokenizeRequest) -> dict[str, Any]:
        return await service.tokenize(asked)

    @routes.post("/detokenize")
    async def detokenize(asked: DetokenizeRequest) -> dict[str, Any]:
        return await service.detokenize(asked)

    @routes.get("/health")
    async def health() -> dict[str, str]:
        await service.check_health()
        return {"status": "ok"}

    @routes.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
