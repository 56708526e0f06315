"""Our agents over MCP: begin a piece of work, say what it asks, look how it stands.

Where a run asks for something, or shows what it is about to do, the call ends in MCP's form for the person; the run
itself is in the database, so that it also goes on by ``give_input``, another day and from another program. A client
that cancels its call ends the run.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import mcp_types as types

from axk1.agents.loop import Runner
from axk1.agents.mcp.asks import Ask
from axk1.agents.mcp.forms import fields_of
from axk1.agents.mcp.served import Call, Served, text_result
from axk1.agents.mcp.workspace_files import link_to
from axk1.agents.router import to_wire
from axk1.agents.run import ENDED, Input, InputRefused, Run, Status
from axk1.agents.tool import Tool
from axk1.serve.caller import Caller

CONFIRM = "confirm"
_LOOK_SECONDS = 0.1
_DEFAULT_WAIT = 50
"""Seconds that a call waits for a run: below the minute after which clients give up."""
_WAIT = {
    "type": "number",
    "minimum": 0,
    "maximum": 3600,
    "default": _DEFAULT_WAIT,
    "description": "Seconds to wait for the work to end or to ask; it goes on afterwards all the same.",
}
_ACTS = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)


class Workplace(Protocol):
    """Who carries runs on in the background: ``agents.work.Work``."""

    def carry_on(self, runner: Runner, run_id: str) -> None:
        """Carries a run on until it ends or needs a person."""
        ...

    def cancel_soon(self, runner: Runner, run_id: str) -> None:
        """Ends a run, unless the server itself is about to end."""
        ...


def served_agents(runner_of: Callable[[Caller], Runner], work: Workplace) -> list[Served]:
    """``start_run``, ``give_input``, ``run_status`` and ``cancel_run``.

    Args:
        runner_of: the runner that acts on behalf of a caller.
        work: where runs are carried on, whether or not somebody waits for them.
    """

    async def start_run(call: Call) -> types.CallToolResult | Ask:
        runner, arguments = runner_of(call.caller), call.arguments
        waiting = _Waiting(runner, work, call)
        if call.asked.state:
            return await waiting.told()
        run = await runner.open(arguments["goal"], language=arguments.get("language"), tools=arguments.get("tools"))
        work.carry_on(runner, run.id)
        return await waiting.awaited(run.id)

    async def give_input(call: Call) -> types.CallToolResult | Ask:
        waiting, arguments = _Waiting(runner_of(call.caller), work, call), call.arguments
        if call.asked.state:
            return await waiting.told()
        said = {name: arguments[name] for name in ("text", "slots") if name in arguments}
        return await waiting.given(arguments["run_id"], Input(**said, by=call.caller.key))

    async def run_status(call: Call) -> types.CallToolResult:
        return _shown(await runner_of(call.caller).look(call.arguments["run_id"]))

    async def cancel_run(call: Call) -> types.CallToolResult:
        return _shown(await runner_of(call.caller).cancel(call.arguments["run_id"]))

    words = {"type": "string", "minLength": 1}
    goal = {**words, "description": "What is to be done, in Korean or English."}
    language = {"enum": ["ko", "en"], "description": "The person's; that of the goal where it is left out."}
    tools = {"type": "array", "items": words, "description": "Names of the tools that it may use; all without it."}
    run_id = {**words, "description": "The run's id, as start_run gave it."}
    slots = {"type": "object", "description": "Values by the names that the run asked for."}
    said = {"run_id": run_id, "text": {**words, "description": "What the person says."}, "slots": slots}
    return [
        Served(
            name="start_run",
            description="Has an agent do a piece of work. It asks the person where something is missing, and shows "
            "what it is about to send, delete or pay.",
            schema=_schema({"goal": goal, "language": language, "tools": tools, "wait_seconds": _WAIT}, "goal"),
            annotations=_ACTS,
            call=start_run,
        ),
        Served(
            name="give_input",
            description="Says to a run that waits what the person says: words, or values for what it asked. To "
            "agree to what a run shows is the person's alone, in the form that this call then shows.",
            schema=_schema({**said, "wait_seconds": _WAIT}, "run_id"),
            annotations=_ACTS,
            call=give_input,
        ),
        Served(
            name="run_status",
            description="How a run stands: its steps, what it asks, its answer, its files.",
            schema=_schema({"run_id": run_id}, "run_id"),
            annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
            call=run_status,
        ),
        Served(
            name="cancel_run",
            description="Ends a run; what it is just doing is finished first.",
            schema=_schema({"run_id": run_id}, "run_id"),
            annotations=types.ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False),
            call=cancel_run,
        ),
    ]


class _Waiting:
    """One call that waits for a run."""

    def __init__(self, runner: Runner, work: Workplace, call: Call) -> None:
        self._runner, self._work, self._call = runner, work, call
        self._end = time.monotonic() + call.arguments.get("wait_seconds", _DEFAULT_WAIT)

    async def told(self) -> types.CallToolResult | Ask:
        """Goes on with what the person said to a form."""
        asked = self._call.asked
        kept = json.loads(asked.state)
        if kept["about"] == CONFIRM:
            agreed = not asked.declined and asked.answers.get(CONFIRM) is True
            given = Input(confirm=agreed, call_id=kept["call_id"], by=self._runner.key)
        elif asked.declined:
            return _shown(await self._runner.look(kept["run_id"]))  # it waits on
        else:
            given = Input(slots=dict(asked.answers), by=self._runner.key)
        return await self.given(kept["run_id"], given)

    async def given(self, run_id: str, given: Input) -> types.CallToolResult | Ask:
        """What a person gives, unless it is consent in words: over MCP a model writes those."""
        try:  # the run may pause for a confirmation at any moment, so the refusal is made while it is held
            run = await self._runner.accept(run_id, replace(given, may_agree=False))
        except InputRefused:
            run = await self._runner.look(run_id)
            if run.status is not Status.CONFIRMATION_REQUIRED or given.confirm is not None:
                raise
            return self._asked(run)
        if run.status is Status.RUNNING:
            self._work.carry_on(self._runner, run_id)
        return await self.awaited(run_id)

    async def awaited(self, run_id: str) -> types.CallToolResult | Ask:
        """The run when it ends or asks, or as it stands when the time is over. Its steps are told as they come."""
        try:
            return await self._watched(run_id)
        except asyncio.CancelledError:
            self._work.cancel_soon(self._runner, run_id)
            raise

    async def _watched(self, run_id: str) -> types.CallToolResult | Ask:
        told = 0
        while True:
            run = await self._runner.look(run_id)
            for step in run.steps[told:]:
                self._call.report(f"{run.id}: {step.type} {step.tool or ''}".rstrip(), done=step.number)
            told = len(run.steps)
            if run.status in ENDED:
                return _shown(run)
            if run.status in (Status.INPUT_REQUIRED, Status.CONFIRMATION_REQUIRED):
                return self._asked(run)
            if time.monotonic() >= self._end:
                return _shown(run)
            await asyncio.sleep(_LOOK_SECONDS)

    def _asked(self, run: Run) -> types.CallToolResult | Ask:
        """What a run waits for, as a form; a question is also read by a client that cannot show one."""
        if run.status is Status.INPUT_REQUIRED and "elicitation" not in self._call.can:
            return _shown(run)
        return _asked(run, self._runner.tools)


def _asked(run: Run, tools: Mapping[str, Tool]) -> Ask:
    """What a run waits for, as a form: lines of words, which it reads as a person means them, and choices."""
    if run.status is Status.CONFIRMATION_REQUIRED and run.waiting is not None:
        question = "이대로 할까요?" if run.language == "ko" else "Shall this be done?"
        state = {"run_id": run.id, "about": CONFIRM, "call_id": run.waiting.call_id}
        fields = {CONFIRM: {"type": "boolean", "description": question}}
        return Ask.form(run.waiting.preview, fields, json.dumps(state))
    assert run.question is not None
    fields = {slot["name"]: {"type": "string", "description": slot["question"]} for slot in run.question.slots}
    tool = tools.get(run.question.tool)
    if tool is not None:
        choices = fields_of(tool, [name for name in fields if name in tool.slots], run.language)
        fields |= {name: field for name, field in choices.items() if "enum" in field or "oneOf" in field}
    return Ask.form(run.question.text, fields, json.dumps({"run_id": run.id, "about": "slots"}))


def _shown(run: Run) -> types.CallToolResult:
    wire = to_wire(run)
    asks = wire["question"] or wire["confirmation"]
    text = run.answer or (json.dumps(asks, ensure_ascii=False) if asks else f"the run is {run.status}")
    result = text_result(f"{run.id} ({run.status}): {text}", wire)
    links = [link_to(Path(run.workspace), file["path"]) for file in wire["files"]]
    return result.model_copy(update={"content": [*result.content, *filter(None, links)]})


def _schema(properties: dict[str, Any], required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [required], "additionalProperties": False}
