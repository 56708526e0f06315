"""``ChatModel``: the way from applications to a model that holds a conversation, whoever runs it.

Search and agents see only this. ``core.chat_client.ChatClient`` is any server of OpenAI's API (vLLM, SGLang, our own);
``serve.in_process.ServiceChat`` is the engine of this process.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from axk1.core.errors import AXK1Error


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called."""

    id: str
    """Its name within the conversation; the result answers to it."""
    name: str
    arguments: Mapping[str, Any]
    """What the model gives to it, by parameter; not yet checked against the tool's schema."""

    def message(self) -> dict[str, Any]:
        """The call as an entry of an assistant message's ``tool_calls``."""
        arguments = json.dumps(dict(self.arguments), ensure_ascii=False)
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


@dataclass(frozen=True)
class ChatReply:
    """One turn of an assistant."""

    content: str
    """The text; empty where there are only calls."""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    """What it thought before, where it did and the server tells."""
    finish_reason: str = "stop"
    """``stop``, ``tool_calls``, or ``length`` where the limit ended the text."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def message(self) -> dict[str, Any]:
        """The turn as OpenAI's assistant message, to be put behind the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [call.message() for call in self.tool_calls]
        return message

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> "ChatReply":
        """Reads the JSON of ``/v1/chat/completions``. Raises AXK1Error where it is not that."""
        try:
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            message = choice["message"]
            return cls(
                content=message.get("content") or "",
                tool_calls=tuple(map(_call, message.get("tool_calls") or ())),
                reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
                finish_reason=choice.get("finish_reason") or "stop",
                prompt_tokens=usage.get("prompt_tokens", 0),
                completion_tokens=usage.get("completion_tokens", 0),
            )
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise AXK1Error(f"the model's server answered in another form than OpenAI's ({error!r})") from None


class ChatModel(Protocol):
    """Who answers conversations in OpenAI's form."""

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "auto",
        parallel_tool_calls: bool = True,
        response_format: Mapping[str, Any] | None = None,
        enable_thinking: bool = False,
    ) -> ChatReply:
        """The next turn of the assistant.

        Args:
            messages: the conversation so far: ``role``, ``content``, ``tool_calls``, ``tool_call_id``.
            max_tokens: longest turn, its reasoning included.
            temperature: 0 gives the most probable turn.
            seed: of the sampling.
            tools: functions that it may call, in OpenAI's form.
            tool_choice: ``auto``, ``none``, ``required`` or one named tool.
            parallel_tool_calls: whether it may call several at once; small models, held to a call, do not stop.
            response_format: such as ``{"type": "json_schema", "json_schema": {"name": ..., "schema": ...}}``.
            enable_thinking: whether it reasons first.

        Raises:
            AXK1Error: the model cannot be reached, or refuses; the text says why.
        """
        ...


OpenChatModel = Callable[[str], AbstractAsyncContextManager[ChatModel]]
"""Opens what a person named: a checkpoint folder, or the address of a server of OpenAI's API."""


def _call(entry: Mapping[str, Any]) -> ToolCall:
    function = entry["function"]
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except json.JSONDecodeError:
        raise AXK1Error(f"the model called {function['name']} with arguments that are no JSON") from None
    if not isinstance(arguments, dict):
        raise AXK1Error(f"the model called {function['name']} with arguments that are no JSON object")
    return ToolCall(entry.get("id") or "", function["name"], arguments)
