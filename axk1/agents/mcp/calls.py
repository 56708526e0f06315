"""One call of a server's tool, with the questions that come up in it.

Since 2026-07-28 a server answers ``input_required`` and takes the call again with the answers and its own state, so
the run may pause for days and go on in another process. Before, it asks in the middle of the call: then the question
is dismissed there, the run pauses, and the call is made anew with the answers ready.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp.client.session import ClientRequestContext
from pydantic import TypeAdapter

from axk1.agents.mcp.connection import Connection
from axk1.agents.mcp.questions import WrongAnswer, questions_of, result_of
from axk1.agents.tool import InputRequired, Slot, ToolContext, ToolRefusal

_ROUNDS = 10
"""Most times that a server may put off its answer without asking anything."""
_REQUESTS: TypeAdapter[dict[str, types.InputRequest]] = TypeAdapter(dict[str, types.InputRequest])


@dataclass
class Asking:
    """Answers a server's questions in the middle of a call from what the person has said already."""

    answers: Mapping[str, Any] = field(default_factory=dict)
    asked: int = 0
    open: dict[str, Slot] = field(default_factory=dict)
    """What the person must say before the call can end; empty where all was known."""
    message: str = ""

    async def __call__(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        """The answer to one question; dismissed where it is not known yet."""
        self.asked += 1
        prefix = "" if self.asked == 1 else f"{self.asked}."  # the next form may have a field of the same name
        questions = questions_of(params)
        known = {name: self.answers[prefix + name] for name in questions if prefix + name in self.answers}
        if len(known) == len(questions):
            try:
                return result_of(params, known)
            except WrongAnswer as wrong:
                questions = _with_reason(questions, wrong)
        self.open |= {prefix + name: slot for name, slot in questions.items()}
        self.message = self.message or params.message
        return types.ElicitResult(action="cancel")


async def call_in_one_piece(
    connection: Connection, asking: Asking, tool: str, arguments: dict[str, Any], context: ToolContext
) -> types.CallToolResult:
    """A call in the protocols before 2026-07-28; ``asking`` is the connection's, and nobody else is calling.

    Raises:
        InputRequired: the server asked what nobody has said.
    """
    said = {**json.loads(context.state or "{}"), **context.answers}
    asking.answers, asking.asked, asking.open, asking.message = said, 0, {}, ""
    client = await connection.client()
    async with connection.reporting():
        result = await client.session.call_tool(tool, arguments)
    if asking.open:
        kept = {name: value for name, value in said.items() if name not in asking.open}
        raise InputRequired(asking.message, questions=dict(asking.open), state=json.dumps(kept, ensure_ascii=False))
    assert isinstance(result, types.CallToolResult)
    return result


async def call_in_rounds(
    connection: Connection, tool: str, arguments: dict[str, Any], context: ToolContext
) -> types.CallToolResult:
    """A call since 2026-07-28, from its beginning or from where it paused.

    Raises:
        InputRequired: the server wants to know more; its state is inside.
    """
    client = await connection.client()
    responses, state = await _resumed(connection, context)
    for attempt in range(_ROUNDS):
        async with connection.reporting():
            result = await client.session.call_tool(
                tool, arguments, input_responses=responses, request_state=state, allow_input_required=True
            )
        if isinstance(result, types.CallToolResult):
            return result
        assert isinstance(result, types.InputRequiredResult)
        requests = result.input_requests or {}
        if _questions(requests):
            raise _paused(requests, result.request_state)
        responses, state = await _answered(connection, requests, {}) or None, result.request_state
        await asyncio.sleep(0 if requests else min(0.05 * 2**attempt, 1))
    raise ToolRefusal(f"{tool} put off its answer {_ROUNDS} times")


async def _resumed(connection: Connection, context: ToolContext) -> tuple[types.InputResponses | None, str | None]:
    """What the first request carries: nothing, or the answers to what the call asked before."""
    if not context.state:
        return None, None
    stored = json.loads(context.state)
    requests, state = _REQUESTS.validate_python(stored["requests"]), stored["state"]
    try:
        return await _answered(connection, requests, context.answers), state
    except WrongAnswer as wrong:
        paused = _paused(requests, state)
        raise InputRequired(str(paused), questions=_with_reason(paused.questions, wrong), state=paused.state) from None


async def _answered(
    connection: Connection, requests: Mapping[str, types.InputRequest], answers: Mapping[str, Any]
) -> types.InputResponses:
    """Answers to all requests: forms from the person's words, the others (sampling, roots) as the client is set up."""
    client, responses = await connection.client(), {}
    for key, request in requests.items():
        if isinstance(request, types.ElicitRequest):
            prefix = _prefix(key, requests)
            own = {name: answers.get(prefix + name) for name in questions_of(request.params)}
            responses[key] = result_of(request.params, own)
            continue
        asked = ClientRequestContext(session=client.session, request_id=key)
        response = await client.session.dispatch_input_request(asked, request)
        if isinstance(response, types.ErrorData):
            raise ToolRefusal(f"{connection.name} asked for what it is not allowed: {response.message}")
        responses[key] = response
    return responses


def _paused(requests: Mapping[str, types.InputRequest], state: str | None) -> InputRequired:
    messages = [one.params.message for one in requests.values() if isinstance(one, types.ElicitRequest)]
    dumped = {key: one.model_dump(mode="json", by_alias=True, exclude_none=True) for key, one in requests.items()}
    kept = json.dumps({"requests": dumped, "state": state}, ensure_ascii=False)
    return InputRequired("\n".join(messages), questions=_questions(requests), state=kept)


def _questions(requests: Mapping[str, types.InputRequest]) -> dict[str, Slot]:
    return {
        _prefix(key, requests) + name: slot
        for key, request in requests.items()
        if isinstance(request, types.ElicitRequest)
        for name, slot in questions_of(request.params).items()
    }


def _prefix(key: str, requests: Mapping[str, types.InputRequest]) -> str:
    """Before a field's name where several forms are asked at once."""
    return "" if len(requests) == 1 else f"{key}."


def _with_reason(questions: Mapping[str, Slot], wrong: WrongAnswer) -> dict[str, Slot]:
    return {
        name: Slot(ko=f"{slot.ko} ({wrong.why})", en=f"{slot.en} ({wrong.why})") if name.endswith(wrong.name) else slot
        for name, slot in questions.items()
    }
