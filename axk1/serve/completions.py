"""``POST /v1/completions``: texts or token ids -> their continuation, with an echo of the prompt where asked for."""

import asyncio
import dataclasses
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from axk1.engine.async_engine import AsyncEngine, Output, Stream
from axk1.engine.sequence import Sequence
from axk1.serve.errors import ApiError
from axk1.serve.logprobs import TextLogprobs, prompt_logprobs
from axk1.serve.protocol import CompletionRequest
from axk1.serve.response_format import compiled
from axk1.serve.usage import usage
from axk1.tokenizer.tokenizer import Tokenizer


class _Choice:
    """One continuation, as far as it is written."""

    def __init__(self, tokenizer: Tokenizer, asked: CompletionRequest, prompt: list[int]) -> None:
        self._tokenizer, self._asked, self._prompt = tokenizer, asked, prompt
        self._logprobs = TextLogprobs(tokenizer)
        self._begun = False
        self.sequence: Sequence | None = None
        self.text = ""
        self.logprobs: dict[str, Any] | None = None

    def add(self, output: Output) -> tuple[str, dict[str, Any] | None]:
        """Takes an output and returns the text and the log-probabilities that it adds."""
        self.sequence, new = output.output.sequence, output.output
        text, tokens, found = new.text, [], []
        if self._asked.echo and not self._begun:
            text = self._tokenizer.decode(self._prompt) + text
            tokens, found = list(self._prompt), [None, *self.sequence.prompt_logprobs]
        self._begun = True
        if new.token_id is not None:
            tokens, found = [*tokens, new.token_id], [*found, new.logprobs]
        logprobs = None
        if self._asked.logprobs is not None:
            logprobs = self._logprobs.piece(found, tokens, self._asked.logprobs)
            self._keep(logprobs)
        self.text += text
        return text, logprobs

    def _keep(self, piece: dict[str, list[Any]]) -> None:
        if self.logprobs is None:
            self.logprobs = {name: [] for name in piece}
        for name, values in piece.items():
            self.logprobs[name] += values


class CompletionReply:
    """A ``Reply`` to some prompts; the texts of a prompt stand one after another. Make one with ``open``."""

    def __init__(
        self, tokenizer: Tokenizer, name: str, asked: CompletionRequest, prompts: list[list[int]], stream: Stream
    ) -> None:
        self._tokenizer, self._asked, self._stream = tokenizer, asked, stream
        self.headers: dict[str, str] = {}
        self._choices = [_Choice(tokenizer, asked, prompt) for prompt in prompts for _ in range(asked.n)]
        self._frame = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": name,
        }

    @classmethod
    async def open(cls, engine: AsyncEngine, name: str, asked: CompletionRequest, *, salt: str) -> "CompletionReply":
        """Queues a request under the model's name, its cached beginnings shared with those of the same salt.

        Raises what ``errors`` puts into OpenAI's form.
        """
        if asked.stream and asked.echo and asked.logprobs is not None:
            raise ApiError("echo with logprobs is only for stream = false", param="echo")
        params, tokenizer = dataclasses.replace(asked.sampling_params(), cache_salt=salt), engine.engine.tokenizer
        prompts = await asyncio.to_thread(encoded, tokenizer, asked.prompt)
        grammar = await compiled(engine, params, asked)
        return cls(tokenizer, name, asked, prompts, engine.submit(prompts, params, grammar))

    async def whole(self) -> dict[str, Any]:
        async for output in self._stream:
            self._choices[self._index(output)].add(output)
        choices = [self._finished(index, choice) for index, choice in enumerate(self._choices)]
        return {**self._frame, "choices": choices, "usage": self.usage()}

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        empty = {"usage": None} if self._asked.include_usage else {}
        async for output in self._stream:
            index, reason = self._index(output), output.output.finish_reason
            text, logprobs = self._choices[index].add(output)
            if text or reason or logprobs:
                choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
                yield {**self._frame, "choices": [choice], **empty}
        if self._asked.include_usage:
            yield {**self._frame, "choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        return usage(self._stream.sequences)

    def close(self) -> None:
        self._stream.close()

    def _index(self, output: Output) -> int:
        return output.prompt * self._asked.n + output.output.sequence.index

    def _finished(self, index: int, choice: _Choice) -> dict[str, Any]:
        sequence = choice.sequence
        told = {
            "index": index,
            "text": choice.text,
            "logprobs": choice.logprobs,
            "finish_reason": sequence.finish_reason,
            "stop_reason": sequence.stop_reason,
        }
        if self._asked.prompt_logprobs is not None:
            told["prompt_logprobs"] = prompt_logprobs(self._tokenizer, sequence.prompt_logprobs)
        return told


def encoded(tokenizer: Tokenizer, given: Any, field: str = "prompt") -> list[list[int]]:
    """Texts or token ids, one or many -> ids. Special tokens in a text count: whoever sends it rendered it alone.

    Raises:
        ApiError: there is nothing in the field.
    """
    if not given:
        raise ApiError(f"{field} is empty", param=field)
    if isinstance(given, str):
        return [tokenizer.encode(given)]
    if isinstance(given[0], int):
        return [given]
    if isinstance(given[0], str):
        return tokenizer.encode_batch(given)
    return given
