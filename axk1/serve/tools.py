"""Tools as OpenAI's clients describe them, and the grammars under which a model can only call them rightly.

A call is written in Hermes' form, as the chat template shows it to the model::

    <tool_call>
    {"name": "find", "arguments": {"query": "budget"}}
    </tool_call>

============  ===========================================================================================
tool_choice   what is written
============  ===========================================================================================
none          text; the tools stay in the prompt, whose beginning the cache may hold from other requests
auto          text, calls, or text and then calls; by a grammar where a tool is ``strict``, where only one
              call is allowed, and where a ``response_format`` says what stands instead of calls
required      one call or more, by a grammar
a named tool  one call of it, by a grammar
============  ===========================================================================================
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from axk1.engine.structured_outputs import WHITESPACE
from axk1.serve.fields import Request
from axk1.tokenizer.special_tokens import TOOL_CALL, TOOL_CALL_END
from axk1.tokenizer.tokenizer import Tokenizer

_NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
"""Parameters of a function that declares none."""


class Function(Request):
    """A function that the model may call."""

    name: str = Field(pattern=r"^[\w.:-]{1,128}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False

    def arguments_schema(self) -> dict[str, Any]:
        """The JSON schema of its arguments; without ``strict``, what no grammar can express is left out of it."""
        return json_schema(self.parameters or _NOTHING, strict=self.strict)


class Tool(Request):
    """An entry of ``tools``."""

    type: Literal["function"]
    function: Function

    def described(self) -> dict[str, Any]:
        """What the chat template shows to the model."""
        told = {"name": self.function.name}
        if self.function.description is not None:
            told["description"] = self.function.description
        return {"type": "function", "function": {**told, "parameters": self.function.parameters or _NOTHING}}


class Name(Request):
    """The function of a named choice."""

    name: str


class NamedTool(Request):
    """``tool_choice`` of one function."""

    type: Literal["function"]
    function: Name


ToolChoice = Literal["none", "auto", "required"] | NamedTool


def json_schema(schema: Mapping[str, Any] | bool, *, strict: bool) -> dict[str, Any]:
    """A JSON schema with llguidance's options: white space within bounds, and how exact it is to be taken.

    Args:
        schema: the schema.
        strict: whether a keyword that no grammar can express is an error; otherwise it is left out.
    """
    schema = dict(schema) if isinstance(schema, Mapping) else ({} if schema else {"not": {}})
    options: dict[str, Any] = {"whitespace_pattern": WHITESPACE}
    if not strict:
        options |= {"lenient": True, "coerce_one_of": True}
    return {**schema, "x-guidance": options}


def calls_grammar(
    functions: Sequence[Function],
    *,
    tokenizer: Tokenizer,
    parallel: bool,
    text: bool = False,
    answer: Mapping[str, Any] | None = None,
) -> str:
    """A grammar, in llguidance's Lark, of calls of these functions.

    Args:
        functions: at least one.
        tokenizer: whether it has tokens for the marks of a call decides how they are written.
        parallel: whether there may be more than one call.
        text: whether text may stand before the calls, or instead of them.
        answer: a JSON schema, made by ``json_schema``, of what may stand instead of them.
    """
    marks = all(mark in tokenizer.special_tokens for mark in (TOOL_CALL, TOOL_CALL_END))
    begin, end = (TOOL_CALL, TOOL_CALL_END) if marks else (f'"{TOOL_CALL}"', f'"{TOOL_CALL_END}"')
    more = f' ("\\n" {begin} call)*' if parallel else ""
    rules, start = [], f"{begin} call{more}"
    if text and marks:
        start = f"TEXT? ({start})?"
        rules.append(f"TEXT: /(.|\\n)+/ & ~/(.|\\n)*{TOOL_CALL}(.|\\n)*/")
    elif text:
        start = f"TEXT | opening call{more}"
        rules += ["TEXT: /(.|\\n)*/", f"opening[lazy]: /(.|\\n)*{TOOL_CALL}/"]
    if answer is not None:
        start += " | answer"
        rules.append(f"answer: %json {json.dumps(answer)}")
    rules.append("call: " + " | ".join(f"call_{place}" for place in range(len(functions))))
    for place, function in enumerate(functions):
        head = json.dumps(f'\n{{"name": {json.dumps(function.name)}, "arguments": ')
        rules.append(f'call_{place}: {head} arguments_{place} "}}\\n" {end}')
        rules.append(f"arguments_{place}: %json {json.dumps(function.arguments_schema())}")
    return "\n".join([f"start: {start}", *rules])
