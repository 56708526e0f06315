"""An MCP server over an ``Offer``: lists, reads, completes, calls, and asks for what is missing.

Whatever is in the offer is served alike, ours and what others add; it may grow while the server runs.
"""

import asyncio
import itertools
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

import mcp_types as types
from mcp import MCPDeprecationWarning, MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from starlette.requests import HTTPConnection

from axk1.agents.mcp.asks import Ask, Asked
from axk1.agents.mcp.listening import Listening, no_resource
from axk1.agents.mcp.rounds import Unanswered, abilities, answered
from axk1.agents.mcp.schema_tool import validator
from axk1.agents.mcp.served import Call, Offer, Served, ServedPrompt, contents, failure
from axk1.agents.mcp.telling import set_level, telling
from axk1.core.errors import AXK1Error
from axk1.serve.caller import ANYBODY, Caller, caller_of
from axk1.serve.errors import ApiError

NAME = "axk1"
_STATE_SECONDS = 7 * 24 * 3600
"""How long a person may take to answer."""
_PAGE = 200
"""Resources in one page of their list."""
_COMPLETIONS = 100
"""Most values that a completion may have (MCP)."""
_LISTS = {"ttl_ms": 60_000, "cache_scope": "private"}
_CONTENTS = {"ttl_ms": 0, "cache_scope": "private"}
"""Files may change at any time, and are one organisation's."""
_log = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
R = TypeVar("R")


def mcp_server(offer: Offer, *, instructions: str = "", keys: Sequence[bytes] = ()) -> Server[Any]:
    """A server; it runs on any of the SDK's transports.

    Args:
        offer: what it offers.
        instructions: what it says of itself to models.
        keys: secrets of at least 32 bytes that seal what travels with clients, the newest first; nothing makes one
            for this process alone.
    """
    handlers, listening = _Handlers(offer), Listening(offer, _caller)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)  # logging is for clients of the older protocols
        server: Server[Any] = Server(
            NAME,
            version=version("axk1"),
            instructions=instructions or None,
            on_list_tools=handlers.list_tools,
            on_call_tool=handlers.call_tool,
            on_list_resources=handlers.list_resources,
            on_list_resource_templates=handlers.list_templates,
            on_read_resource=handlers.read_resource,
            on_list_prompts=handlers.list_prompts,
            on_get_prompt=handlers.get_prompt,
            on_completion=handlers.complete,
            on_subscribe_resource=listening.subscribe,
            on_unsubscribe_resource=listening.unsubscribe,
            on_subscriptions_listen=listening.listen,
            on_set_logging_level=set_level,
            get_tool_input_schema=lambda name: offer.tools[name].schema if name in offer.tools else None,
        )
    secrets = list(keys) or [os.urandom(32)]
    security = RequestStateSecurity(keys=secrets, ttl=_STATE_SECONDS, bind_principal=_principal)
    server.middleware.append(RequestStateBoundary(security, default_audience=NAME))
    return server


class _Handlers:
    """What the server does with each request."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    async def list_tools(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[one.described() for one in self._offer.tools.values()], **_LISTS)

    async def list_prompts(self, _: Context, __: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[one.described() for one in self._offer.prompts.values()], **_LISTS)

    async def list_templates(
        self, _: Context, __: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        shown = [
            types.ResourceTemplate(
                uri_template=one.uri, name=one.name, description=one.description, mime_type=one.mime_type
            )
            for one in self._offer.resources.values()
            if one.is_template
        ]
        return types.ListResourceTemplatesResult(resource_templates=shown, **_LISTS)

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        cursor = params.cursor if params is not None and params.cursor is not None else "0"
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
            raise MCPError(types.INVALID_PARAMS, f"cursor = {cursor!r} is not one that was given")
        start, everything = int(cursor), self._offer.listed(_caller(context))
        page = await _all_of("resources", lambda: itertools.islice(everything, start, start + _PAGE + 1))
        more = str(start + _PAGE) if len(page) > _PAGE else None
        return types.ListResourcesResult(resources=page[:_PAGE], next_cursor=more, **_CONTENTS)

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        found = self._offer.resource_at(params.uri)
        if found is None:
            raise no_resource(params.uri)
        one, values = found
        content = await _told(one.name, asyncio.to_thread(one.read, _caller(context), values))
        if content is None:
            raise no_resource(params.uri)
        return types.ReadResourceResult(contents=[contents(params.uri, content)], **_CONTENTS)

    async def complete(self, context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        completer = self._completer(params.ref, params.argument.name)
        if completer is None:
            return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))
        others = (params.context.arguments if params.context is not None else None) or {}
        found = partial(completer, _caller(context), params.argument.value, others)
        values = await _all_of("completion", lambda: itertools.islice(found(), _COMPLETIONS + 1))
        more = len(values) > _COMPLETIONS
        total = None if more else len(values)
        return types.CompleteResult(
            completion=types.Completion(values=values[:_COMPLETIONS], total=total, has_more=more)
        )

    def _completer(
        self, ref: types.PromptReference | types.ResourceTemplateReference, argument: str
    ) -> Callable[..., Iterable[str]] | None:
        """Who completes an argument; None where nobody does. Raises MCPError where there is no such thing."""
        if isinstance(ref, types.PromptReference):
            prompt = self._offer.prompts.get(ref.name)
            completers = {one.name: one.complete for one in prompt.arguments} if prompt is not None else None
        else:
            one = self._offer.resources.get(str(ref.uri))
            names = one.template.variable_names if one is not None else ()
            completers = {name: one.complete.get(name) for name in names} if one is not None else None
        if completers is None or argument not in completers:
            raise MCPError(types.INVALID_PARAMS, f"there is no argument {argument!r} to complete there")
        return completers[argument]

    async def call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        one = self._offer.tools.get(params.name)
        if one is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}")
        arguments = dict(params.arguments or {})
        wrong = [f"{error.json_path}: {error.message}" for error in validator(one.schema).iter_errors(arguments)]
        if wrong:
            return failure(f"{one.name} was called wrongly: {'; '.join(wrong[:5])}")
        async with telling(context) as report:

            async def attempt(asked: Asked) -> types.CallToolResult | Ask:
                return await _called(one, Call(_caller(context), arguments, asked, report, abilities(context)))

            try:
                return await answered(context, params, attempt)
            except Unanswered as error:
                return failure(f"{one.name}: {error.message}")

    async def get_prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        one = self._offer.prompts.get(params.name)
        if one is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {params.name!r}")
        given = dict(params.arguments or {})
        async with telling(context) as report:

            async def attempt(asked: Asked) -> types.GetPromptResult | Ask:
                return await _got(one, Call(_caller(context), given, asked, report, abilities(context)))

            return await _told(one.name, answered(context, params, attempt))


async def _called(one: Served, call: Call) -> types.CallToolResult | Ask:
    try:
        return await one.call(call)
    except (AXK1Error, ApiError) as error:
        return failure(error.message)
    except MCPError:
        raise
    except Exception:
        _log.exception("%s broke", one.name)
        return failure(f"{one.name} broke; the server's log says how")


async def _got(one: ServedPrompt, call: Call) -> types.GetPromptResult | Ask:
    """A prompt, filled in; arguments that are missing are asked for."""
    names = {argument.name for argument in one.arguments}
    unknown = set(call.arguments) - names
    if unknown:
        raise AXK1Error(f"{one.name} has no arguments {sorted(unknown)}; it has {sorted(names)}")
    arguments = {**call.arguments, **{name: call.asked.answers[name] for name in names & set(call.asked.answers)}}
    missing = [argument for argument in one.arguments if argument.required and not arguments.get(argument.name)]
    if call.asked.declined:
        raise AXK1Error(f"{one.name} needs what the person would not say")
    if missing:
        fields = {argument.name: {"type": "string", "description": argument.description} for argument in missing}
        return Ask.form("\n".join(argument.description for argument in missing), fields, consent=False)
    messages = await one.get(replace(call, arguments=arguments))
    return types.GetPromptResult(description=one.description, messages=messages)


async def _all_of(name: str, some: Callable[[], Iterable[R]]) -> list[R]:
    """All of what may block where it is looked for."""
    return await _told(name, asyncio.to_thread(lambda: list(some())))


async def _told(name: str, work: Any) -> Any:
    """The result of some work, its errors as the protocol's."""
    try:
        return await work
    except (AXK1Error, ApiError) as error:
        raise MCPError(types.INVALID_PARAMS, error.message) from None
    except MCPError:
        raise
    except Exception:
        _log.exception("%s broke", name)
        raise MCPError(types.INTERNAL_ERROR, f"{name} broke; the server's log says how") from None


def _caller(context: Context) -> Caller:
    """On whose behalf a request runs, as the server's gate has found it; anybody over standard input and output."""
    request = context.request
    return caller_of(request) if isinstance(request, HTTPConnection) else ANYBODY


def _principal(context: Context) -> str | None:
    """Whose state it is: nobody else's key opens what one caller was given."""
    caller = _caller(context)
    return None if caller.tenant == "" else f"{caller.tenant}/{caller.key}"
