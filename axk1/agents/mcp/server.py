"""An MCP server over what we offer: list, call, and ask for what is missing.

In the protocol since 2026-07-28 a call that needs the person ends in ``input_required`` and is made again with the
answers; its state travels with the client, sealed, and holds for another process with the same key. Clients of the
older protocols are asked in the middle of the call. A client that cannot ask its person reads what is missing.
"""

import dataclasses
import json
import logging
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import HTTPConnection

from axk1.agents.mcp.schema_tool import validator
from axk1.agents.mcp.served import Ask, Asked, Served, failure
from axk1.core.errors import AXK1Error
from axk1.serve.caller import ANYBODY, Caller, caller_of
from axk1.serve.errors import ApiError

NAME = "axk1"
FORM = "form"
"""The name of our one request for input, in ``input_required``."""
_STATE_SECONDS = 7 * 24 * 3600
"""How long a person may take to answer."""
_ROUNDS = 10
"""Most forms in one call."""
_log = logging.getLogger(__name__)

Result = types.CallToolResult | types.InputRequiredResult
Context = ServerRequestContext[Any, Any]


def mcp_server(served: Sequence[Served], *, instructions: str = "", keys: Sequence[bytes] = ()) -> Server[Any]:
    """A server; it runs on any of the SDK's transports.

    Args:
        served: what it offers.
        instructions: what it says of itself to models.
        keys: secrets of at least 32 bytes that seal what travels with clients, the newest first; nothing makes one
            for this process alone.
    """
    by_name = {one.name: one for one in served}

    async def list_tools(_: Context, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[one.described() for one in served], ttl_ms=60_000, cache_scope="private")

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> Result:
        one = by_name.get(params.name)
        if one is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name!r}")
        arguments = dict(params.arguments or {})
        wrong = [f"{error.json_path}: {error.message}" for error in validator(one.schema).iter_errors(arguments)]
        if wrong:
            return failure(f"{one.name} was called wrongly: {'; '.join(wrong[:5])}")
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return await _in_rounds(one, context, params, arguments)
        return await _in_one_piece(one, context, arguments)

    server: Server[Any] = Server(
        NAME,
        version=version("axk1"),
        instructions=instructions or None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=lambda name: by_name[name].schema if name in by_name else None,
    )
    secrets = list(keys) or [os.urandom(32)]
    security = RequestStateSecurity(keys=secrets, ttl=_STATE_SECONDS, bind_principal=_principal)
    server.middleware.append(RequestStateBoundary(security, default_audience=NAME))
    return server


async def _in_rounds(
    one: Served, context: Context, params: types.CallToolRequestParams, arguments: dict[str, Any]
) -> Result:
    """A call since 2026-07-28."""
    asked = Asked()
    if params.request_state is not None:
        kept = json.loads(params.request_state)
        ask = Ask(**kept)
        response = (params.input_responses or {}).get(FORM)
        if not isinstance(response, types.ElicitResult):
            return _input_required(ask)
        asked = _answered(ask, response)
        if _wrong(ask, asked):
            return _input_required(ask)
    done = await _called(one, _caller(context), arguments, asked)
    if not isinstance(done, Ask):
        return done
    return _input_required(done) if _can_ask(context) else _cannot_ask(one, done)


async def _in_one_piece(one: Served, context: Context, arguments: dict[str, Any]) -> types.CallToolResult:
    """A call in the older protocols: forms are filled in while it waits."""
    asked = Asked()
    for _ in range(_ROUNDS):
        done = await _called(one, _caller(context), arguments, asked)
        if not isinstance(done, Ask):
            return done
        if not _can_ask(context):
            return _cannot_ask(one, done)
        response = await context.session.elicit_form(done.message, _form(done), related_request_id=context.request_id)
        asked = _answered(done, response)
        wrong = _wrong(done, asked)
        if wrong:
            return failure(f"the answers do not fit the form: {wrong}")
    return failure(f"{one.name} asked {_ROUNDS} times and was never content")


async def _called(one: Served, caller: Caller, arguments: dict[str, Any], asked: Asked) -> types.CallToolResult | Ask:
    try:
        return await one.call(caller, arguments, asked)
    except (AXK1Error, ApiError) as error:
        return failure(error.message)
    except Exception:
        _log.exception("%s broke", one.name)
        return failure(f"{one.name} broke; the server's log says how")


def _answered(ask: Ask, response: types.ElicitResult) -> Asked:
    """What the person said; fields that were not asked for are left out."""
    if response.action != "accept":
        return Asked(ask.state, declined=True)
    content = response.content or {}
    return Asked(ask.state, {name: content[name] for name in ask.fields if name in content})


def _wrong(ask: Ask, asked: Asked) -> str:
    """Why the answers do not fit the form; empty where they do."""
    if asked.declined:
        return ""
    return "; ".join(error.message for error in validator(_form(ask)).iter_errors(dict(asked.answers)))


def _form(ask: Ask) -> dict[str, Any]:
    fields = {name: dict(schema) for name, schema in ask.fields.items()}
    return {"type": "object", "properties": fields, "required": list(fields)}


def _input_required(ask: Ask) -> types.InputRequiredResult:
    params = types.ElicitRequestFormParams(message=ask.message, requested_schema=_form(ask))
    kept = json.dumps(dataclasses.asdict(ask), ensure_ascii=False)
    return types.InputRequiredResult(input_requests={FORM: types.ElicitRequest(params=params)}, request_state=kept)


def _can_ask(context: Context) -> bool:
    """Whether the client shows forms to its person; ``elicitation: {}`` is the oldest way to say so."""
    capabilities = context.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _cannot_ask(one: Served, ask: Ask) -> types.CallToolResult:
    """What a client without forms reads: the questions, where it may answer them by arguments. Raises MCPError."""
    if ask.consent:
        form = types.ElicitationCapability(form=types.FormElicitationCapability())
        needed = types.MissingRequiredClientCapabilityErrorData(
            required_capabilities=types.ClientCapabilities(elicitation=form)
        )
        text = f"{one.name} needs the person's consent, and this client cannot ask for it (elicitation)"
        data = needed.model_dump(mode="json", by_alias=True, exclude_none=True)
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, text, data)
    questions = [f"{name}: {schema.get('description', '')}" for name, schema in ask.fields.items()]
    return failure("\n".join([f"{one.name} needs to know more. Ask the person, and call it again with", *questions]))


def _caller(context: Context) -> Caller:
    """On whose behalf a request runs, as the server's gate has found it; anybody over standard input and output."""
    request = context.request
    return caller_of(request) if isinstance(request, HTTPConnection) else ANYBODY


def _principal(context: Context) -> str | None:
    """Whose state it is: nobody else's key opens what one caller was given."""
    caller = _caller(context)
    return None if caller.tenant == "" else f"{caller.tenant}/{caller.key}"
