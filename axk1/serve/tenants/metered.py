"""``MeteredService``: any models' service on the meter. The one place where a request meets its limits and ledger."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from axk1.core.errors import AXK1Error
from axk1.serve.caller import Caller
from axk1.serve.errors import ApiError, no_such_model
from axk1.serve.protocol import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeChatRequest, TokenizeRequest
from axk1.serve.service import ModelService, Reply
from axk1.serve.tenants import sizes
from axk1.serve.tenants.accounts import Accounts, durable
from axk1.serve.tenants.ledger import Grant, Need, Usage
from axk1.serve.tenants.limits import headers
from axk1.serve.tenants.sizes import Size

R = TypeVar("R", ChatRequest, CompletionRequest)
_CARDS_SECONDS = 30.0
"""How long the list of models is believed."""


class MeteredService:
    """A ``ModelService`` that reserves before it asks another, and settles what was taken, once, however it ends."""

    def __init__(self, service: ModelService, accounts: Accounts) -> None:
        """Args: service: who answers; accounts: the ledger."""
        self.service, self._accounts = service, accounts
        self._cards: tuple[float, list[dict[str, Any]]] = (-_CARDS_SECONDS, [])
        self._later: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        await self._accounts.start()
        await self.service.start()

    async def stop(self) -> None:
        await self.service.stop()
        await asyncio.gather(*self._later, return_exceptions=True)
        await self._accounts.stop()

    async def models(self) -> list[dict[str, Any]]:
        return await self.service.models()

    async def chat(self, asked: ChatRequest, caller: Caller) -> Reply:
        return await self._metered("chat", asked, caller, sizes.of_chat(asked), self.service.chat)

    async def complete(self, asked: CompletionRequest, caller: Caller) -> Reply:
        return await self._metered("completions", asked, caller, sizes.of_completion(asked), self.service.complete)

    async def tokenize(self, asked: TokenizeRequest | TokenizeChatRequest) -> dict[str, Any]:
        return await self.service.tokenize(asked)

    async def detokenize(self, asked: DetokenizeRequest) -> dict[str, Any]:
        return await self.service.detokenize(asked)

    async def check_health(self) -> None:
        await self.service.check_health()

    def metrics(self) -> bytes:
        return self.service.metrics()

    async def count(self, asked: ChatRequest | CompletionRequest) -> int | None:
        """Tokens of a prompt, exactly; None where whoever answers cannot tell."""
        try:
            if isinstance(asked, ChatRequest):
                names = set(TokenizeChatRequest.model_fields) & set(ChatRequest.model_fields)
                fields = {name: getattr(asked, name) for name in names}
                return (await self.service.tokenize(TokenizeChatRequest.model_construct(**_filled(fields))))["count"]
            if isinstance(asked.prompt, list):
                texts = [each for each in asked.prompt if isinstance(each, str)]
                numbers = sum(1 if isinstance(each, int) else len(each) for each in asked.prompt if each not in texts)
                return numbers + sum([await self.count_text(text, asked.model) or 0 for text in texts])
            return await self.count_text(asked.prompt, asked.model)
        except (ApiError, AXK1Error):
            return None

    async def count_text(self, text: str, model: str | None) -> int | None:
        """Tokens of a text, exactly; None where whoever answers cannot tell."""
        try:
            return (await self.service.tokenize(TokenizeRequest(model=model, prompt=text)))["count"]
        except (ApiError, AXK1Error):
            return None

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Does some work that nobody waits for; it is done before the service stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _metered(
        self, route: str, asked: R, caller: Caller, size: Size, ask: Callable[[R, Caller], Awaitable[Reply]]
    ) -> Reply:
        """Reserves, asks, and gives a reply that settles itself."""
        model, context = await self._model(asked.model)
        need = _need(caller, model, route, size.within(context), flexible=False)
        grant = await self._accounts.reserve(need)
        if isinstance(grant, ApiError) and grant.code != "invalid_api_key":
            # bytes were counted, not tokens; and an answer of open length may be cut
            counted = await self.count(asked)
            exact = Size(size.prompt if counted is None else counted, size.answer, size.choices, size.flexible)
            need = _need(caller, model, route, exact.within(context), flexible=size.flexible)
            grant = await self._accounts.reserve(need)
        if isinstance(grant, ApiError):
            self._accounts.note("refused", caller.tenant, key=caller.key, detail=f"{route} {model}: {grant.code}")
            raise grant
        if size.flexible and grant.answer is not None:
            asked = asked.model_copy(update={"max_tokens": grant.answer // size.choices})
        try:
            reply = await ask(asked, caller)
        except asyncio.CancelledError:  # the client left; whoever answers may have read the prompt already
            self.later(self._settle_prompt(need, asked))
            raise
        except BaseException:
            self._accounts.release(need.request, "refused")
            raise
        return MeteredReply(self, self._accounts, reply, need, grant, asked)

    async def _settle_prompt(self, need: Need, asked: ChatRequest | CompletionRequest) -> None:
        counted = await self.count(asked)
        usage = Usage(need.prompt if counted is None else counted, 0, 0, estimated=True)
        await durable(self._accounts.settle(need.request, usage, "left"))

    async def _model(self, name: str | None) -> tuple[str, int | None]:
        """The name of the model that will answer, and the length of its context where that is known."""
        if name is not None and not (name.isprintable() and len(name) <= 200):
            raise no_such_model(name[:200], [card["id"] for card in await self._known()])
        cards = await self._known()
        if name is None:
            name = cards[0]["id"] if len(cards) == 1 else ""
        return name, next((card.get("max_model_len") for card in cards if card["id"] == name), None)

    async def _known(self) -> list[dict[str, Any]]:
        if time.monotonic() - self._cards[0] > _CARDS_SECONDS:
            try:
                self._cards = time.monotonic(), await self.service.models()
            except (ApiError, AXK1Error):
                return []
        return self._cards[1]


class MeteredReply:
    """A ``Reply`` that has paid before it ends: its last piece leaves when the settlement is on disk."""

    def __init__(
        self,
        service: MeteredService,
        accounts: Accounts,
        reply: Reply,
        need: Need,
        grant: Grant,
        asked: ChatRequest | CompletionRequest,
    ) -> None:
        self._service, self._accounts, self._reply, self._need = service, accounts, reply, need
        self._grant, self._asked = grant, asked
        self.headers = {**reply.headers, **headers(grant.rooms)}
        self._texts: dict[int, str] = {}
        self._finished: set[int] = set()
        self._settled = self._failed = False

    async def whole(self) -> dict[str, Any]:
        try:
            body = await self._reply.whole()
        except Exception:
            self._failed = True
            raise
        self._see(body)
        await self._settle("done")
        return body

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        last: list[dict[str, Any]] = []
        try:
            async for chunk in self._reply.chunks():
                self._see(chunk)
                if len(self._finished) >= self._need.choices:
                    last.append(chunk)  # held back: whoever reads it takes the answer for finished
                else:
                    yield chunk
        except Exception:
            self._failed = True
            raise
        await self._settle("done")
        for chunk in last:
            yield chunk

    def usage(self) -> dict[str, Any]:
        return self._reply.usage()

    def close(self) -> None:
        self._reply.close()
        if not self._settled:
            self._service.later(self._settle("failed" if self._failed else "left"))

    async def _settle(self, outcome: str) -> None:
        if self._settled:
            return
        self._settled = True
        told = self._reply.usage()
        usage = _usage(told)
        text = self._kept() if self._grant.keep_text else None
        if not _is_told(told, usage, self._texts):
            usage = await self._counted()
        await durable(self._accounts.settle(self._need.request, usage, outcome, text))

    async def _counted(self) -> Usage:
        """What was taken, for an upstream that does not say: the texts, counted here."""
        prompt = await self._service.count(self._asked)
        answers = [await self._service.count_text(text, self._asked.model) for text in self._texts.values()]
        sizes_ = [_bytes_to_tokens(text) if n is None else n for text, n in zip(self._texts.values(), answers, strict=True)]
        return Usage(self._need.prompt if prompt is None else prompt, 0, sum(sizes_), estimated=True)

    def _see(self, body: dict[str, Any]) -> None:
        """Takes the texts out of a chunk or of a whole answer."""
        for choice in body.get("choices") or ():
            index = choice.get("index", 0)
            message = choice.get("delta") or choice.get("message") or {}
            calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
            parts = [message.get("reasoning_content"), message.get("content"), choice.get("text")]
            parts += [call.get(name) for call in calls for name in ("name", "arguments")]
            self._texts[index] = self._texts.get(index, "") + "".join(part for part in parts if isinstance(part, str))
            if choice.get("finish_reason") is not None:
                self._finished.add(index)

    def _kept(self) -> str:
        asked = self._asked.model_dump(mode="json", exclude_unset=True)
        return json.dumps({"asked": asked, "answered": list(self._texts.values())})


def _need(caller: Caller, model: str, route: str, size: Size, *, flexible: bool) -> Need:
    counts = {"prompt": size.prompt, "answer": size.answer, "choices": size.choices}
    return Need(uuid.uuid4().hex, caller.key, model, route, **counts, flexible=flexible)


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "add_generation_prompt": True, "return_token_strs": False}
