"""``ChatClient``: any server of OpenAI's API as a ``ChatModel``: vLLM, SGLang, ``axk1 serve``."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from axk1.core.asking import Asking, read_object
from axk1.core.chat_model import ChatReply
from axk1.core.errors import AXK1Error


class ChatClient:
    """A model behind an address.

    Args:
        url: where the API begins, such as ``http://host:8000/v1``.
        model: its name there; nothing for the first that ``/v1/models`` lists.
        api_key: what the server asks for.
        timeout_seconds: silence after which an answer is given up.
    """

    def __init__(
        self, url: str, *, model: str | None = None, api_key: str | None = None, timeout_seconds: float = 600
    ) -> None:
        self.url, self.model = url.rstrip("/"), model
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(timeout_seconds, connect=10))

    async def __aenter__(self) -> "ChatClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

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
        """As ``ChatModel.chat``. A server that is busy or away is asked again a few times."""
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
        answer = await self._ask("POST", "/chat/completions", {"model": await self._name(), **body})
        return ChatReply.from_wire(answer)

    async def _name(self) -> str:
        if self.model is None:
            cards = (await self._ask("GET", "/models")).get("data") or []
            if not cards:
                raise AXK1Error(f"{self.url} lists no models", repair="name the model that it serves")
            self.model = cards[0]["id"]
        return self.model

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        asking = Asking(f"the model's server at {self.url}")
        for pause in asking.pauses():
            await asyncio.sleep(pause)
            try:
                answer = await self._http.request(method, self.url + path, json=body)
            except httpx.HTTPError as error:
                asking.failed(error)
                continue
            if not asking.is_busy(answer):
                return read_object(answer)
        raise asking.error


def chat_body(
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]],
    tool_choice: str | Mapping[str, Any],
    parallel_tool_calls: bool,
    response_format: Mapping[str, Any] | None,
    enable_thinking: bool,
    **plain: Any,
) -> dict[str, Any]:
    """The request of ``ChatModel.chat`` as ``/v1/chat/completions`` takes it, without the model's name."""
    body = {"messages": list(messages), **plain, "chat_template_kwargs": {"enable_thinking": enable_thinking}}
    if tools:
        body |= {"tools": list(tools), "tool_choice": tool_choice}
        body |= {} if parallel_tool_calls else {"parallel_tool_calls": False}
    if response_format is not None:
        body["response_format"] = response_format
    return body
