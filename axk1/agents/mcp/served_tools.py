"""Our tools over MCP: what is missing is asked for by their own slots, and what the policy wants confirmed is shown.

The client's model writes the arguments, and its person sees no more than our forms, so both hold here too: a slot that
is not given is a question, and a call that must be confirmed runs only as it was shown.
"""

import asyncio
import base64
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import mcp_types as types

from axk1.agents.mcp.asks import Ask, Asked
from axk1.agents.mcp.forms import asked_field, fields_of, filled_in
from axk1.agents.mcp.served import Call, Served, failure, text_result
from axk1.agents.mcp.workspace_files import link_to
from axk1.agents.policy import Policy, Verdict
from axk1.agents.tool import Effect, InputRequired, Language, Outcome, Tool, ToolContext, ToolRefusal
from axk1.serve.caller import Caller

CONFIRM = "confirm"
_LARGEST_FILE = 2_000_000
"""Bytes of a file that a result carries with it."""
_CONFIRM = {"ko": "이대로 할까요?", "en": "Shall this be done?"}
_DECLINED = "the person did not agree, so {tool} was not carried out"


@dataclass(frozen=True)
class _Progress:
    """How far a call has come between two forms; it travels with the client, sealed."""

    key: str
    """The idempotency key."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Slots that the person filled in."""
    digest: str = ""
    """Of what they were shown; empty where nothing was."""
    answers: Mapping[str, Any] | None = None
    """What they said to the tool's own questions."""
    state: str = ""
    """The tool's own."""
    asks: str = ""
    """What the form is about: ``slots``, ``confirm`` or ``tool``."""

    def dumped(self) -> str:
        return json.dumps(vars(self), ensure_ascii=False)


class ServedTool:
    """One of our tools.

    Args:
        tool: it.
        policy: whether it may run by itself.
        workspace: the folder of a caller's files.
        clock: the person's time.
        language: in which forms are written.
    """

    def __init__(
        self,
        tool: Tool,
        policy: Policy,
        *,
        workspace: Callable[[Caller], Path],
        clock: Callable[[], datetime],
        language: Language = "en",
    ) -> None:
        self._tool, self._policy, self._language = tool, policy, language
        self._workspace, self._clock = workspace, clock

    def served(self) -> Served:
        """As the server takes it."""
        described = self._tool.described()["function"]
        return Served(
            name=self._tool.name,
            description=described["description"],
            schema=described["parameters"],
            annotations=annotations_of(self._tool.effect),
            call=self.call,
        )

    async def call(self, call: Call) -> types.CallToolResult | Ask:
        """One attempt: asks for what is missing, then for consent, then acts."""
        asked = call.asked
        progress = _Progress(**json.loads(asked.state)) if asked.state else _Progress(key=f"mcp-{uuid4().hex}")
        if asked.declined and progress.asks != "tool":
            return failure(_DECLINED.format(tool=self._tool.name))
        progress = _continued(self._tool, progress, asked)
        arguments = {**call.arguments, **progress.given}
        missing = [name for name in self._tool.slots if name in self._tool.required and name not in arguments]
        if missing:
            return self._ask_slots(missing, progress)
        checked = self._tool.checked(arguments)
        decision = self._policy.decide(self._tool, checked)
        if decision.verdict is Verdict.BLOCK:
            return failure(f"{self._tool.name} with these arguments is not allowed here ({decision.reason})")
        context = self._context(call, progress)
        if decision.verdict is Verdict.CONFIRM:
            preview = await self._preview(context, checked)
            digest = hashlib.sha256(preview.encode()).hexdigest()
            if progress.digest != digest:  # nothing was shown yet, or something else
                return self._ask_consent(preview, digest, progress)
            if progress.asks == CONFIRM and asked.answers.get(CONFIRM) is not True:
                return failure(_DECLINED.format(tool=self._tool.name))
        return await self._run(context, checked, progress)

    async def _run(
        self, context: ToolContext, arguments: Mapping[str, Any], progress: _Progress
    ) -> types.CallToolResult | Ask:
        context.workspace.mkdir(parents=True, exist_ok=True)
        try:
            outcome = await asyncio.to_thread(self._tool.function, context, **arguments)
            if inspect.isawaitable(outcome):
                outcome = await outcome
        except InputRequired as required:
            fields = {name: asked_field(slot, self._language) for name, slot in required.questions.items()}
            unsaid = dict.fromkeys(required.questions)
            waits = replace(progress, state=required.state, answers=unsaid, asks="tool")
            return Ask.form(required.message, fields, waits.dumped(), name=required.name)
        except ToolRefusal as refusal:
            return failure(refusal.message)
        return result_of(outcome, context.workspace)

    def _ask_slots(self, missing: list[str], progress: _Progress) -> Ask:
        fields = fields_of(self._tool, missing, self._language)
        message = "\n".join(self._tool.slots[name].question(self._language) for name in missing)
        return Ask.form(message, fields, replace(progress, asks="slots").dumped(), consent=False)

    def _ask_consent(self, preview: str, digest: str, progress: _Progress) -> Ask:
        fields = {CONFIRM: {"type": "boolean", "description": _CONFIRM[self._language]}}
        return Ask.form(preview, fields, replace(progress, digest=digest, asks=CONFIRM).dumped())

    async def _preview(self, context: ToolContext, arguments: Mapping[str, Any]) -> str:
        if self._tool.preview is None:
            written = json.dumps(dict(arguments), ensure_ascii=False, indent=2, default=str)
            return f"{self._tool.name}\n\n```json\n{written}\n```"
        return await asyncio.to_thread(self._tool.preview, context, **arguments)

    def _context(self, call: Call, progress: _Progress) -> ToolContext:
        return ToolContext(
            workspace=self._workspace(call.caller),
            idempotency_key=progress.key,
            now=self._clock(),
            language=self._language,
            answers=progress.answers or {},
            state=progress.state,
            report=call.report,
        )


def annotations_of(effect: Effect) -> types.ToolAnnotations:
    """What a client is told of a tool's effect."""
    return types.ToolAnnotations(
        read_only_hint=effect is Effect.READ,
        destructive_hint=effect in (Effect.DELETE, Effect.PAY),
        idempotent_hint=effect is Effect.READ,
        open_world_hint=effect in (Effect.SEND, Effect.PAY),
    )


def result_of(outcome: Outcome, workspace: Path) -> types.CallToolResult:
    """An outcome as MCP's result: text, JSON where there is some, and the files themselves where they are small."""
    if isinstance(outcome.content, str):
        result = text_result(outcome.content)
    else:
        plain = json.loads(json.dumps(outcome.content, ensure_ascii=False, default=str))
        structured = plain if isinstance(plain, dict) else {"result": plain}
        result = text_result(json.dumps(plain, ensure_ascii=False), structured)
    blocks = [_block(workspace, name) for name in outcome.files]
    return result.model_copy(update={"content": [*result.content, *blocks]})


def _block(workspace: Path, name: str) -> types.ContentBlock:
    """A file of the workspace; one that is too large to be sent is linked to."""
    path, link = workspace / name, link_to(workspace, name)
    if link is None:
        return types.TextContent(text=f"file: {name}")
    if path.stat().st_size > _LARGEST_FILE:
        return link
    data, kind = base64.b64encode(path.read_bytes()).decode(), link.mime_type or ""
    if kind.startswith("image/"):
        return types.ImageContent(data=data, mime_type=kind)
    if kind.startswith("audio/"):
        return types.AudioContent(data=data, mime_type=kind)
    return types.EmbeddedResource(resource=types.BlobResourceContents(uri=link.uri, blob=data, mime_type=kind))


def _continued(tool: Tool, progress: _Progress, asked: Asked) -> _Progress:
    """The progress with what the person has just said. What they would not say to a tool's question stays None."""
    if progress.asks == "slots":
        return replace(progress, given={**progress.given, **filled_in(tool, asked.answers)})
    if progress.asks == "tool":
        return replace(progress, answers={**(progress.answers or {}), **asked.answers})
    return progress
