"""``ModelService``: what the routes need of whoever answers, an engine here or a server elsewhere."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from axk1.serve.caller import Caller
from axk1.serve.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    TokenizeChatRequest,
    TokenizeRequest,
)


class Reply(Protocol):
    """A request that is being answered. Whoever gets one reads ``whole`` or ``chunks``, once, and closes it."""

    headers: Mapping[str, str]
    """Headers of the HTTP answer."""

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece, as OpenAI writes it."""
        ...

    def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """The answer as it is written, in OpenAI's chunks."""
        ...

    def usage(self) -> dict[str, Any]:
        """OpenAI's count of the tokens so far; right at any moment, after ``close`` too."""
        ...

    def close(self) -> None:
        """Ends what is still being written. May be called more than once."""
        ...


class ModelService(Protocol):
    """Some models under their names. What it refuses, it raises as an ApiError or AXK1Error before any work."""

    async def start(self) -> None:
        """Begins to take requests, in the event loop of the caller."""
        ...

    async def stop(self) -> None:
        """Ends what is still being written."""
        ...

    async def models(self) -> list[dict[str, Any]]:
        """OpenAI's cards of the models, with vLLM's ``max_model_len`` where it is known."""
        ...

    async def chat(self, asked: ChatRequest, caller: Caller) -> Reply:
        """Answers a conversation."""
        ...

    async def complete(self, asked: CompletionRequest, caller: Caller) -> Reply:
        """Continues texts."""
        ...

    async def embed(self, asked: EmbeddingRequest, caller: Caller) -> Reply:
        """Texts -> vectors."""
        ...

    async def tokenize(self, asked: TokenizeRequest | TokenizeChatRequest) -> dict[str, Any]:
        """A text or conversation -> token ids, as vLLM answers."""
        ...

    async def detokenize(self, asked: DetokenizeRequest) -> dict[str, Any]:
        """Token ids -> text, as vLLM answers."""
        ...

    async def check_health(self) -> None:
        """Raises ApiError with status 503 where requests cannot be answered."""
        ...

    def metrics(self) -> bytes:
        """The numbers, as Prometheus reads them."""
        ...
