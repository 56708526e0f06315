"""``Actor``: what happens to one call of a tool: checked, asked, confirmed, run, recovered after a crash.

It writes nothing itself. Each method takes a call in one state and returns a ``Change``: the call in its next state
and the steps that tell of it, which the loop records in one transaction.
"""

import asyncio
import contextvars
import functools
import inspect
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from axk1.agents.audit import digest_of
from axk1.agents.heard import heard, is_tainted
from axk1.agents.policy import Policy, Verdict
from axk1.agents.prompt import default_preview, tool_message, words
from axk1.agents.run import Call, CallState, Question, Run, Status, Step
from axk1.agents.slots import checked_slots
from axk1.agents.tool import Effect, InputRequired, Outcome, OutcomeUnknown, Slot, Tool, ToolContext, ToolRefusal
from axk1.core.config import nearest
from axk1.guard.as_data import as_data

_log = logging.getLogger(__name__)
_LASTING = (Effect.SEND, Effect.DELETE, Effect.PAY)
TOLD = "told"
"""Where a call that waits keeps what its tool asked and was told."""
_MOST_REPEATED_READS = 2
"""Times that the same may be read while nothing has changed."""
_MOST_ASKED = 2
"""Times that the same is asked of a person whose words do not say it."""
_THREADS = 32
"""Tools that work at once in a process; others wait."""


@dataclass
class Change:
    """What is to be recorded together."""

    calls: list[Call] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    changed: dict[str, Any] = field(default_factory=dict)
    """Fields of the run."""

    def __add__(self, other: "Change") -> "Change":
        return Change(self.calls + other.calls, self.steps + other.steps, self.changed | other.changed)


class Actor:
    """Acts on calls.

    Args:
        tools: by name.
        policy: what may run by itself.
        clock: the person's time.
    """

    def __init__(self, tools: Mapping[str, Tool], policy: Policy, clock: Callable[[], datetime]) -> None:
        self.tools, self.policy, self.clock = tools, policy, clock

    async def decide(self, run: Run, call: Call) -> Change:
        """A proposed call: refused, asked for what is missing, shown for confirmation, or allowed."""
        try:
            return await self._decide(run, call)
        except Exception as error:  # what a model writes into arguments must not end a run
            _log.warning("the arguments of %s could not be looked at", call.tool, exc_info=error)
            return self.refused(call, f"{call.tool} cannot be called with these arguments: {error!r}")

    async def _decide(self, run: Run, call: Call) -> Change:
        tool = self.tools.get(call.tool) if call.tool in run.tools else None
        if tool is None:
            there = ", ".join(run.tools)
            near = nearest(call.tool, list(run.tools))
            return self.refused(call, f"there is no tool {call.tool!r}{near}; there are: {there}")
        checked = checked_slots(tool, call.arguments, heard(run, self.tools), call.at)
        call = replace(call, arguments=_jsonable(checked.arguments))
        wrong = _wrong_apart_from(tool, call.arguments, checked.missing)
        if wrong:
            return self.refused(call, wrong)
        if checked.missing:
            return self._asked(run, call, tool, checked.missing)
        repeated = self._repeated(run, call, tool) or _denied(run, call)
        if repeated:
            return self.refused(call, repeated)
        try:
            arguments = tool.checked(call.arguments)
        except ToolRefusal as refusal:
            return self.refused(call, refusal.message)
        decision = self.policy.decide(tool, arguments)
        if decision.verdict is Verdict.BLOCK:
            return self.refused(call, f"{tool.name} with these arguments is not allowed here ({decision.reason})")
        lasting_after_strangers = tool.effect in _LASTING and is_tainted(run)
        if decision.verdict is Verdict.CONFIRM or checked.doubtful or lasting_after_strangers:
            expires_at = self.clock() + timedelta(minutes=decision.confirmation_minutes)
            return await self.shown(run, call, tool, expires_at, doubtful=checked.doubtful)
        return Change([replace(call, state=CallState.ALLOWED)])

    async def shown(
        self, run: Run, call: Call, tool: Tool, expires_at: datetime, *, doubtful: Sequence[str] = ()
    ) -> Change:
        """The call with a preview, which waits for the person."""
        try:
            preview = await self.preview(run, call, tool)
        except ToolRefusal as refusal:
            return self.refused(call, refusal.message)
        if doubtful:
            named = ", ".join(f"{name} = {call.arguments[name]}" for name in doubtful)
            preview = f"{preview}\n\n{words('doubtful', run.language, named)}"
        digest = confirmation_digest(call, preview)
        waits = replace(call, state=CallState.CONFIRMING, preview=preview, digest=digest, expires_at=expires_at)
        step = self.step("confirmation", waits, content=preview)
        return Change([waits], [step], {"status": Status.CONFIRMATION_REQUIRED})

    async def preview(self, run: Run, call: Call, tool: Tool) -> str:
        """What would happen, as the person is shown it. Raises ToolRefusal where it cannot happen."""
        if tool.preview is None:
            return default_preview(tool.name, call.arguments)
        arguments = tool.checked(call.arguments)
        return await _in_thread(tool.preview, self.context(run, call), **arguments)

    async def execute(self, run: Run, call: Call) -> Change:
        """Runs a started call. What breaks in a way that nobody understands may have had its effect."""
        tool = self.tools[call.tool]
        try:
            arguments = tool.checked(call.arguments)
            outcome = await _in_thread(tool.function, self.context(run, call), **arguments)
            if inspect.isawaitable(outcome):
                outcome = await outcome
        except InputRequired as required:
            return self._asks(run, call, required)
        except ToolRefusal as refusal:
            return self._told_no(run, call, tool, refusal)
        except OutcomeUnknown as unknown:
            return self._uncertain(run, call, unknown.message)
        except Exception as error:
            _log.warning("the tool %s broke", call.tool, exc_info=error)
            change = await self.recover(run, call) if tool.effect in _LASTING else Change()
            if change.calls and change.calls[0].state is not CallState.ALLOWED:
                return change
            # Nothing was done; whether it is tried again is the model's to say, not this loop's for ever.
            return self.refused(call, f"{call.tool} broke: {error!r}", state=CallState.FAILED)
        return self.done(run, call, tool, outcome)

    async def recover(self, run: Run, call: Call) -> Change:
        """A call that was started and never ended: what it did, or that it may run, or that the person must decide."""
        tool = self.tools.get(call.tool)
        if tool is None:
            return self._uncertain(run, call, f"{call.tool} is not among the tools any more")
        if tool.effect is Effect.READ or (tool.recover is None and tool.effect is Effect.WRITE):
            return Change([replace(call, state=CallState.ALLOWED)])
        if tool.recover is None:
            return self._uncertain(run, call, "")
        try:
            arguments = tool.checked(call.arguments)
            outcome = await _in_thread(tool.recover, self.context(run, call), **arguments)
            if inspect.isawaitable(outcome):
                outcome = await outcome
        except Exception as error:
            return self._uncertain(run, call, str(error))
        return (
            Change([replace(call, state=CallState.ALLOWED)]) if outcome is None else self.done(run, call, tool, outcome)
        )

    def done(self, run: Run, call: Call, tool: Tool, outcome: Outcome) -> Change:
        """A call with what came out of it; what strangers wrote is marked as such for the model."""
        content, undo = _jsonable(outcome.content), _jsonable(outcome.undo)
        ended = replace(
            call, state=CallState.DONE, content=content, files=outcome.files, undo=undo, untrusted=tool.untrusted
        )
        message = tool_message(call.call_id, content)
        if tool.untrusted:
            message["content"] = as_data(message["content"], source=tool.name, nonce=run.nonce)
        return Change([ended], [self.step("result", ended, content=content, message=message)])

    def refused(self, call: Call, reason: str, *, state: CallState = CallState.REFUSED) -> Change:
        """A call that did not run, or came to nothing; the model reads why."""
        ended = replace(call, state=state, content=reason)
        message = tool_message(call.call_id, {"error": reason})
        return Change([ended], [self.step("refusal", ended, content=reason, message=message)])

    def _told_no(self, run: Run, call: Call, tool: Tool, refusal: ToolRefusal) -> Change:
        """A tool's refusal; one that strangers wrote is marked as theirs."""
        change = self.refused(call, refusal.message, state=CallState.FAILED)
        if not refusal.untrusted:
            return change
        marked = as_data(refusal.message, source=tool.name, nonce=run.nonce)
        (ended,), (step,) = change.calls, change.steps
        message = tool_message(call.call_id, {"error": marked})
        return Change([replace(ended, untrusted=True)], [replace(step, message=message)])

    def step(
        self, kind: str, call: Call | None = None, *, content: Any = None, message: Any = None, by: str = ""
    ) -> Step:
        """An entry of the history, of now."""
        about = {} if call is None else {"tool": call.tool, "call_id": call.call_id}
        if kind == "call":
            about["arguments"] = call.arguments
        return Step(number=0, type=kind, at=self.clock(), content=content, message=message, by=by, **about)

    def context(self, run: Run, call: Call) -> ToolContext:
        """Where and when a call's tool runs; the same at every attempt."""
        key = f"{run.id}.{call.number}"  # may stand in a Message-ID
        said = told_before(call)
        return ToolContext(
            Path(run.workspace),
            idempotency_key=key,
            now=call.at,
            language=run.language,
            answers=said["answers"],
            state=said["state"],
        )

    def _asked(self, run: Run, call: Call, tool: Tool, missing: Sequence[str]) -> Change:
        questions = {name: tool.slots[name] for name in missing}
        if _asked_in_vain(run, tool, "\n".join(one.question(run.language) for one in questions.values())):
            named = ", ".join(missing)
            reason = f"the person was asked for {named} {_MOST_ASKED} times and has not said it"
            return self.refused(call, f"{reason}. Do not call {tool.name} without it: do something else, or answer")
        return self._waits_for(run, call, questions)

    def _asks(self, run: Run, call: Call, required: InputRequired) -> Change:
        """A tool that must know more before it goes on: its questions, and what it wants back with the answers."""
        kept = {"state": required.state, "answers": told_before(call)["answers"]}
        return self._waits_for(run, replace(call, content={TOLD: kept}), required.questions)

    def _waits_for(self, run: Run, call: Call, questions: Mapping[str, Slot]) -> Change:
        slots = [{"name": name, "question": slot.question(run.language)} for name, slot in questions.items()]
        question = Question(call.call_id, call.tool, slots)
        waits = replace(call, state=CallState.ASKED)
        told = {"status": "input_required", "missing": list(questions), "question": question.text}
        step = self.step("question", waits, content=question.text, message=tool_message(call.call_id, told))
        return Change([waits], [step], {} if run.question else {"question": question})

    def _repeated(self, run: Run, call: Call, tool: Tool) -> str | None:
        """Why the same call is not made again; None where it may be."""
        since = [one for one in run.calls if one.state is CallState.DONE and one.number < call.number]
        for place in range(len(since) - 1, -1, -1):  # what happened before the last change does not count
            if self._changes(since[place]) and not _same_call(since[place], call):
                since = since[place + 1 :]
                break
        same = [one for one in since if _same_call(one, call)]
        if len(same) < (_MOST_REPEATED_READS if tool.effect is Effect.READ else 1):
            return None
        before = f"{call.tool} was already called with the same arguments as {same[-1].call_id}"
        if not same[-1].untrusted:  # strangers' words stand marked where they were read, and nowhere else
            before += f", and its result was: {json.dumps(same[-1].content, ensure_ascii=False)[:500]}"
        return f"{before}. Do not repeat it: go on, or answer"

    def _changes(self, call: Call) -> bool:
        tool = self.tools.get(call.tool)
        return tool is None or tool.effect is not Effect.READ

    def _uncertain(self, run: Run, call: Call, why: str) -> Change:
        preview = "\n\n".join(
            filter(
                None,
                [words("uncertain", run.language), call.preview or default_preview(call.tool, call.arguments), why],
            )
        )
        waits = replace(call, state=CallState.UNCERTAIN, preview=preview, digest=confirmation_digest(call, preview))
        waits = replace(waits, expires_at=None)
        step = self.step("confirmation", waits, content=preview)
        return Change([waits], [step], {"status": Status.CONFIRMATION_REQUIRED})


@functools.lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """Where tools wait for mail, pages and programs: not among the threads that keep the leases of runs.

    Args:
        process: this one; a process that was forked has none of its parent's threads.
    """
    return ThreadPoolExecutor(_THREADS, thread_name_prefix=f"tool-{process}")


async def _in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """As ``asyncio.to_thread``, in a thread for tools."""
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_threads(os.getpid()), call)


def told_before(call: Call) -> dict[str, Any]:
    """What a call's tool asked before, and what the person said: ``answers`` and the tool's own ``state``."""
    kept = call.content.get(TOLD) if isinstance(call.content, dict) else None
    return kept or {"answers": {}, "state": ""}


def confirmation_digest(call: Call, preview: str) -> str:
    """What the person agrees to, as a hash: the tool, its frozen arguments and what was shown."""
    return digest_of(call.tool, call.arguments, preview)


def _denied(run: Run, call: Call) -> str | None:
    """Why a call is not shown once more to a person who refused it and has said nothing new; None where it may be."""
    for step in reversed(run.steps):
        if step.type == "input" and step.call_id is None:
            return None
        decided = run.call(step.call_id) if step.type == "input" and step.call_id else None
        if decided is not None and decided.state is CallState.REFUSED and _same_call(decided, call):
            reason = f"the person has refused this call of {call.tool}"
            return f"{reason}. Do not propose it again: do something else, or answer"
    return None


def _asked_in_vain(run: Run, tool: Tool, question: str) -> bool:
    """Whether a question was asked often enough since the last answer, and no value came of it."""
    asked, times = False, 0
    for step in run.steps:
        if step.type == "answer":
            asked, times = False, 0
        elif step.type == "question":
            asked = step.tool == tool.name and step.content == question
        elif step.type == "input" and asked:
            times, asked = times + isinstance(step.content, str), False
    return times >= _MOST_ASKED


def _same_call(one: Call, other: Call) -> bool:
    return one.tool == other.tool and digest_of(one.arguments) == digest_of(other.arguments)


def _wrong_apart_from(tool: Tool, arguments: Mapping[str, Any], missing: Sequence[str]) -> str | None:
    """What is wrong with a call besides the slots that will be asked for; None where nothing is."""
    there = list(tool.arguments.model_fields)
    unknown = [name for name in arguments if name not in there]
    absent = [name for name in tool.required if name not in arguments and name not in missing]
    if unknown:
        return f"{tool.name} has no argument {unknown[0]!r}{nearest(unknown[0], there)}; allowed: {', '.join(there)}"
    return f"{tool.name} needs {', '.join(absent)}" if absent else None


def _jsonable(value: Any) -> Any:
    """The value as JSON gives it back, without NUL, which databases do not take."""
    return json.loads(json.dumps(value, ensure_ascii=False, default=str).replace("\\u0000", "�"))
