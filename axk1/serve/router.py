"""The routes of one model: OpenAI's under ``/v1``, and those that vLLM's users know beside them."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from axk1.core.config import require
from axk1.serve.chat import create_chat_completion
from axk1.serve.completions import create_completion
from axk1.serve.errors import ApiError
from axk1.serve.logprobs import token_text
from axk1.serve.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeChatRequest,
    TokenizeRequest,
)
from axk1.serve.service import ModelService


def router(service: ModelService) -> APIRouter:
    """A router over one model; the application starts and stops ``service.engine``."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions")
    async def chat_completions(asked: ChatRequest, request: Request) -> Response:
        return await create_chat_completion(service, asked, request)

    @routes.post("/v1/completions")
    async def completions(asked: CompletionRequest, request: Request) -> Response:
        return await create_completion(service, asked, request)

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_card(service)]}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        service.require_model(name)
        return _card(service)

    @routes.post("/tokenize")
    async def tokenize(asked: TokenizeChatRequest | TokenizeRequest) -> dict[str, Any]:
        service.require_model(asked.model)
        tokens = await asyncio.to_thread(_tokens, service, asked)
        texts = [token_text(service.tokenizer, token) for token in tokens] if asked.return_token_strs else None
        length = service.engine.engine.max_model_len
        return {"count": len(tokens), "max_model_len": length, "tokens": tokens, "token_strs": texts}

    @routes.post("/detokenize")
    async def detokenize(asked: DetokenizeRequest) -> dict[str, str]:
        service.require_model(asked.model)
        size = service.tokenizer.vocab_size
        wrong = next((token for token in asked.tokens if not 0 <= token < size), None)
        require(wrong is None, "tokens", wrong, f"0 to {size - 1}")
        return {"prompt": await asyncio.to_thread(service.tokenizer.decode, asked.tokens)}

    @routes.get("/health")
    async def health() -> dict[str, str]:
        if service.engine.error is not None:
            raise ApiError("a pass of the engine failed; start the server again", status=503, code="engine_stopped")
        return {"status": "ok"}

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def _card(service: ModelService) -> dict[str, Any]:
    return {
        "id": service.name,
        "object": "model",
        "created": service.created,
        "owned_by": "axk1",
        "max_model_len": service.engine.engine.max_model_len,
    }


def _tokens(service: ModelService, asked: TokenizeChatRequest | TokenizeRequest) -> list[int]:
    if isinstance(asked, TokenizeRequest):
        return service.tokenizer.encode(asked.prompt)
    options = {"enable_thinking": asked.chat_template_kwargs.enable_thinking}
    return service.tokenizer.encode_chat(
        asked.messages, add_generation_prompt=asked.add_generation_prompt, **options
    ).ids
