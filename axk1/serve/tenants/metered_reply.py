"""``MeteredReply``: a reply that has paid before it ends."""

import json
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

from axk1.serve.protocol import Request
from axk1.serve.service import Reply
from axk1.serve.tenants.accounts import Accounts, durable
from axk1.serve.tenants.ledger import Grant, Need, Usage
from axk1.serve.tenants.limits import headers


class MeteredReply:
    """A ``Reply`` whose last piece leaves when its settlement is on disk. What was written is paid, once, whether or
    not anybody waited for its end."""

    def __init__(self, accounts: Accounts, reply: Reply, need: Need, grant: Grant, asked: Request) -> None:
        """Args: accounts: the ledger; reply: another's; need, grant: what was reserved; asked: the request."""
        self._accounts, self._reply, self._need = accounts, reply, need
        self._asked = asked if grant.keep_text else None
        self.headers = {**reply.headers, **headers(grant.rooms)}
        self._texts: dict[int, list[str]] = {}
        self._finished: set[int] = set()
        self._settlement: Future[Any] | None = None
        self._failed = False

    async def whole(self) -> dict[str, Any]:
        try:
            body = await self._reply.whole()
        except Exception:
            self._failed = True
            raise
        self._see(body)
        await durable(self._settle("done"))
        return body

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        last: list[dict[str, Any]] = []
        try:
            async for chunk in self._reply.chunks():
                self._see(chunk)
                if len(self._finished) >= self._need.choices:
                    last.append(chunk)  # whoever reads it takes the answer for finished
                else:
                    yield chunk
        except Exception:
            self._failed = True
            raise
        await durable(self._settle("done"))
        for chunk in last:
            yield chunk

    def usage(self) -> dict[str, Any]:
        return self._reply.usage()

    def close(self) -> None:
        self._reply.close()
        self._settle("failed" if self._failed else "left")

    def _settle(self, outcome: str) -> Future[Any]:
        if self._settlement is None:
            text = None
            if self._asked is not None:
                answers = ["".join(parts) for parts in self._texts.values()]
                text = json.dumps({"asked": self._asked.sent(), "answered": answers})
            usage = _from_openai(self._reply.usage())
            self._settlement = self._accounts.settle(self._need.request, usage, outcome, text)
        return self._settlement

    def _see(self, body: dict[str, Any]) -> None:
        """Notes which answers are finished, and their text where it is to be kept."""
        for choice in body.get("choices") or ():
            index = choice.get("index", 0)
            if choice.get("finish_reason") is not None:
                self._finished.add(index)
            if self._asked is not None:
                self._texts.setdefault(index, []).extend(_text(choice))


def _from_openai(told: dict[str, Any]) -> Usage:
    cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    counts = {name: int(told.get(f"{name}_tokens") or 0) for name in ("prompt", "completion")}
    return Usage(**counts, cached=int(cached), estimated=bool(told.get("estimated")))


def _text(choice: dict[str, Any]) -> list[str]:
    """What a chunk adds to an answer, calls of tools as JSON."""
    message = choice.get("delta") or choice.get("message") or {}
    parts = [message.get("reasoning_content"), message.get("content"), choice.get("text")]
    parts += [json.dumps(call) for call in message.get("tool_calls") or ()]
    return [part for part in parts if isinstance(part, str)]
