"""``EngineService``: the models' service that runs an engine in this process."""

import asyncio
import time
from typing import Any

from axk1.core.config import require
from axk1.engine.async_engine import AsyncEngine
from axk1.engine.llm_engine import LLMEngine
from axk1.serve.caller import Caller
from axk1.serve.chat import ChatReply
from axk1.serve.completions import CompletionReply
from axk1.serve.embeddings import EmbeddingReply
from axk1.serve.errors import ApiError, no_such_model
from axk1.serve.logprobs import token_text
from axk1.serve.metrics import Metrics
from axk1.serve.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    ModelRequest,
    TokenizeChatRequest,
    TokenizeRequest,
)
from axk1.serve.supported import refuse_unsupported


class EngineService:
    """A ``ModelService`` of one model.

    Attributes:
        name: what requests call the model.
        engine: runs it.
        tokenizer: its tokenizer.
    """

    def __init__(self, engine: LLMEngine, name: str, *, max_waiting: int = 256) -> None:
        """Args: max_waiting: most texts that wait; more are refused."""
        self.name, self.tokenizer, self._created = name, engine.tokenizer, int(time.time())
        self._metrics = Metrics(name)
        self.engine = AsyncEngine(engine, max_waiting=max_waiting, observe=self._metrics.observe)
        self._metrics.watch(self.engine)

    async def start(self) -> None:
        self.engine.start()

    async def stop(self) -> None:
        await self.engine.stop()

    async def models(self) -> list[dict[str, Any]]:
        return [
            {
                "id": self.name,
                "object": "model",
                "created": self._created,
                "owned_by": "axk1",
                "max_model_len": self.engine.engine.max_model_len,
            }
        ]

    async def chat(self, asked: ChatRequest, caller: Caller) -> ChatReply:
        self._check(asked)
        return await ChatReply.open(self.engine, self.name, asked, salt=caller.tenant)

    async def complete(self, asked: CompletionRequest, caller: Caller) -> CompletionReply:
        self._check(asked)
        return await CompletionReply.open(self.engine, self.name, asked, salt=caller.tenant)

    async def embed(self, asked: EmbeddingRequest, caller: Caller) -> EmbeddingReply:
        self._check(asked)
        return await EmbeddingReply.open(self.engine, self.name, asked, salt=caller.tenant)

    async def tokenize(self, asked: TokenizeRequest | TokenizeChatRequest) -> dict[str, Any]:
        self._check(asked)
        tokens = await asyncio.to_thread(self._tokens, asked)
        texts = [token_text(self.tokenizer, token) for token in tokens] if asked.return_token_strs else None
        length = self.engine.engine.max_model_len
        return {"count": len(tokens), "max_model_len": length, "tokens": tokens, "token_strs": texts}

    async def detokenize(self, asked: DetokenizeRequest) -> dict[str, Any]:
        self._check(asked)
        size = self.tokenizer.vocab_size
        wrong = next((token for token in asked.tokens if not 0 <= token < size), None)
        require(wrong is None, "tokens", wrong, f"0 to {size - 1}")
        return {"prompt": await asyncio.to_thread(self.tokenizer.decode, asked.tokens)}

    async def check_health(self) -> None:
        if self.engine.error is not None:
            raise ApiError("a pass of the engine failed; start the server again", status=503, code="engine_stopped")

    def metrics(self) -> bytes:
        return self._metrics.text()

    def _check(self, asked: ModelRequest) -> None:
        """Refuses what is not done here, and another model; a request that names none is content with this one."""
        refuse_unsupported(asked)
        if asked.model not in (None, self.name):
            raise no_such_model(asked.model, [self.name])

    def _tokens(self, asked: TokenizeRequest | TokenizeChatRequest) -> list[int]:
        if isinstance(asked, TokenizeRequest):
            return self.tokenizer.encode(asked.prompt)
        return asked.encode(self.tokenizer, add_generation_prompt=asked.add_generation_prompt)
