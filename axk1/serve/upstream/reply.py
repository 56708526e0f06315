"""``UpstreamReply``: an upstream's answer as a ``Reply``, unchanged but for the model's name and what was not asked."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from axk1.serve.errors import ApiError
from axk1.serve.protocol import ChatRequest, CompletionRequest, EmbeddingRequest
from axk1.serve.upstream.counting import Tally, TokenRates, estimated, nothing
from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.visit import Visit

Answered = ChatRequest | CompletionRequest | EmbeddingRequest
Open = Callable[[], Awaitable[Visit]]
Count = Callable[[Answered, dict[int, str]], Awaitable[tuple[int, int]]]
Used = Callable[[Upstream, dict[str, Any]], None]


class UpstreamReply:
    """A ``Reply`` whose text is written elsewhere."""

    def __init__(self, asked: Answered, rates: TokenRates, open_visit: Open, count: Count, used: Used) -> None:
        """
        Args:
            asked: the request.
            rates: of the model, for answers that the upstream does not count.
            open_visit: sends the request.
            count: (the request, the text of each choice) -> tokens of both, by the upstream's tokenizer.
            used: is told the usage when the reply is closed.
        """
        self.headers: dict[str, str] = {}
        self._asked, self._rates, self._open, self._count, self._used = asked, rates, open_visit, count, used
        self._tally = Tally(asked)
        self._texts: dict[int, str] = {}
        self._visit: Visit | None = None
        self._sent = False
        self._told: dict[str, Any] | None = None
        self._include_usage = not isinstance(asked, EmbeddingRequest) and asked.include_usage
        self._closed = False

    async def begin(self) -> None:
        """Sends the request. Raises ApiError where no upstream takes it."""
        self._sent = True
        try:
            self._visit = await self._open()
        except ApiError:
            self._sent = False
            raise

    async def whole(self) -> dict[str, Any]:
        await self.begin()
        assert self._visit is not None
        body = await self._visit.whole()
        self._take(body)
        body["usage"] = await self._settle()
        return body

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        assert self._visit is not None
        last: dict[str, Any] = {}
        async for chunk in self._visit.chunks():
            self._take(chunk)
            last = chunk
            if self._include_usage or not chunk.get("usage") or chunk.get("choices"):
                yield chunk if self._include_usage else {k: v for k, v in chunk.items() if k != "usage"}
        counted = self._told is not None
        usage = await self._settle()
        if self._include_usage and not counted:
            yield {**last, "choices": [], "usage": usage}

    def usage(self) -> dict[str, Any]:
        if self._told is not None:
            return self._told
        return self._tally.estimate(self._rates) if self._sent else nothing()

    def close(self) -> None:
        if self._visit is not None and not self._closed:
            self._closed = True
            self._visit.close()
            self._used(self._visit.upstream, self.usage())

    def _take(self, answer: dict[str, Any]) -> None:
        """Keeps what usage needs, and tells reasoning under the name that clients of this server know."""
        self._told = answer.get("usage") or self._told
        self._tally.add(answer)
        for choice in answer.get("choices") or ():
            written = choice.get("delta") or choice.get("message") or {}
            if written.get("reasoning") and not written.get("reasoning_content"):
                written["reasoning_content"] = written["reasoning"]
            text = choice.get("text") or (written.get("reasoning_content") or "") + (written.get("content") or "")
            self._texts[choice.get("index", 0)] = self._texts.get(choice.get("index", 0), "") + text

    async def _settle(self) -> dict[str, Any]:
        """The usage of a finished answer: the upstream's, or counted by its tokenizer, or estimated."""
        if self._told is not None:
            self._rates.learn(self._told, self._tally.prompt_bytes, self._tally.completion_bytes)
        else:
            try:
                prompt, completion = await self._count(self._asked, self._texts)
                self._told = estimated(prompt + (self._tally.prompt_ids or 0), completion)
            except ApiError:
                self._told = self._tally.estimate(self._rates)
        return self._told
