"""One turn of the model: what it is offered, and its reply as calls or an answer, however it wrote them.

A model that is held to a call (``constrained``) ends its work by calling ``answer``. One that is not may write a call
as plain JSON, in a code block or bare, as many small models do that were taught another form than their template's;
where the whole text is calls of tools that were offered, it is read as such.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from axk1.agents.heard import is_tainted
from axk1.agents.prompt import system_message
from axk1.agents.run import CallState, Run
from axk1.agents.tool import Tool
from axk1.core.chat_model import ChatModel, ChatReply, ToolCall

_ANSWER = {
    "type": "function",
    "function": {
        "name": "answer",
        "description": "Ends the work and tells the person what was done.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}
"""The call that ends a run of a model that must always call something."""
_BLOCK = re.compile(r"```[a-z]*\n(.*?)```", re.S)
_TAGS = re.compile(r"</?(?:tool_call|tools|function_call|functioncall)>|[\s,;]+")
_AGAIN = 0.7
"""Temperature after a turn of which nothing came: at 0 the same words would bring the same nothing."""
_MOST_WRITTEN = 16
"""Calls that one text may hold."""


@dataclass(frozen=True)
class Turn:
    """What a model said."""

    reply: ChatReply
    calls: tuple[ToolCall, ...]
    text: str
    """What it says beside its calls, or its answer."""


async def take_turn(model: ChatModel, run: Run, tools: Mapping[str, Tool], *, constrained: bool) -> Turn:
    """Asks the model for its next turn.

    Args:
        model: who is asked.
        run: as it stands.
        tools: by name; those of the run are offered.
        constrained: whether it must call a tool.

    Raises:
        AXK1Error: the model cannot be reached, or its reply cannot be read.
    """
    wrong, _ = mistakes(run)
    described = [tools[name].described() for name in run.tools if name in tools]
    reply = await model.chat(
        [system_message(run, constrained=constrained), *run.messages],
        tools=[*described, _ANSWER] if constrained else described,
        tool_choice=_choice(run, wrong) if constrained else "auto",
        parallel_tool_calls=not constrained,
        max_tokens=run.limits.max_turn_tokens,
        temperature=_AGAIN if _nothing_came(run) else 0.0,
        seed=wrong,
    )
    calls = tuple(call for call in reply.tool_calls if call.name != "answer" or "answer" in run.tools)
    if calls:
        return Turn(reply, calls, reply.content)
    # Where strangers' texts were read, a call that stands in prose may be theirs, quoted.
    written = () if reply.tool_calls else written_calls(reply.content, run.tools, alone=is_tainted(run))
    return Turn(reply, written, "" if written else _answer_text(reply))


def written_calls(text: str, names: Collection[str], *, alone: bool = False) -> tuple[ToolCall, ...]:
    """The calls that a text is; none where it is anything else besides.

    Args:
        text: what the model wrote: JSON objects with ``name`` and ``arguments`` (or ``parameters``), alone or in
            code blocks, which may have words around them.
        names: the tools that were offered.
        alone: nothing else may stand around the blocks.
    """
    found: list[ToolCall] = []
    if alone and _BLOCK.sub("", text).strip() and _BLOCK.search(text):
        return ()
    for part in _BLOCK.findall(text) or [text]:
        try:
            objects = list(_objects(part))
        except (ValueError, RecursionError):  # brackets may be nested as deep as a text is long
            return ()
        for one in objects:
            arguments = one.get("arguments", one.get("parameters")) if isinstance(one, dict) else None
            if not isinstance(arguments, dict) or one.get("name") not in names:
                return ()
            found.append(ToolCall("", one["name"], arguments))
    return tuple(found) if len(found) <= _MOST_WRITTEN else ()


def mistakes(run: Run) -> tuple[int, str]:
    """Turns in a row at the end in which the model did nothing right, and the last thing that was wrong."""
    count, last = 0, ""
    for step in reversed(run.steps):
        if step.type == "refusal":
            last = last or str(step.content)
            count += step.call_id is None
        elif step.type == "call":
            count += step.message is not None
        else:
            break
    return count, last


def _choice(run: Run, wrong: int) -> str | dict[str, Any]:
    """``required``; where a model that was told so goes on to repeat what is done, only its answer is left."""
    if wrong and wrong >= run.limits.max_mistakes - 1 and _repeats(run):
        return {"type": "function", "function": {"name": "answer"}}
    return "required"


def _nothing_came(run: Run) -> bool:
    return bool(run.steps) and run.steps[-1].type == "refusal" and run.steps[-1].call_id is None


def _repeats(run: Run) -> bool:
    last = run.calls[-1] if run.calls else None
    if last is None or last.state is not CallState.REFUSED:
        return False
    done = (call for call in run.calls if call.state is CallState.DONE)
    return any(call.tool == last.tool and call.arguments == last.arguments for call in done)


def _objects(text: str) -> Iterator[Any]:
    """The JSON values of a text, one behind the other. Raises ValueError where there is anything between them."""
    place, decoder = 0, json.JSONDecoder()
    while place < len(text):
        gap = _TAGS.match(text, place)
        if gap:
            place = gap.end()
            continue
        value, place = decoder.raw_decode(text, place)
        yield from value if isinstance(value, list) else (value,)


def _answer_text(reply: ChatReply) -> str:
    for call in reply.tool_calls:
        if call.name == "answer":
            return str(call.arguments.get("text") or "").strip()
    return reply.content.strip()
