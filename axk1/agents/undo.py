"""Taking back what a call did, where its tool can."""

import asyncio
import inspect
import logging
from dataclasses import replace

from axk1.agents.acting import Actor, Change
from axk1.agents.prompt import words
from axk1.agents.run import CallState, InputRefused, Run, Status
from axk1.agents.tool import ToolRefusal

_log = logging.getLogger(__name__)


async def undone(actor: Actor, run: Run, call_id: str, *, by: str = "") -> Change:
    """Takes a call back and tells it to the run's history.

    Args:
        actor: whose tools and clock are used.
        run: the run; not at work.
        call_id: the call.
        by: who wants it: an API key's id.

    Raises:
        InputRefused: it cannot be taken back; the text says why.
    """
    call = run.call(call_id)
    if call is None:
        allowed = ", ".join(one.call_id for one in run.calls if one.undo is not None) or "none"
        raise InputRefused(f"call_id = {call_id!r} is no call of this run; allowed: {allowed}")
    if run.status is Status.RUNNING:
        raise InputRefused(f"the run {run.id} is at work; wait until it pauses or ends, or cancel it")
    tool = actor.tools.get(call.tool)
    if call.state is not CallState.DONE or call.undo is None or tool is None or tool.undo is None:
        raise InputRefused(f"{call.tool} ({call_id}) cannot be taken back, or has been already")
    try:
        told = await asyncio.to_thread(tool.undo, actor.context(run, call), call.undo)
        if inspect.isawaitable(told):
            told = await told
    except ToolRefusal as refusal:
        raise InputRefused(f"{call.tool} ({call_id}) cannot be taken back: {refusal.message}") from None
    text = words("undone", run.language, told)
    between = run.status not in (Status.INPUT_REQUIRED, Status.CONFIRMATION_REQUIRED)
    message = {"role": "user", "content": f"({text})"} if between else None
    asked = actor.step("input", call, content={"undo": call_id}, by=by)
    step = actor.step("result", replace(call), content=text, message=message)
    return Change([replace(call, undo=None)], [asked, step])
