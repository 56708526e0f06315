"""A request that may ask its client: in rounds since 2026-07-28, in the middle of the request before.

Since 2026-07-28 it ends in ``input_required`` and is made again with the answers; its state travels with the client,
sealed. Clients of the older protocols are asked while it waits. A client that cannot be asked reads what is missing.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from axk1.agents.mcp.asks import Ask, Asked, Wanted, asked_of
from axk1.core.errors import AXK1Error

_ROUNDS = 10
"""Most times that one request asks."""
_RESULTS = {
    "elicitation": types.ElicitResult,
    "sampling": types.CreateMessageResult,
    "roots": types.ListRootsResult,
}
Context = ServerRequestContext[Any, Any]
Params = types.CallToolRequestParams | types.GetPromptRequestParams
R = TypeVar("R")
Attempt = Callable[[Asked], Awaitable[R | Ask]]


class Unanswered(AXK1Error):
    """What was asked is not known: the client cannot be asked, or its answers do not fit. The text is for its model."""


async def answered(context: Context, params: Params, attempt: Attempt[R]) -> R | types.InputRequiredResult:
    """The result of a request, or what must be known first.

    Args:
        context: the request's.
        params: the request.
        attempt: makes it, with what is known.

    Raises:
        Unanswered: the client has no way to be asked, but may say it by arguments; or its answers do not fit.
        MCPError: the client has no way to be asked, and nobody else can answer (-32021).
    """
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return await _in_rounds(context, params, attempt)
    return await _in_one_piece(context, attempt)


async def _in_rounds(context: Context, params: Params, attempt: Attempt[R]) -> R | types.InputRequiredResult:
    asked = Asked()
    if params.request_state is not None:
        ask = Ask.loaded(json.loads(params.request_state))
        known = asked_of(ask, params.input_responses or {})
        if known is None:
            return _input_required(ask)
        asked = known
    done = await attempt(asked)
    if not isinstance(done, Ask):
        return done
    _check(context, done)
    return _input_required(done)


async def _in_one_piece(context: Context, attempt: Attempt[R]) -> R:
    asked = Asked()
    for _ in range(_ROUNDS):
        done = await attempt(asked)
        if not isinstance(done, Ask):
            return done
        _check(context, done)
        responses = {name: await _asked(context, want) for name, want in done.wants.items()}
        known = asked_of(done, responses)
        if known is None:
            raise Unanswered("the answers do not fit what was asked")
        asked = known
    raise Unanswered(f"it asked {_ROUNDS} times and was never content")


async def _asked(context: Context, want: Wanted) -> types.InputResponse:
    related = ServerMessageMetadata(related_request_id=context.request_id)
    return await context.session.send_request(want.request(), _RESULTS[want.needs], metadata=related)


def _input_required(ask: Ask) -> types.InputRequiredResult:
    requests = {name: want.request() for name, want in ask.wants.items()}
    kept = json.dumps(ask.dumped(), ensure_ascii=False)
    return types.InputRequiredResult(input_requests=requests, request_state=kept)


def abilities(context: Context) -> frozenset[str]:
    """What a client can be asked for; ``elicitation: {}`` is the oldest way to say that it shows forms."""
    told = context.session.client_capabilities
    if told is None:
        return frozenset()
    forms = told.elicitation is not None and (told.elicitation.form is not None or told.elicitation.url is None)
    able = {"elicitation": forms, "sampling": told.sampling is not None, "roots": told.roots is not None}
    return frozenset(name for name, can in able.items() if can)


def _check(context: Context, ask: Ask) -> None:
    missing = {want.needs for want in ask.wants.values()} - abilities(context)
    if not missing:
        return
    if not ask.consent:
        questions = [f"{name}: {schema.get('description', '')}" for name, schema in ask.fields.items()]
        raise Unanswered("\n".join(["more must be known. Ask the person, and call again with", *questions]))
    kinds = {
        "elicitation": types.ElicitationCapability(form=types.FormElicitationCapability()),
        "sampling": types.SamplingCapability(),
        "roots": types.RootsCapability(),
    }
    required = types.ClientCapabilities(**{name: kinds[name] for name in missing})
    data = types.MissingRequiredClientCapabilityErrorData(required_capabilities=required)
    text = f"this needs what the client does not offer: {', '.join(sorted(missing))}"
    if "elicitation" in missing:
        text = f"this needs the person's consent, and the client cannot ask for it ({', '.join(sorted(missing))})"
    told = data.model_dump(mode="json", by_alias=True, exclude_none=True)
    raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, text, told)
