"""``ServiceChat``: the models of this server, for the rooms that reach a model only as a ``ChatModel``."""

from collections.abc import Mapping, Sequence
from typing import Any

from axk1.core.chat_client import chat_body
from axk1.core.chat_model import ChatReply
from axk1.core.errors import AXK1Error
from axk1.serve.caller import ANYBODY, Caller
from axk1.serve.errors import ApiError
from axk1.serve.protocol import ChatRequest
from axk1.serve.service import ModelService


class ServiceChat:
    """One of the models of a service, on behalf of a caller, whose limits and meter it meets.

    Args:
        service: who answers; started.
        caller: who asks.
        model: which model; nothing for the only one.
    """

    def __init__(self, service: ModelService, *, caller: Caller = ANYBODY, model: str | None = None) -> None:
        self.service, self.caller, self.model = service, caller, model

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
        """As ``ChatModel.chat``."""
        body = chat_body(
            messages,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=parallel_tool_calls,
            response_format=response_format,
            enable_thinking=enable_thinking,
        )
        try:
            reply = await self.service.chat(ChatRequest.model_validate({"model": self.model, **body}), self.caller)
            try:
                return ChatReply.from_wire(await reply.whole())
            finally:
                reply.close()
        except ApiError as error:
            raise AXK1Error(error.message) from error
