"""``POST /v1/embeddings``: texts or token ids -> vectors, from the last hidden states of the model that chats.

The states behind the last norm are pooled over the tokens of a text, by default their mean, cut to ``dimensions`` where
that is asked for, and scaled to length 1. Texts go through the engine among those being written, in the same chunks.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from axk1.engine.async_engine import AsyncEngine, Stream
from axk1.engine.sampling_params import SamplingParams
from axk1.serve.completions import encoded
from axk1.serve.errors import ApiError
from axk1.serve.protocol import EmbeddingRequest
from axk1.serve.usage import usage


class EmbeddingReply:
    """A ``Reply`` with the vectors of some texts. Make one with ``EmbeddingReply.open``."""

    def __init__(self, name: str, asked: EmbeddingRequest, stream: Stream) -> None:
        self._name, self._asked, self._stream = name, asked, stream
        self.headers: dict[str, str] = {}

    @classmethod
    async def open(cls, engine: AsyncEngine, name: str, asked: EmbeddingRequest, *, salt: str) -> "EmbeddingReply":
        """Queues a request under the model's name, its cached beginnings shared with those of the same salt.

        Raises what ``errors`` puts into OpenAI's form.
        """
        width = engine.engine.model.config.hidden_size
        if asked.dimensions is not None and asked.dimensions > width:
            message = f"dimensions = {asked.dimensions} is not allowed; allowed: 1 to {width}"
            raise ApiError(message, param="dimensions")
        prompts = await asyncio.to_thread(encoded, engine.engine.tokenizer, asked.input, "input")
        if not all(prompts):
            raise ApiError("input has a text without tokens", param="input")
        return cls(
            name, asked, engine.submit(prompts, SamplingParams(max_tokens=0, pooling=asked.pooling, cache_salt=salt))
        )

    async def whole(self) -> dict[str, Any]:
        found: dict[int, Any] = {}
        async for prompt, output in self._stream:
            found[prompt] = self._written(output.sequence.pooler.vector().cpu().numpy())
        data = [{"object": "embedding", "index": index, "embedding": found[index]} for index in sorted(found)]
        count = self.usage()
        tokens = {name: count[name] for name in ("prompt_tokens", "total_tokens")}
        return {"object": "list", "data": data, "model": self._name, "usage": tokens}

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        yield await self.whole()

    def usage(self) -> dict[str, Any]:
        return usage(self._stream.sequences)

    def close(self) -> None:
        self._stream.close()

    def _written(self, vector_H: np.ndarray) -> list[float] | str:
        vector = vector_H[: self._asked.dimensions]
        vector = (vector / max(np.linalg.norm(vector), np.finfo(vector.dtype).tiny)).astype("<f4")
        if self._asked.encoding_format == "base64":
            return base64.b64encode(vector.tobytes()).decode()
        return vector.tolist()
