"""``POST /v1/completions``: texts or token ids -> their continuation, with an echo of the prompt where asked for."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from starlette.responses import Response

from axk1.engine.async_engine import Output, Stream
from axk1.engine.sequence import Sequence
from axk1.serve.errors import ApiError
from axk1.serve.logprobs import TextLogprobs, prompt_logprobs
from axk1.serve.protocol import CompletionRequest
from axk1.serve.service import EventStream, ModelService, answer, usage


class _Choice:
    """One continuation, as far as it is written."""

    def __init__(self, service: ModelService, asked: CompletionRequest, prompt: list[int]) -> None:
        self._tokenizer, self._asked, self._prompt = service.tokenizer, asked, prompt
        self._logprobs = TextLogprobs(service.tokenizer)
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


class _Completion:
    """One request from its prompts to its continuations; those of a prompt stand one after another."""

    def __init__(
        self, service: ModelService, asked: CompletionRequest, prompts: list[list[int]], stream: Stream
    ) -> None:
        self._service, self._asked, self._stream = service, asked, stream
        self._choices = [_Choice(service, asked, prompt) for prompt in prompts for _ in range(asked.n)]
        self._frame = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.name,
        }

    async def whole(self) -> dict[str, Any]:
        """All continuations in one piece."""
        async with self._stream:
            async for output in self._stream:
                self._choices[self._index(output)].add(output)
        choices = [self._finished(index, choice) for index, choice in enumerate(self._choices)]
        return {**self._frame, "choices": choices, "usage": self._usage()}

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        """The continuations as they are written."""
        empty = {"usage": None} if self._asked.include_usage else {}
        async for output in self._stream:
            index, reason = self._index(output), output.output.finish_reason
            text, logprobs = self._choices[index].add(output)
            if text or reason or logprobs:
                choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
                yield {**self._frame, "choices": [choice], **empty}
        if self._asked.include_usage:
            yield {**self._frame, "choices": [], "usage": self._usage()}

    def close(self) -> None:
        """Ends what is still being written."""
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
            told["prompt_logprobs"] = prompt_logprobs(self._service.tokenizer, sequence.prompt_logprobs)
        return told

    def _usage(self) -> dict[str, Any]:
        return usage([choice.sequence for choice in self._choices])


async def create_completion(service: ModelService, asked: CompletionRequest, request: Request) -> Response:
    """Answers one request; raises what ``errors`` puts into OpenAI's form."""
    service.require_model(asked.model)
    if asked.stream and asked.echo and asked.logprobs is not None:
        raise ApiError("echo with logprobs is only for stream = false", param="echo")
    params = asked.sampling_params()
    prompts = await asyncio.to_thread(_encoded, service, asked.prompt)
    completion = _Completion(service, asked, prompts, service.submit(prompts, params))
    if asked.stream:
        return EventStream(completion.chunks(), completion.close)
    return await answer(request, completion.whole())


def _encoded(service: ModelService, prompt: Any) -> list[list[int]]:
    """The prompts as ids. Special tokens in their text count: whoever uses this route renders prompts alone."""
    if not prompt:
        raise ApiError("prompt is empty", param="prompt")
    if isinstance(prompt, str):
        return [service.tokenizer.encode(prompt)]
    if isinstance(prompt[0], int):
        return [prompt]
    if isinstance(prompt[0], str):
        return service.tokenizer.encode_batch(prompt)
    return prompt
