"""A run's history -> ``Said``: who said what, for the rule that asks."""

from collections.abc import Iterator, Mapping
from typing import Any

from axk1.agents.prompt import tool_message
from axk1.agents.run import CallState, Run
from axk1.agents.said import Said, Source, Utterance
from axk1.agents.tool import Effect, Tool

_RAN = (CallState.DONE, CallState.FAILED, CallState.STARTED)


def heard(run: Run, tools: Mapping[str, Tool]) -> Said:
    """What has been said in a run: by the person, by their own tools, by strangers.

    A result counts where its tool only read: what a tool echoes of the model's own arguments says nothing.
    """
    return Said(tuple(_utterances(run, tools)), tuple(_answers(run)))


def is_tainted(run: Run) -> bool:
    """Whether the model has read what strangers wrote."""
    return any(call.untrusted and call.state in (CallState.DONE, CallState.FAILED) for call in run.calls)


def person_text(run: Run) -> str:
    """What the person has just said, where the model has not answered it yet; otherwise nothing."""
    last = run.steps[-1] if run.steps else None
    return _text(last.content) if last is not None and last.type == "input" else ""


def _utterances(run: Run, tools: Mapping[str, Tool]) -> Iterator[Utterance]:
    """What was said, each with what the model had itself written into calls that ran by then."""
    written: list[str] = []
    for step in run.steps:
        call = run.call(step.call_id) if step.call_id else None
        if step.type == "input":
            yield Utterance(_text(step.content), Source.PERSON, step.at)
        elif step.type == "call" and call and call.state in _RAN:
            written.append(_spoken(list(call.arguments.values())))
        elif step.type == "result" and call:
            tool = tools.get(call.tool)
            if tool is not None and tool.effect is Effect.READ:
                source = Source.UNTRUSTED if call.untrusted else Source.TRUSTED
                yield Utterance(tool_message("", call.content)["content"], source, step.at, tuple(written))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if content.get("text"):
        return content["text"]
    return "\n".join(_spoken(value) for value in (content.get("slots") or {}).values())


def _spoken(value: Any) -> str:
    return ", ".join(map(_spoken, value)) if isinstance(value, list) else str(value)


def _answers(run: Run) -> Iterator[Any]:
    for step in run.steps:
        if step.type == "input" and isinstance(step.content, dict):
            for value in (step.content.get("slots") or {}).values():
                yield from value if isinstance(value, list) else (value,)
