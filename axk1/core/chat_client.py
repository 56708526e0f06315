"""``ChatClient``: any server of OpenAI's API as a ``ChatModel``: vLLM, SGLang, ``axk1 serve``."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from axk1.core.chat_model import ChatReply
from axk1.core.errors import AXK1Error

_ATTEMPTS = 5
_BUSY = (429, 502, 503)
"""Statuses that pass."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Seconds between attempts: doubled each time, or what the server's Retry-After says."""


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
        wait, refused = _FIRST_WAIT, ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(min(wait, _LONGEST_WAIT))
                wait *= 2
            try:
                answer = await self._http.request(method, self.url + path, json=body)
            except httpx.HTTPError as error:
                refused = repr(error)
                continue
            if answer.status_code in _BUSY:
                refused, wait = f"status {answer.status_code}", _retry_after(answer, wait)
                continue
            return self._read(answer)
        raise AXK1Error(
            f"the model's server at {self.url} did not answer in {_ATTEMPTS} attempts: {refused}",
            repair="axk1 serve PATH, or the address of a server that runs",
        )

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            read = answer.json()
        except ValueError:
            raise AXK1Error(f"{answer.url} answered with status {answer.status_code} and no JSON") from None
        if answer.is_error:
            error = read.get("error") if isinstance(read, dict) else None
            said = error.get("message") if isinstance(error, dict) else read
            raise AXK1Error(f"the model's server refused with status {answer.status_code}: {said}")
        return read


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


def _retry_after(answer: httpx.Response, otherwise: float) -> float:
    try:
        return float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return otherwise
