"""``Served``: one thing that we offer over MCP, whatever is behind it: a tool, the search, the agents."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types

from axk1.serve.caller import Caller


@dataclass(frozen=True)
class Ask:
    """What the person must say before a call can end: a form."""

    message: str
    fields: Mapping[str, Mapping[str, Any]]
    """JSON schema of each field; flat, as MCP's forms are. All are required."""
    state: str
    """What the call wants back with the answers; the client sees it only sealed."""
    consent: bool = True
    """Whether only the person's own answer will do; otherwise a client that cannot ask may give it as an argument."""


@dataclass(frozen=True)
class Asked:
    """How a call goes on after an ``Ask``."""

    state: str = ""
    """That of the ``Ask``; empty at the first attempt."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What the person said, by field."""
    declined: bool = False
    """Whether they would not say."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A tool as other programs see it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    """Its parameters, as a JSON schema of an object."""
    annotations: types.ToolAnnotations
    call: Callable[[Caller, dict[str, Any], Asked], Awaitable[types.CallToolResult | Ask]]
    """``call(caller, arguments, asked)``; the arguments fit the schema."""

    def described(self) -> types.Tool:
        """As ``tools/list`` shows it."""
        return types.Tool(
            name=self.name,
            description=self.description,
            input_schema=dict(self.schema),
            annotations=self.annotations,
        )


def text_result(text: str, structured: Mapping[str, Any] | None = None) -> types.CallToolResult:
    """A result in words, and for programs as JSON."""
    content: list[types.ContentBlock] = [types.TextContent(text=text)]
    return types.CallToolResult(content=content, structured_content=None if structured is None else dict(structured))


def failure(text: str) -> types.CallToolResult:
    """A result that says why there is none; the model on the other side reads it and may try otherwise."""
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
