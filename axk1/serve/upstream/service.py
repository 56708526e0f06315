"""``UpstreamService``: the models' service that passes requests on to servers elsewhere."""

import asyncio
import collections
from collections.abc import Sequence
from typing import Any

from axk1.serve.caller import Caller
from axk1.serve.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    TokenizeChatRequest,
    TokenizeRequest,
)
from axk1.serve.upstream.counting import TokenRates
from axk1.serve.upstream.failures import in_trouble
from axk1.serve.upstream.metrics import FrontMetrics
from axk1.serve.upstream.pool import Pool
from axk1.serve.upstream.reply import Answered, UpstreamReply
from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.visit import Visit


class UpstreamService:
    """A ``ModelService`` of whatever some servers of OpenAI's API have.

    What they support is theirs to say: fields that this server does not know are passed on.

    Attributes:
        pool: the servers.
    """

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        """Args: upstreams: one or more; requests go to the least busy that has their model."""
        self.pool = Pool(upstreams)
        self._metrics = FrontMetrics(upstreams)
        self._rates: dict[str, TokenRates] = collections.defaultdict(TokenRates)

    async def start(self) -> None:
        await self.pool.start()

    async def stop(self) -> None:
        await self.pool.stop()

    async def models(self) -> list[dict[str, Any]]:
        return self.pool.cards()

    async def chat(self, asked: ChatRequest, caller: Caller) -> UpstreamReply:
        return await self._reply("chat/completions", asked, caller)

    async def complete(self, asked: CompletionRequest, caller: Caller) -> UpstreamReply:
        return await self._reply("completions", asked, caller)

    async def embed(self, asked: EmbeddingRequest, caller: Caller) -> UpstreamReply:
        return await self._reply("embeddings", asked, caller)

    async def tokenize(self, asked: TokenizeRequest | TokenizeChatRequest) -> dict[str, Any]:
        return await self._ask("/tokenize", asked.sent())

    async def detokenize(self, asked: DetokenizeRequest) -> dict[str, Any]:
        return await self._ask("/detokenize", asked.sent())

    async def check_health(self) -> None:
        troubles = [upstream.trouble for upstream in self.pool.upstreams]
        if all(troubles):
            raise in_trouble("; ".join(map(str, troubles)))

    def metrics(self) -> bytes:
        return self._metrics.text()

    async def _reply(self, path: str, asked: Answered, caller: Caller) -> UpstreamReply:
        """A reply whose request is sent at once where it is a stream, whose status must be known before it begins."""
        model = self.pool.model(asked.model)
        body = asked.sent() | {"model": model}
        streamed = not isinstance(asked, EmbeddingRequest) and asked.stream
        if streamed:
            body["stream_options"] = {**body.get("stream_options", {}), "include_usage": True}

        def send():
            return Visit.open(self.pool, self._metrics, path, body, request_id=caller.request_id)

        reply = UpstreamReply(asked, self._rates[model], send, self._count, self._metrics.used)
        if streamed:
            await reply.begin()
        return reply

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A small question to an upstream, answered whole."""
        visit = await Visit.open(self.pool, self._metrics, path, body, request_id="")
        try:
            return await visit.whole()
        finally:
            visit.close()

    async def _count(self, asked: Answered, texts: dict[int, str]) -> tuple[int, int]:
        """Tokens of a request and of its answers, by the upstream's tokenizer. Raises ApiError where it has none."""
        fields, model = asked.sent(), {"model": self.pool.model(asked.model)}
        if isinstance(asked, ChatRequest):
            kept = ("messages", "chat_template_kwargs", "tools")
            prompts = [{name: fields[name] for name in kept if name in fields}]
        else:
            given = asked.prompt if isinstance(asked, CompletionRequest) else asked.input
            prompts = [{"prompt": text} for text in (given if isinstance(given, list) else [given])]
            prompts = [each for each in prompts if isinstance(each["prompt"], str)]
        answers = [{"prompt": text, "add_special_tokens": False} for text in texts.values() if text]
        told = await asyncio.gather(*(self._ask("/tokenize", model | each) for each in (*prompts, *answers)))
        counts = [each.get("count", 0) for each in told]
        return sum(counts[: len(prompts)]), sum(counts[len(prompts) :])
