"""What a server offers over MCP, whatever is behind it: ``Served`` tools, ``ServedResource``s, ``ServedPrompt``s.

All three are plain values with a function inside, which gets the ``Call``: who asks, for what, and how to report.
``Offer`` holds them.
"""

import itertools
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mcp_types as types
from mcp.shared.uri_template import UriTemplate

from axk1.agents.mcp.asks import Ask, Asked
from axk1.agents.tool import Report, unheard
from axk1.serve.caller import Caller

Completer = Callable[[Caller, str, Mapping[str, str]], Iterable[str]]
"""``complete(caller, beginning, others)``: values of an argument that begin like, or contain, what was written; the
likeliest first. ``others`` are arguments that are filled in already. It may block."""


@dataclass(frozen=True)
class Call:
    """One request of a client."""

    caller: Caller
    """On whose behalf; what belongs to others is not there for it."""
    arguments: Mapping[str, Any]
    asked: Asked = field(default_factory=Asked)
    """What was asked in the course of it, and answered."""
    report: Report = unheard
    """Tells the client how far it has come, in any thread."""
    can: frozenset[str] = frozenset()
    """What the client can be asked for: ``elicitation``, ``sampling``, ``roots``."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A tool as other programs see it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    """Its parameters, as a JSON schema of an object. A property with ``x-mcp-header`` also travels as that header."""
    annotations: types.ToolAnnotations | None = None
    call: Callable[[Call], Awaitable[types.CallToolResult | Ask]]
    """The arguments fit the schema."""

    def described(self) -> types.Tool:
        """As ``tools/list`` shows it."""
        return types.Tool(
            name=self.name,
            description=self.description,
            input_schema=dict(self.schema),
            annotations=self.annotations,
        )


@dataclass(frozen=True)
class Content:
    """What stands in a resource: text, or bytes where it is none."""

    body: str | bytes
    mime_type: str


@dataclass(frozen=True, kw_only=True)
class ServedResource:
    """Something to read at an address, or many things at the addresses of a template (RFC 6570)."""

    uri: str
    """Such as ``axk1://about``, or ``axk1://workspace/{+path}`` for many."""
    name: str
    description: str
    mime_type: str | None = None
    """Of all of them; None where they differ."""
    read: Callable[[Caller, Mapping[str, str]], Content | None]
    """``read(caller, values of the template)``; None where there is nothing for this caller. It may block."""
    entries: Callable[[Caller], Iterable[types.Resource]] | None = None
    """What there is at the addresses of a template, in a lasting order; None where it is not listed."""
    version: Callable[[Caller, Mapping[str, str]], str] | None = None
    """Other whenever what is read there is other, empty where there is nothing; None where it never changes."""
    complete: Mapping[str, Completer] = field(default_factory=dict)
    """Completes the template's variables."""

    @cached_property
    def template(self) -> UriTemplate:
        """The addresses, parsed."""
        return UriTemplate.parse(self.uri)

    @property
    def is_template(self) -> bool:
        """Whether it stands for many."""
        return bool(self.template.variables)

    def match(self, uri: str) -> Mapping[str, str] | None:
        """The values of the variables in an address; None where it is not one of its own."""
        if not self.is_template:
            return {} if uri == self.uri else None
        found = self.template.match(uri)
        return None if found is None else {name: str(value) for name, value in found.items()}

    def listed(self, caller: Caller) -> Iterable[types.Resource]:
        """As ``resources/list`` shows it."""
        if self.entries is not None:
            return self.entries(caller)
        if self.is_template:
            return ()
        told = {"uri": self.uri, "name": self.name, "description": self.description, "mime_type": self.mime_type}
        return (types.Resource(**told),)


@dataclass(frozen=True, kw_only=True)
class Argument:
    """What a prompt is filled in with."""

    name: str
    description: str
    """Also the question for it, where a client left it out."""
    required: bool = True
    complete: Completer | None = None


@dataclass(frozen=True, kw_only=True)
class ServedPrompt:
    """A prompt that a person chooses, such as a command of their editor."""

    name: str
    description: str
    arguments: tuple[Argument, ...] = ()
    get: Callable[[Call], Awaitable[list[types.PromptMessage]]]
    """The conversation to begin with. Arguments are strings; all that are required are there."""

    def described(self) -> types.Prompt:
        """As ``prompts/list`` shows it."""
        arguments = [
            types.PromptArgument(name=one.name, description=one.description, required=one.required)
            for one in self.arguments
        ]
        return types.Prompt(name=self.name, description=self.description, arguments=arguments)


class Offer:
    """All that a server offers. More may be added at any time; clients that listen are told.

    Args:
        things: what it begins with; see ``add``.
    """

    def __init__(self, *things: Served | ServedResource | ServedPrompt) -> None:
        self.tools: dict[str, Served] = {}
        self.resources: dict[str, ServedResource] = {}
        self.prompts: dict[str, ServedPrompt] = {}
        self.add(*things)

    def add(self, *things: Served | ServedResource | ServedPrompt) -> "Offer":
        """Adds tools, resources and prompts; one of the same name (or address) takes the place of the one before."""
        for thing in things:
            match thing:
                case Served():
                    self.tools[thing.name] = thing
                case ServedResource():
                    self.resources[str(thing.template)] = thing
                case ServedPrompt():
                    self.prompts[thing.name] = thing
        return self

    def resource_at(self, uri: str) -> tuple[ServedResource, Mapping[str, str]] | None:
        """Whose address it is, and the values in it; fixed addresses go before templates."""
        for one in sorted(self.resources.values(), key=lambda one: one.is_template):
            values = one.match(uri)
            if values is not None:
                return one, values
        return None

    def listed(self, caller: Caller) -> Iterator[types.Resource]:
        """All resources that a caller may read and that are listed. It may block."""
        return itertools.chain.from_iterable(one.listed(caller) for one in list(self.resources.values()))


def text_result(text: str, structured: Mapping[str, Any] | None = None) -> types.CallToolResult:
    """A result in words, and for programs as JSON."""
    content: list[types.ContentBlock] = [types.TextContent(text=text)]
    return types.CallToolResult(content=content, structured_content=None if structured is None else dict(structured))


def failure(text: str) -> types.CallToolResult:
    """A result that says why there is none; the model on the other side reads it and may try otherwise."""
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)


def said(text: str) -> types.PromptMessage:
    """A turn of the person's in a prompt."""
    return types.PromptMessage(role="user", content=types.TextContent(text=text))


def contents(uri: str, content: Content) -> types.TextResourceContents | types.BlobResourceContents:
    """What stands in a resource, as it travels."""
    if isinstance(content.body, str):
        return types.TextResourceContents(uri=uri, mime_type=content.mime_type, text=content.body)
    return types.BlobResourceContents(uri=uri, mime_type=content.mime_type, blob=b64encode(content.body).decode())


def embedded(uri: str, content: Content) -> types.EmbeddedResource:
    """A resource with what stands in it."""
    return types.EmbeddedResource(resource=contents(uri, content))
