"""``Conversation``: messages and tools as clients send them, checked before they reach the chat template."""

import json
import re
from typing import Any

from pydantic import Field, model_validator

from axk1.serve.errors import ApiError, UnsupportedField
from axk1.serve.fields import Request
from axk1.serve.tools import Tool
from axk1.tokenizer.special_tokens import TOOL_CALL
from axk1.tokenizer.tokenizer import Tokenizer

_TAKES_ARGUMENTS_AS_TEXT = re.compile(r"\barguments\s+is\s+string")
"""In a chat template that tells the two forms of arguments apart; most others know objects only."""


class TemplateOptions(Request):
    """``chat_template_kwargs``: what the chat template is told."""

    enable_thinking: bool = True


class Conversation(Request):
    """What a chat template renders."""

    messages: list[dict[str, Any]]
    tools: list[Tool] = Field(default_factory=list)
    chat_template_kwargs: TemplateOptions = Field(default_factory=TemplateOptions)

    @property
    def enable_thinking(self) -> bool:
        """Whether the assistant may think before it answers."""
        return self.chat_template_kwargs.enable_thinking

    @model_validator(mode="after")
    def _check_messages(self) -> "Conversation":
        for place, message in enumerate(self.messages):
            if not isinstance(message.get("role"), str):
                raise ValueError(f"messages[{place}] has no role")
            _check_content(message.get("content"), f"messages[{place}].content")
            _check_calls(message.get("tool_calls"), f"messages[{place}].tool_calls")
        return self

    @model_validator(mode="after")
    def _check_tools(self) -> "Conversation":
        names = [tool.function.name for tool in self.tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"tools has two functions with the name {twice!r}")
        return self

    def encode(self, tokenizer: Tokenizer, *, add_generation_prompt: bool = True) -> list[int]:
        """The conversation as token ids. Raises ConfigError or ApiError where the chat template cannot render it."""
        template = tokenizer.chat_template or ""
        if self.tools and (TOOL_CALL not in template or "<function=" in template):
            raise ApiError(
                "tools is not supported for this model: its chat template writes no calls in Hermes' form",
                param="tools",
            )
        as_text = _TAKES_ARGUMENTS_AS_TEXT.search(template) is not None
        return tokenizer.encode_chat(
            self.messages if as_text else [_with_parsed_arguments(message) for message in self.messages],
            tools=[tool.described() for tool in self.tools],
            enable_thinking=self.enable_thinking,
            add_generation_prompt=add_generation_prompt,
        ).ids


def _check_content(content: Any, field: str) -> None:
    if content is not None and not isinstance(content, str | list):
        raise ValueError(f"{field} is neither a string nor a list of parts")


def _check_calls(calls: Any, field: str) -> None:
    """Calls that were made: ``{"type": "function", "function": {"name": ..., "arguments": JSON of an object}}``."""
    if not isinstance(calls, list | None):
        raise ValueError(f"{field} is not a list")
    for place, call in enumerate(calls or ()):
        kind = call.get("type", "function") if isinstance(call, dict) else type(call).__name__
        if kind != "function":
            raise UnsupportedField(f"{field}[{place}] of type {kind!r}", "function")
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ValueError(f"{field}[{place}].function has no name")
        if not _is_object(function.get("arguments")):
            raise ValueError(f"{field}[{place}].function.arguments is not the JSON of an object")


def _with_parsed_arguments(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return message
    functions = [dict(call["function"]) for call in calls]
    for function in functions:
        if isinstance(function.get("arguments"), str):
            function["arguments"] = json.loads(function["arguments"].strip() or "{}")
    return {**message, "tool_calls": [{**c, "function": f} for c, f in zip(calls, functions, strict=True)]}


def _is_object(arguments: Any) -> bool:
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return False
    return isinstance(arguments, dict) or not arguments
