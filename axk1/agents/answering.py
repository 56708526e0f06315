"""``Answering``: what a person's input changes in a run: an answer to a question, a yes or no, a further wish."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from axk1.agents.acting import TOLD, Actor, Change, confirmation_digest, told_before
from axk1.agents.heard import heard
from axk1.agents.prompt import person_message
from axk1.agents.run import Call, CallState, Input, InputRefused, Run, Status
from axk1.agents.said import yes_or_no
from axk1.agents.slots import bound
from axk1.agents.tool import ToolRefusal
from axk1.core.chat_model import ToolCall
from axk1.core.config import nearest


class Answering:
    """Turns input into changes. Args: actor: whose tools and clock are used."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    async def change(self, run: Run, given: Input) -> Change:
        """What some input changes. Raises InputRefused where the run does not wait for it."""
        if run.status is Status.INPUT_REQUIRED and given.confirm is None:
            return self._answered(run, given)
        if run.status is Status.CONFIRMATION_REQUIRED and given.slots is None:
            return await self._decided(run, given)
        if run.status in (Status.COMPLETED, Status.FAILED) and given.text is not None:
            return self._further(run, given)
        waits = {
            Status.INPUT_REQUIRED: "text or slots",
            Status.CONFIRMATION_REQUIRED: "confirm or text",
            Status.COMPLETED: "text",
            Status.FAILED: "text",
        }.get(run.status, "nothing")
        raise InputRefused(f"the run {run.id} is {run.status}; it takes {waits}")

    def proposed(self, run: Run, calls: Sequence[ToolCall], *, content: str = "") -> Change:
        """New calls, and the assistant's turn that makes them. Their ids are given here: servers repeat theirs."""
        change, first = Change(), len(run.calls) + 1
        new = [
            Call(number, f"call_{number}", call.name, dict(call.arguments), CallState.PROPOSED, self._actor.clock())
            for number, call in enumerate(calls, first)
        ]
        told = [ToolCall(call.call_id, call.tool, call.arguments).message() for call in new]
        message: dict[str, Any] | None = {"role": "assistant", "content": content, "tool_calls": told}
        for call in new:
            change += Change([call], [self._actor.step("call", call, message=message)])
            message = None  # the turn is told once
        return change

    def _answered(self, run: Run, given: Input) -> Change:
        """The slots that were asked for, filled; what the text does not give is the model's to understand."""
        assert run.question is not None
        asked = [slot["name"] for slot in run.question.slots]
        tool, now = self._actor.tools.get(run.question.tool), self._actor.clock()
        values = dict(given.slots or {})
        for name in (name for name in values if name not in asked):
            raise InputRefused(f"slots.{name} was not asked for{nearest(name, asked)}; allowed: {', '.join(asked)}")
        call = run.call(run.question.call_id)
        if given.text is not None and call is not None and isinstance(call.content, dict):
            values = _in_order(asked, given.text)
        elif given.text is not None and tool is not None:
            values = bound(tool, asked, given.text, heard(run, self._actor.tools), now)
        text = given.text if given.text is not None else json.dumps(values, ensure_ascii=False)
        message = person_message(text, now=now, before=run.steps[-1].at)
        content = {"text": given.text, "slots": values} if values else given.text
        step = self._actor.step("input", content=content, message=message, by=given.by)
        waiting = [call for call in run.calls if call.state is CallState.ASKED]
        over = [replace(call, state=CallState.REFUSED) for call in waiting]
        change = Change(over, [step], {"status": Status.RUNNING, "question": None})
        if not values:
            return change
        again = self.proposed(run, [_filled(call, run.question.call_id, values) for call in waiting])
        told = [_told(old, run.question.call_id, values) for old in waiting]
        again.calls[:] = [replace(new, content=content) for new, content in zip(again.calls, told, strict=True)]
        return change + again

    async def _decided(self, run: Run, given: Input) -> Change:
        """A yes lets the frozen call run, a no ends it; any other words end it and are told to the model."""
        call = run.waiting
        assert call is not None
        if given.call_id not in (None, call.call_id):
            raise InputRefused(f"call_id = {given.call_id!r} does not wait; allowed: {call.call_id}")
        if given.text is not None and not given.may_agree:
            raise InputRefused(f"the run {run.id} waits for a confirmation, which words cannot give here")
        yes = yes_or_no(given.text) if given.text is not None else given.confirm
        step = self._actor.step("input", call, content=given.content(), by=given.by)
        if yes:
            return await self._confirmed(run, call, Change([], [step], {"status": Status.RUNNING}))
        said = f"; they said: {given.text}" if given.text is not None and yes is None else ""
        reason = f"the person did not agree to {call.tool}: it was not done{said}. Do not do it unless they ask again"
        if call.state is CallState.UNCERTAIN:
            reason = f"{call.tool} was interrupted; it may have been done, and the person wants it not repeated{said}"
        return Change([], [step], {"status": Status.RUNNING}) + self._actor.refused(call, reason)

    async def _confirmed(self, run: Run, call: Call, change: Change) -> Change:
        """The call may run, if it is what was shown and in time; otherwise it is shown anew."""
        tool = self._actor.tools.get(call.tool)
        if tool is None:
            return change + self._actor.refused(call, f"{call.tool} is not among the tools any more")
        if call.digest != confirmation_digest(call, call.preview):
            return change + self._actor.refused(call, "the call is not the one that was shown; it was not done")
        if call.state is CallState.UNCERTAIN:
            return change + Change([replace(call, state=CallState.ALLOWED)])
        now = self._actor.clock()
        assert call.expires_at is not None
        try:
            changed = not call.preview.startswith(await self._actor.preview(run, call, tool))
        except ToolRefusal as refusal:
            return change + self._actor.refused(call, refusal.message)
        expires_at = now + max(call.expires_at - call.at, timedelta(minutes=1))
        if changed:
            return change + await self._actor.shown(run, call, tool, expires_at)
        if now > call.expires_at:
            again = self._actor.step("confirmation", call, content=call.preview)
            paused = {"status": Status.CONFIRMATION_REQUIRED}
            return change + Change([replace(call, expires_at=expires_at)], [again], paused)
        return change + Change([replace(call, state=CallState.ALLOWED)])

    def _further(self, run: Run, given: Input) -> Change:
        """A run that has ended goes on with another wish."""
        assert given.text is not None
        message = person_message(given.text, now=self._actor.clock(), before=run.steps[-1].at)
        step = self._actor.step("input", content=given.text, message=message, by=given.by)
        return Change([], [step], {"status": Status.RUNNING, "answer": None})


def _in_order(asked: Sequence[str], text: str) -> dict[str, Any]:
    """Words for the questions of a tool: all of them for one, a line or a part between commas for each of several."""
    parts = [text] if len(asked) == 1 else [one.strip() for one in text.replace("\n", ",").split(",") if one.strip()]
    return dict(zip(asked, parts, strict=True)) if len(parts) == len(asked) else {}


def _told(call: Call, asked_id: str, values: Mapping[str, Any]) -> Any:
    """What the next attempt of a call knows of its tool's questions; None where the tool asked nothing itself."""
    if not isinstance(call.content, dict):
        return None
    kept = told_before(call)
    answers = {**kept["answers"], **(values if call.call_id == asked_id else {})}
    return {TOLD: {"state": kept["state"], "answers": answers}}


def _filled(call: Call, asked_id: str, values: Mapping[str, Any]) -> ToolCall:
    """A call that waited, with the values where it is the one that was asked about."""
    if isinstance(call.content, dict):  # its tool asked, and takes the answers beside the arguments
        return ToolCall(call.call_id, call.tool, call.arguments)
    return ToolCall(call.call_id, call.tool, {**call.arguments, **(values if call.call_id == asked_id else {})})
