"""``POST /v1/responses/compact``: a long conversation -> a short one that can be gone on from.

What the user and the system said stays as it is. The rest becomes one ``compaction`` item, which holds a summary that
the model writes of the whole conversation; sent back as input, it is read as a message of the system. A conversation
that does not fit into the context is summarised half by half.
"""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from axk1.core.errors import AXK1Error
from axk1.serve.caller import Caller
from axk1.serve.errors import ApiError, as_api_error
from axk1.serve.responses.events import response_usage
from axk1.serve.responses.items import Item, count_turns, messages, new_id, normalised, seal, split_turns
from axk1.serve.responses.protocol import CompactRequest
from axk1.serve.responses.reply import History, open_chat
from axk1.serve.service import ModelService, Reply

_PROMPT = (
    "Summarise the conversation above, in its own language, for somebody who must go on with it: what was asked, "
    "what was found, decided and promised, with all names and numbers. Write the summary only."
)
_MOST_TOKENS = 1024
"""Most tokens of a summary; a quarter of the context where that is less."""


class CompactReply:
    """A ``Reply`` with the compacted conversation. Make one with ``open``."""

    def __init__(
        self, service: ModelService, caller: Caller, asked: CompactRequest, items: list[Item], most_tokens: int
    ) -> None:
        self._service, self._caller, self._asked, self._items = service, caller, asked, items
        self._most_tokens = most_tokens
        self.headers: dict[str, str] = {}
        self._chats: list[Reply] = []

    @classmethod
    async def open(
        cls, service: ModelService, caller: Caller, asked: CompactRequest, history: History
    ) -> "CompactReply":
        """Finds the conversation. Raises ApiError where there is none."""
        before, _ = await history.find(asked.previous_response_id)
        items = before + normalised(asked.input)
        if not items:
            raise ApiError("input is empty", param="input")
        cards = await service.models()
        lengths = [card["max_model_len"] for card in cards if card["id"] == asked.model and card.get("max_model_len")]
        return cls(service, caller, asked, items, min([_MOST_TOKENS, *(max(1, length // 4) for length in lengths)]))

    async def whole(self) -> dict[str, Any]:
        summary = "\n".join(await self._summaries(self._items))
        kept = [item for item in self._items if item["type"] == "message" and item["role"] != "assistant"]
        return {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response.compaction",
            "created_at": int(time.time()),
            "output": [*kept, {"type": "compaction", "id": new_id("compaction"), "encrypted_content": seal(summary)}],
            "usage": response_usage(self.usage()),
        }

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        yield await self.whole()

    def usage(self) -> dict[str, Any]:
        counts = [chat.usage() for chat in self._chats]
        total = {name: sum(c[name] for c in counts) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        cached = sum((c.get("prompt_tokens_details") or {}).get("cached_tokens") or 0 for c in counts)
        return {**total, "prompt_tokens_details": {"cached_tokens": cached}}

    def close(self) -> None:
        for chat in self._chats:
            chat.close()

    async def _summaries(self, items: list[Item]) -> list[str]:
        """The summary of a conversation, or of its halves where it is too long."""
        request = {
            "model": self._asked.model,
            "messages": [*messages(items, self._asked.instructions), {"role": "user", "content": _PROMPT}],
            "max_completion_tokens": self._most_tokens,
            "reasoning_effort": "none",
        }
        try:
            chat = await open_chat(self._service, request, self._caller)
        except (ApiError, AXK1Error) as error:
            if as_api_error(error).code != "context_length_exceeded" or count_turns(items) < 2:
                raise
            halves = split_turns(items)
            return [summary for half in halves for summary in await self._summaries(half)]
        self._chats.append(chat)
        try:
            answer = await chat.whole()
        finally:
            chat.close()
        return [(answer["choices"][0]["message"]["content"] or "").strip()]
