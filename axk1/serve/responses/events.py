"""Chat chunks -> the events of a response, and the response that they add up to.

Order: ``response.created``, ``response.in_progress``; for each item ``response.output_item.added``, the events of its
content, ``response.output_item.done``; at last one of ``response.completed``, ``.incomplete``, ``.failed``. An item is
reasoning, a message or a function call, and one is over when the next begins.
"""

import time
import uuid
from collections.abc import Iterator
from typing import Any

from axk1.serve.errors import ApiError
from axk1.serve.responses.items import Item, new_id, seal

Event = dict[str, Any]
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Chat's reason to end early -> that of a response."""


class Writer:
    """Writes one response. Every method returns the events of what happened.

    Attributes:
        response: the response as far as it is written.
    """

    def __init__(self, resource: dict[str, Any], *, seals_reasoning: bool = False, openai_names: bool = False) -> None:
        """
        Args:
            resource: the fields of the response that repeat the request, and ``model``.
            seals_reasoning: whether reasoning comes sealed, too.
            openai_names: whether the deltas of reasoning are called ``response.reasoning_text.*``, as OpenAI calls
                them, or ``response.reasoning.*``, as Open Responses does.
        """
        self.response: dict[str, Any] = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "completed_at": None,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
            **resource,
        }
        self._seals_reasoning = seals_reasoning
        self._reasoning_events = "response.reasoning_text" if openai_names else "response.reasoning"
        self._count = 0
        self._call: int | None = None
        self._reason: str | None = None
        self._open: Item | None = None
        self._logprobs: list[dict[str, Any]] = []

    def begin(self) -> list[Event]:
        """The response exists."""
        return [self._state("created"), self._state("in_progress")]

    def add(self, chunk: dict[str, Any]) -> Iterator[Event]:
        """A chunk came. Raises ApiError for one that no model may write."""
        self.response["model"] = chunk.get("model") or self.response["model"]
        for choice in chunk.get("choices") or ():
            delta, logprobs = choice.get("delta") or {}, (choice.get("logprobs") or {}).get("content") or []
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            if reasoning:
                yield from self._reasoned(reasoning)
            self._logprobs += [] if reasoning else logprobs
            if delta.get("content"):
                yield from self._said(delta["content"])
            for call in delta.get("tool_calls") or ():
                yield from self._called(call)
            self._reason = choice.get("finish_reason") or self._reason

    def end(self, usage: dict[str, Any]) -> Iterator[Event]:
        """The model has ended. Args: usage: chat's count of tokens. The last event is ``last``.

        Raises:
            ApiError: it has not said why, or failed.
        """
        if self._reason in (None, "error"):
            raise ApiError("the answer broke off", status=502, code="model_error")
        reason = _INCOMPLETE.get(self._reason)
        if not any(item["type"] != "reasoning" for item in self.response["output"]) and reason is None:
            yield from self._opened("message", {"role": "assistant", "content": []})  # it has nothing to say
        yield from self._closed("incomplete" if reason else "completed")
        self.response["status"] = "incomplete" if reason else "completed"
        self.response["incomplete_details"] = {"reason": reason} if reason else None
        self.response["completed_at"] = None if reason else int(time.time())
        self.response["usage"] = response_usage(usage)

    def last(self) -> Event:
        """The event after which nothing comes."""
        return self._state(self.response["status"])

    def fail(self, error: ApiError) -> list[Event]:
        """It cannot go on."""
        body = error.body()["error"]
        code = body["code"] or body["type"]
        self.response |= {"status": "failed", "error": {"code": code, "message": error.message}}
        told = {"code": code, "message": error.message, "param": body["param"], "error": body}
        return [self._event("error", **told), self.last()]

    def _reasoned(self, text: str) -> Iterator[Event]:
        if self._open is None or self._open["type"] != "reasoning":
            yield from self._opened("reasoning", {"summary": [], "content": []})
        self._open["content"][0]["text"] += text
        yield self._part_event(f"{self._reasoning_events}.delta", delta=text)

    def _said(self, text: str) -> Iterator[Event]:
        if self._open is None or self._open["type"] != "message":
            yield from self._opened("message", {"role": "assistant", "content": []})
        part, logprobs = self._open["content"][0], self._logprobs
        part["text"] += text
        part["logprobs"], self._logprobs = part["logprobs"] + logprobs, []
        yield self._part_event("response.output_text.delta", delta=text, logprobs=logprobs)

    def _called(self, call: dict[str, Any]) -> Iterator[Event]:
        function = call.get("function") or {}
        if self._open is None or self._open["type"] != "function_call" or self._call != call.get("index"):
            fields = {"call_id": call.get("id") or f"call_{uuid.uuid4().hex}", "name": function.get("name") or ""}
            self._require_allowed(fields["name"])
            yield from self._opened("function_call", {**fields, "arguments": ""})
            self._call = call.get("index")
        if function.get("arguments"):
            self._open["arguments"] += function["arguments"]
            yield self._item_event("response.function_call_arguments.delta", delta=function["arguments"])

    def _require_allowed(self, name: str) -> None:
        choice = self.response["tool_choice"]
        narrowed = isinstance(choice, dict) and choice["type"] == "allowed_tools"
        if narrowed and name not in [tool["name"] for tool in choice["tools"]]:
            raise ApiError(f"the model called {name!r}, which is not allowed", status=500, code="model_error")

    def _opened(self, kind: str, fields: dict[str, Any]) -> Iterator[Event]:
        yield from self._closed("completed")
        self._open = {"type": kind, "id": new_id(kind), "status": "in_progress", **fields}
        self.response["output"].append(self._open)
        yield self._event("response.output_item.added", output_index=self._index, item=_copy(self._open))
        if "content" in fields:
            part = {"type": "reasoning_text", "text": ""}
            if kind == "message":
                part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            self._open["content"].append(part)
            yield self._part_event("response.content_part.added", part=dict(part))

    def _closed(self, status: str) -> Iterator[Event]:
        item = self._open
        if item is None:
            return
        item["status"] = status
        if item["type"] == "message":
            part = item["content"][0]
            yield self._part_event("response.output_text.done", text=part["text"], logprobs=part["logprobs"])
        elif item["type"] == "reasoning":
            yield self._part_event(f"{self._reasoning_events}.done", text=item["content"][0]["text"])
            if self._seals_reasoning:
                item["encrypted_content"] = seal(item["content"][0]["text"])
        else:
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield self._item_event("response.function_call_arguments.done", **done)
        if "content" in item:
            yield self._part_event("response.content_part.done", part=dict(item["content"][0]))
        yield self._event("response.output_item.done", output_index=self._index, item=_copy(item))
        self._open = None

    @property
    def _index(self) -> int:
        return len(self.response["output"]) - 1

    def _part_event(self, kind: str, **fields: Any) -> Event:
        return self._item_event(kind, content_index=0, **fields)

    def _item_event(self, kind: str, **fields: Any) -> Event:
        return self._event(kind, item_id=self._open["id"], output_index=self._index, **fields)

    def _state(self, state: str) -> Event:
        """The whole response, as it is now."""
        output = [_copy(item) for item in self.response["output"]]
        return self._event(f"response.{state}", response={**self.response, "output": output})

    def _event(self, kind: str, **fields: Any) -> Event:
        self._count += 1
        return {"type": kind, "sequence_number": self._count - 1, **fields}


def response_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Chat's count of tokens under the names of a response. Writing to the cache costs nothing here."""
    prompt, written = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": prompt.get("cached_tokens") or 0, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning_tokens") or 0},
        "total_tokens": usage["total_tokens"],
    }


def _copy(item: Item) -> Item:
    """An item as it is now: its text goes on growing, and a stream sends later than it writes."""
    if "content" not in item:
        return dict(item)
    return {**item, "content": [dict(part) for part in item["content"]]}
