"""``MeteredService``: any models' service on the meter. The one place where a request meets its limits and ledger."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from axk1.core.errors import AXK1Error
from axk1.serve.caller import Caller
from axk1.serve.errors import ApiError, no_such_model
from axk1.serve.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    TokenizeChatRequest,
    TokenizeRequest,
)
from axk1.serve.service import ModelService, Reply
from axk1.serve.tenants import sizes
from axk1.serve.tenants.accounts import Accounts
from axk1.serve.tenants.ledger import Grant, Need, Usage
from axk1.serve.tenants.metered_reply import MeteredReply
from axk1.serve.tenants.sizes import Size

R = TypeVar("R", ChatRequest, CompletionRequest, EmbeddingRequest)
_CARDS_SECONDS = 30.0
"""How long the list of models is believed."""
_PROMPT_FIELDS = ("model", "messages", "tools", "chat_template_kwargs")


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

    async def embed(self, asked: EmbeddingRequest, caller: Caller) -> Reply:
        return await self._metered("embeddings", asked, caller, sizes.of_embedding(asked), self.service.embed)

    async def tokenize(self, asked: TokenizeRequest | TokenizeChatRequest) -> dict[str, Any]:
        return await self.service.tokenize(asked)

    async def detokenize(self, asked: DetokenizeRequest) -> dict[str, Any]:
        return await self.service.detokenize(asked)

    async def check_health(self) -> None:
        await self.service.check_health()

    def metrics(self) -> bytes:
        return self.service.metrics()

    async def _metered(
        self, route: str, asked: R, caller: Caller, size: Size, ask: Callable[[R, Caller], Awaitable[Reply]]
    ) -> Reply:
        """Reserves, asks, and gives a reply that settles itself."""
        model, context = await self._model(asked.model)
        need = _need(caller, model, route, size.within(context))
        grant = await self._accounts.reserve(need)
        if isinstance(grant, ApiError) and grant.status != 401:
            # bytes were counted, not tokens; and an answer whose length was left open may be cut
            counted = await self._count(asked)
            exact = size if counted is None else size.with_prompt(counted)
            need = _need(caller, model, route, exact.within(context), flexible=size.flexible)
            grant = await self._accounts.reserve(need)
        if isinstance(grant, ApiError):
            self._accounts.note("refused", caller.tenant, key=caller.key, detail=f"{route} {model}: {grant.code}")
            raise grant
        if size.flexible and grant.answer is not None:
            asked = asked.model_copy(update={"max_tokens": grant.answer // size.choices})
        return await self._open(asked, caller, need, grant, ask)

    async def _open(
        self, asked: R, caller: Caller, need: Need, grant: Grant, ask: Callable[[R, Caller], Awaitable[Reply]]
    ) -> Reply:
        try:
            reply = await ask(asked, caller)
        except asyncio.CancelledError:  # the client left; whoever answers may have read the prompt already
            self._do_later(self._settle_prompt(asked, need))
            raise
        except BaseException:
            self._accounts.release(need.request, "refused")
            raise
        return MeteredReply(self._accounts, reply, need, grant, asked)

    async def _settle_prompt(self, asked: ChatRequest | CompletionRequest | EmbeddingRequest, need: Need) -> None:
        counted = await self._count(asked)
        usage = Usage(need.prompt if counted is None else counted, 0, 0, estimated=True)
        self._accounts.settle(need.request, usage, "left")

    def _do_later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Does some work that nobody waits for; it is done before the service stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _count(self, asked: ChatRequest | CompletionRequest | EmbeddingRequest) -> int | None:
        """Tokens of a prompt, exactly; None where whoever answers cannot tell."""
        try:
            if isinstance(asked, ChatRequest):
                fields = {name: value for name, value in asked.sent().items() if name in _PROMPT_FIELDS}
                options = fields.get("chat_template_kwargs", {}) | {"enable_thinking": asked.enable_thinking}
                fields["chat_template_kwargs"] = options
                return (await self.service.tokenize(TokenizeChatRequest.model_validate(fields)))["count"]
            texts, ids = sizes.texts_and_ids(asked.input if isinstance(asked, EmbeddingRequest) else asked.prompt)
            told = [await self.service.tokenize(TokenizeRequest(model=asked.model, prompt=text)) for text in texts]
            return ids + sum(each["count"] for each in told)
        except (ApiError, AXK1Error, ValueError):  # pydantic's error too; the request itself will be refused for it
            return None

    async def _model(self, name: str | None) -> tuple[str, int | None]:
        """The name of the model that will answer, and the length of its context where that is known."""
        if time.monotonic() - self._cards[0] > _CARDS_SECONDS:
            self._cards = time.monotonic(), await self.service.models()
        cards = self._cards[1]
        if name is not None and not (name.isprintable() and len(name) <= 200):
            raise no_such_model(name[:200], [card["id"] for card in cards])
        if name is None:
            name = cards[0]["id"] if len(cards) == 1 else ""
        return name, next((card.get("max_model_len") for card in cards if card["id"] == name), None)


def _need(caller: Caller, model: str, route: str, size: Size, *, flexible: bool = False) -> Need:
    counts = {"prompt": size.prompt, "answer": size.answer, "choices": size.choices}
    return Need(uuid.uuid4().hex, caller.key, model, route, **counts, flexible=flexible)
