"""``BriefChat``: a small model as a ``ChatModel`` that drives an agent on a tenth of the words.

A large model is told its manners at every turn and reads tools as JSON schemas, 60 tokens and more for each. A
student of some million parameters has learnt its manners from dialogues, so it reads one line for a tool::

    add_event(title, start, place): Adds an event to the calendar

and writes ``{"name": "add_event", "arguments": {...}}`` as its answer, which a JSON schema (``response_format``)
keeps well-formed on any server of OpenAI's API. Values are plain strings to it: a time stays as it was said, and the
rule that asks reads it. The chat template is as ever.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from axk1.core.chat_model import ChatModel, ChatReply, ToolCall

NOT_TAUGHT = frozenset({"limit", "attachments", "table", "end", "attendees", "folder", "since", "until"})
"""Optional parameters that no taught dialogue fills in."""
_CLAUSE_END = re.compile(r"[.;:]?\s*\n|[.;:](?:\s|$)|,\s|\s\(")
_DATA = re.compile(r'<(/?)data [0-9A-Za-z]{8,64}(?: source="[^"]*")?>')
_FALSE_DATA = re.compile(r"<(\s*/?\s*data)\s*>", re.I)


class BriefChat:
    """Another model, told less. With ``tool_choice = "required"`` and an ``answer`` tool, as a constrained run has it.

    Args:
        model: who answers.
    """

    def __init__(self, model: ChatModel) -> None:
        self.model = model

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] = "required",
        parallel_tool_calls: bool = False,
        response_format: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> ChatReply:
        """As ``ChatModel.chat``; one call at a turn, whatever is asked for. Without tools, as the model itself."""
        del parallel_tool_calls
        if not tools:
            return await self.model.chat(messages, response_format=response_format, **options)
        form = call_format(_allowed(tools, tool_choice))
        reply = await self.model.chat(brief_messages(messages, tools), response_format=form, **options)
        try:
            written = json.loads(reply.content)
            call = ToolCall("call", written["name"], written["arguments"])
        except (ValueError, KeyError, TypeError):  # cut off by the limit of tokens
            return replace(reply, content="")
        return replace(reply, content="", tool_calls=(call,), finish_reason="tool_calls")


def brief_messages(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A conversation as the small model reads it: the tools in a line each, its own calls as it wrote them."""
    lines = [_line(tool["function"]) for tool in tools]
    told = [{"role": "system", "content": "\n".join(lines)}]
    for place, message in enumerate(messages):
        calls = message.get("tool_calls")
        if calls:
            own = [] if _answers_question(messages[:place]) else calls
            told += [{"role": "assistant", "content": _written(call["function"])} for call in own]
        elif message["role"] == "tool":
            told.append({**message, "content": _shortened(message["content"])})
        elif message["role"] != "system":
            told.append(dict(message))
    return told


def call_text(call: ToolCall) -> str:
    """A call as the small model writes it."""
    return json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)


def call_format(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The ``response_format`` of one call of one of the tools."""
    choices = [_call_schema(tool["function"]) for tool in tools]
    return {"type": "json_schema", "json_schema": {"name": "call", "schema": {"anyOf": choices}}}


def _allowed(tools: Sequence[Mapping[str, Any]], tool_choice: str | Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The tools that a choice leaves: the one that it names, or all."""
    if isinstance(tool_choice, str):
        return tools
    return [tool for tool in tools if tool["function"]["name"] == tool_choice["function"]["name"]]


def _line(function: Mapping[str, Any]) -> str:
    description = _CLAUSE_END.split((function.get("description") or "").strip(), maxsplit=1)[0]
    return f"{function['name']}({', '.join(_taught(function))}): {description}"


def _taught(function: Mapping[str, Any]) -> list[str]:
    schema = function.get("parameters") or {}
    required = schema.get("required", [])
    return [name for name in schema.get("properties", {}) if name in required or name not in NOT_TAUGHT]


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters") or {}
    names, definitions = _taught(function), schema.get("$defs", {})
    arguments = _object({name: _bare(schema["properties"][name], definitions) for name in names})
    arguments["required"] = list(schema.get("required", []))
    return _object({"name": {"const": function["name"]}, "arguments": arguments})


def _bare(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A schema's types alone."""
    if "$ref" in schema:
        return _bare(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if choices:
        return _bare(choices[0], definitions)
    if "enum" in schema:
        return {"enum": list(schema["enum"])}
    if schema.get("type") == "array":
        return {"type": "array", "items": _bare(schema.get("items", {}), definitions)}
    if schema.get("type") == "object" and "properties" in schema:
        return _object({name: _bare(each, definitions) for name, each in schema["properties"].items()})
    return {"type": schema["type"]} if "type" in schema else {}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _answers_question(before: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a call is the loop's, which filled in what the person said when asked, rather than the model's."""
    if len(before) < 2 or before[-1]["role"] != "user" or before[-2]["role"] != "tool":
        return False
    return before[-2]["content"].startswith('{"status": "input_required"')


def _written(function: Mapping[str, Any]) -> str:
    return f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"]}}}'


def _shortened(content: str) -> str:
    """A result whose marks of strangers' text have lost their long number; false marks in the text are broken first."""
    return _DATA.sub(r"<\1data>", _FALSE_DATA.sub(r"<_\1>", content))
