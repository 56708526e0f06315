"""Our tools over MCP: what is missing is asked for by their own slots, and what the policy wants confirmed is shown.

The client's model writes the arguments, and its person sees no more than our forms, so both hold here too: a slot that
is not given is a question, and a call that must be confirmed runs only as it was shown.
"""

import asyncio
import base64
import hashlib
import inspect
import json
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import mcp_types as types

from axk1.agents.mcp.served import Ask, Asked, Served, failure, text_result
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

    async def call(self, caller: Caller, arguments: dict[str, Any], asked: Asked) -> types.CallToolResult | Ask:
        """One attempt: asks for what is missing, then for consent, then acts."""
        progress = _Progress(**json.loads(asked.state)) if asked.state else _Progress(key=f"mcp-{uuid4().hex}")
        if asked.declined and progress.asks != "tool":
            return failure(_DECLINED.format(tool=self._tool.name))
        progress = _continued(self._tool, progress, asked)
        arguments = {**arguments, **progress.given}
        missing = [name for name in self._tool.slots if name in self._tool.required and name not in arguments]
        if missing:
            return self._ask_slots(missing, progress)
        checked = self._tool.checked(arguments)
        decision = self._policy.decide(self._tool, checked)
        if decision.verdict is Verdict.BLOCK:
            return failure(f"{self._tool.name} with these arguments is not allowed here ({decision.reason})")
        context = self._context(caller, progress)
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
            fields = {
                name: {"type": "string", "description": slot.question(self._language)}
                for name, slot in required.questions.items()
            }
            unsaid = dict.fromkeys(required.questions)
            waits = _Progress(**{**vars(progress), "state": required.state, "answers": unsaid, "asks": "tool"})
            return Ask(required.message, fields, waits.dumped())
        except ToolRefusal as refusal:
            return failure(refusal.message)
        return result_of(outcome, context.workspace)

    def _ask_slots(self, missing: list[str], progress: _Progress) -> Ask:
        properties = self._tool.arguments.model_json_schema().get("properties", {})
        fields = {
            name: {**_flat(properties.get(name, {})), "description": self._tool.slots[name].question(self._language)}
            for name in missing
        }
        message = "\n".join(self._tool.slots[name].question(self._language) for name in missing)
        return Ask(message, fields, _Progress(**{**vars(progress), "asks": "slots"}).dumped(), consent=False)

    def _ask_consent(self, preview: str, digest: str, progress: _Progress) -> Ask:
        fields = {CONFIRM: {"type": "boolean", "description": _CONFIRM[self._language]}}
        waits = _Progress(**{**vars(progress), "digest": digest, "asks": CONFIRM})
        return Ask(preview, fields, waits.dumped())

    async def _preview(self, context: ToolContext, arguments: Mapping[str, Any]) -> str:
        if self._tool.preview is None:
            written = json.dumps(dict(arguments), ensure_ascii=False, indent=2, default=str)
            return f"{self._tool.name}\n\n```json\n{written}\n```"
        return await asyncio.to_thread(self._tool.preview, context, **arguments)

    def _context(self, caller: Caller, progress: _Progress) -> ToolContext:
        return ToolContext(
            workspace=self._workspace(caller),
            idempotency_key=progress.key,
            now=self._clock(),
            language=self._language,
            answers=progress.answers or {},
            state=progress.state,
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
    """A file of the workspace; one that is too large to be sent is only named."""
    path, kind = (
        workspace / name,
        (mimetypes.guess_type(name)[0] or "application/octet-stream").replace("/x-wav", "/wav"),
    )
    if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
        return types.TextContent(text=f"file: {name}")
    data = base64.b64encode(path.read_bytes()).decode()
    if kind.startswith("image/"):
        return types.ImageContent(data=data, mime_type=kind)
    if kind.startswith("audio/"):
        return types.AudioContent(data=data, mime_type=kind)
    uri = f"axk1://workspace/{quote(name)}"
    return types.EmbeddedResource(resource=types.BlobResourceContents(uri=uri, blob=data, mime_type=kind))


def _continued(tool: Tool, progress: _Progress, asked: Asked) -> _Progress:
    """The progress with what the person has just said. What they would not say to a tool's question stays None."""
    if progress.asks == "slots":
        properties = tool.arguments.model_json_schema().get("properties", {})
        lists = {name for name, schema in properties.items() if schema.get("type") == "array"}
        said = {name: _listed(value) if name in lists else value for name, value in asked.answers.items()}
        return _Progress(**{**vars(progress), "given": {**progress.given, **said}})
    if progress.asks == "tool":
        return _Progress(**{**vars(progress), "answers": {**(progress.answers or {}), **asked.answers}})
    return progress


def _listed(value: Any) -> list[str]:
    """A line of a form as the list that it stands for: ``kim@example.com, lee@example.com``."""
    return [one.strip() for one in str(value).split(",") if one.strip()]


def _flat(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema as a field of a form, which knows no lists and no objects but words and numbers."""
    kept = {name: schema[name] for name in ("type", "format", "enum", "title") if name in schema}
    if kept.get("type") not in ("string", "integer", "number", "boolean"):
        return {"type": "string"}
    if kept.get("format") not in (None, "email", "uri", "date", "date-time"):
        del kept["format"]
    return kept
