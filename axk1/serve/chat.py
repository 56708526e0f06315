"""``POST /v1/chat/completions``: messages -> an answer, its reasoning apart, whole or as a stream."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from axk1.engine.async_engine import AsyncEngine, Output, Stream
from axk1.engine.sequence import Sequence
from axk1.serve.logprobs import chat_logprobs, prompt_logprobs
from axk1.serve.protocol import ChatRequest
from axk1.serve.reasoning import START, ReasoningSplitter
from axk1.serve.usage import usage
from axk1.tokenizer.tokenizer import Tokenizer


class _Choice:
    """One of the ``n`` answers, as far as it is written."""

    def __init__(self, *, thinking: bool) -> None:
        self._splitter = ReasoningSplitter(thinking=thinking)
        self.sequence: Sequence | None = None
        self.reasoning_tokens = 0
        self.reasoning, self.content = "", ""

    def add(self, output: Output) -> dict[str, str]:
        """Takes an output and returns what it adds to the message."""
        self.sequence = output.output.sequence
        self.reasoning_tokens += self._splitter.thinking and output.output.token_id is not None
        parts = [self._splitter.add(output.output.text)]
        if output.output.finish_reason is not None:
            parts.append(self._splitter.finish())
        reasoning, content = ("".join(each) for each in zip(*parts, strict=True))
        self.reasoning += reasoning
        self.content += content
        delta = {"reasoning_content": reasoning, "content": content}
        return {name: text for name, text in delta.items() if text}


class ChatReply:
    """A ``Reply`` to one conversation. Make one with ``ChatReply.open``."""

    def __init__(self, tokenizer: Tokenizer, name: str, asked: ChatRequest, prompt: list[int], stream: Stream) -> None:
        self._tokenizer, self._asked, self._stream = tokenizer, asked, stream
        self.headers: dict[str, str] = {}
        opened = tokenizer.decode(prompt[-8:]).rstrip().endswith(START)
        self._choices = [_Choice(thinking=opened) for _ in range(asked.n)]
        self._frame = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": name}

    @classmethod
    async def open(cls, engine: AsyncEngine, name: str, asked: ChatRequest) -> "ChatReply":
        """Queues a request under the model's name; raises what ``errors`` puts into OpenAI's form."""
        params, tokenizer = asked.sampling_params(), engine.engine.tokenizer
        prompt = (
            await asyncio.to_thread(  # long conversations take a while, and the event loop must not wait
                tokenizer.encode_chat,
                asked.messages,
                enable_thinking=asked.chat_template_kwargs.enable_thinking,
                add_generation_prompt=True,
            )
        ).ids
        return cls(tokenizer, name, asked, prompt, engine.submit([prompt], params))

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
            reason = output.output.finish_reason
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
    def _part(index: int, delta: dict[str, str], logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}

    def _finished(self, index: int, choice: _Choice) -> dict[str, Any]:
        sequence = choice.sequence
        message = {"role": "assistant", "content": choice.content}
        if choice.reasoning:
            message["reasoning_content"] = choice.reasoning
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(sequence.logprobs),
            "finish_reason": sequence.finish_reason,
            "stop_reason": sequence.stop_reason,
        }

    def _logprobs(self, found: list[Any]) -> dict[str, Any] | None:
        return {"content": chat_logprobs(self._tokenizer, found)} if self._asked.logprobs else None
