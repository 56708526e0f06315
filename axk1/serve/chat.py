"""``POST /v1/chat/completions``: messages -> an answer, with reasoning and tool calls apart, whole or as a stream."""

import asyncio
import dataclasses
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from axk1.engine.async_engine import AsyncEngine, Output, Stream
from axk1.engine.guide import thought_is_open
from axk1.engine.sequence import Sequence
from axk1.serve.logprobs import chat_logprobs, prompt_logprobs
from axk1.serve.protocol import ChatRequest
from axk1.serve.reasoning import ReasoningSplitter
from axk1.serve.response_format import compiled
from axk1.serve.tool_calls import ToolCallParser, joined
from axk1.serve.usage import usage
from axk1.tokenizer.tokenizer import Tokenizer


class _Choice:
    """One of the ``n`` answers, as far as it is written."""

    def __init__(self, asked: ChatRequest, *, thinking: bool) -> None:
        self._splitter = ReasoningSplitter(thinking=thinking)
        names = {function.name for function in asked.callable_functions}
        self._parser = ToolCallParser(names) if names else None
        self.sequence: Sequence | None = None
        self.reasoning_tokens = 0
        self.reasoning, self.content = "", ""

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The tools that it calls."""
        return self._parser.calls if self._parser else []

    def add(self, output: Output) -> dict[str, Any]:
        """Takes an output and returns what it adds to the message."""
        self.sequence = output.output.sequence
        self.reasoning_tokens += self._splitter.thinking and output.output.token_id is not None
        parts = [self._splitter.add(output.output.text)]
        ended = output.output.finish_reason is not None
        if ended:
            parts.append(self._splitter.finish())
        reasoning, content = ("".join(each) for each in zip(*parts, strict=True))
        content, calls = self._without_calls(content, ended=ended)
        self.reasoning += reasoning
        self.content += content
        delta = {"reasoning_content": reasoning, "content": content, "tool_calls": calls}
        return {name: value for name, value in delta.items() if value}

    def finish_reason(self, reason: str | None) -> str | None:
        """Why the answer ended, as OpenAI names it: with calls that are whole, for the calls."""
        return "tool_calls" if self.calls and reason == "stop" else reason

    def _without_calls(self, text: str, *, ended: bool) -> tuple[str, list[dict[str, Any]]]:
        if self._parser is None:
            return text, []
        parts = [self._parser.add(text)] + ([self._parser.finish()] if ended else [])
        return "".join(content for content, _ in parts), joined([call for _, calls in parts for call in calls])


class ChatReply:
    """A ``Reply`` to one conversation. Make one with ``ChatReply.open``."""

    def __init__(self, tokenizer: Tokenizer, name: str, asked: ChatRequest, prompt: list[int], stream: Stream) -> None:
        self._tokenizer, self._asked, self._stream = tokenizer, asked, stream
        self.headers: dict[str, str] = {}
        opened = thought_is_open(tokenizer, prompt)
        self._choices = [_Choice(asked, thinking=opened) for _ in range(asked.n)]
        self._frame = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": name}

    @classmethod
    async def open(cls, engine: AsyncEngine, name: str, asked: ChatRequest, *, salt: str) -> "ChatReply":
        """Queues a request under the model's name, its cached beginnings shared with those of the same salt.

        Raises what ``errors`` puts into OpenAI's form.
        """
        tokenizer = engine.engine.tokenizer
        params = dataclasses.replace(asked.sampling_params(tokenizer), cache_salt=salt)
        # Long conversations take a while, and the event loop must not wait.
        prompt = await asyncio.to_thread(asked.encode, tokenizer)
        grammar = await compiled(engine, params, asked)
        return cls(tokenizer, name, asked, prompt, engine.submit([prompt], params, grammar))

    async def whole(self) -> dict[str, Any]:
        async for output in self._stream:
            self._choices[output.output.sequence.index].add(output)
        body = {**self._frame, "object": "chat.completion", "usage": self.usage()}
        body["choices"] = [self._finished(index, choice) for index, choice in enumerate(self._choices)]
        if self._asked.prompt_logprobs is not None:
            scored = self._choices[0].sequence.prompt_logprobs
            body["prompt_logprobs"] = prompt_logprobs(self._tokenizer, scored)
        return body

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        for index in range(self._asked.n):
            yield self._chunk([self._part(index, {"role": "assistant", "content": ""}, None, None)])
        async for output in self._stream:
            index = output.output.sequence.index
            delta = self._choices[index].add(output)
            logprobs = self._logprobs([output.output.logprobs] if output.output.logprobs else [])
            reason = self._choices[index].finish_reason(output.output.finish_reason)
            if delta or reason or (logprobs and logprobs["content"]):
                yield self._chunk([self._part(index, delta, logprobs, reason)])
        if self._asked.include_usage:
            yield {**self._chunk([]), "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        reasoning = sum(choice.reasoning_tokens for choice in self._choices)
        return usage(self._stream.sequences, reasoning_tokens=reasoning)

    def close(self) -> None:
        self._stream.close()

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        empty = {"usage": None} if self._asked.include_usage else {}
        return {**self._frame, "object": "chat.completion.chunk", "choices": choices, **empty}

    @staticmethod
    def _part(index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}

    def _finished(self, index: int, choice: _Choice) -> dict[str, Any]:
        sequence = choice.sequence
        message = {"role": "assistant", "content": choice.content or (None if choice.calls else "")}
        if choice.calls:
            message["tool_calls"] = choice.calls
        if choice.reasoning:
            message["reasoning_content"] = choice.reasoning
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(sequence.logprobs),
            "finish_reason": choice.finish_reason(sequence.finish_reason),
            "stop_reason": sequence.stop_reason,
        }

    def _logprobs(self, found: list[Any]) -> dict[str, Any] | None:
        return {"content": chat_logprobs(self._tokenizer, found)} if self._asked.logprobs else None
