"""Tool calls in Hermes' form, read from a text that arrives in pieces.

``<tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>`` becomes OpenAI's deltas: the name as soon as it is
known, then the arguments piece by piece, letter for letter. The end of a call is where its JSON ends, so arguments may
hold the marks themselves. What comes out in total does not depend on how the text was cut.

- Text outside of calls is content. One line break before a call, and white space between and after calls, belong to
  their form, and so does white space where calls are all there is.
- A call whose name is none of the tools', or whose beginning is no call at all, is content, with its marks.
- A text that ends within a call leaves that call with the arguments that it has, as at OpenAI; or nothing, where not
  even its name and the beginning of its arguments are there.
- Arguments that stop being JSON go on up to ``</tool_call>``, so that nothing is lost and the client can see it.
"""

import json
import re
import uuid
from collections.abc import Collection
from typing import Any

from axk1.engine.detokenizer import begun
from axk1.tokenizer.special_tokens import TOOL_CALL, TOOL_CALL_END

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')
_BEGUN_HEAD = re.compile(r'\s*(\{\s*("\w*("\s*(:\s*("[^"]*("\s*(,\s*("\w*("\s*:?\s*)?)?)?)?)?)?)?)?)?')
_CLOSING = {"{": "}", "[": "]"}


class ToolCallParser:
    """Content and tool calls of one answer.

    Attributes:
        calls: the calls so far, as ``message.tool_calls`` has them.
    """

    def __init__(self, names: Collection[str]) -> None:
        """Args: names: the functions that may be called."""
        self._names, self._read = names, self._between
        self._held = ""
        self._object = _JsonObject()
        self.calls: list[dict[str, Any]] = []

    def add(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """New text -> (content, entries of ``delta.tool_calls``)."""
        return self._run(self._held + text, final=False)

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """What was held back, at the end."""
        return self._run(self._held, final=True)

    def _run(self, text: str, *, final: bool) -> tuple[str, list[dict[str, Any]]]:
        contents, deltas = [], []
        while True:
            state = self._read
            content, delta, text = state(text, final)
            contents.append(content)
            deltas += delta
            if self._read == state:  # it waits for more
                self._held = "" if final else text
                return "".join(contents), deltas

    # Each state takes a text and returns the content and the deltas found, and the text that is left. It sets the
    # state that goes on with that text, or leaves the state as it is to wait for more.

    def _content(self, text: str, final: bool) -> tuple[str, list[dict[str, Any]], str]:
        before, mark, after = text.partition(TOOL_CALL)
        if mark:
            self._read = self._head
            return before.removesuffix("\n"), [], after
        if final:
            return text, [], ""
        held = begun(text, ("\n" + TOOL_CALL, TOOL_CALL))
        return text[: len(text) - held], [], text[len(text) - held :]

    def _between(self, text: str, final: bool) -> tuple[str, list[dict[str, Any]], str]:
        """White space before the first call and behind each."""
        rest = text.lstrip()
        if rest.startswith(TOOL_CALL):
            self._read = self._head
            return "", [], rest.removeprefix(TOOL_CALL)
        if rest and not TOOL_CALL.startswith(rest):
            self._read = self._content
            return "", [], text
        return (text if final and (rest or not self.calls) else ""), [], text

    def _head(self, text: str, final: bool) -> tuple[str, list[dict[str, Any]], str]:
        found = _HEAD.match(text)
        name = found and _loads(found[1])
        if found and name in self._names:
            self._read, self._object = self._arguments, _JsonObject()
            return "", [self._call(name)], text[found.end() :]
        end = text.find(TOOL_CALL_END)
        if end < 0 and not final:
            return "", [], text
        if end < 0 and _BEGUN_HEAD.fullmatch(text):
            self._read = self._content
            return "", [], ""
        whole, rest = (text, "") if end < 0 else (text[:end], text[end + len(TOOL_CALL_END) :])
        return self._other_order(whole, rest, closed=end >= 0)

    def _other_order(self, whole: str, rest: str, *, closed: bool) -> tuple[str, list[dict[str, Any]], str]:
        """A call whose fields stand in another order, or something else that is given back as content."""
        call = _loads(whole)
        arguments = call.get("arguments", call.get("parameters")) if isinstance(call, dict) else None
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        name = call.get("name") if isinstance(call, dict) else None
        if isinstance(name, str) and name in self._names and isinstance(_loads(arguments), dict):
            self._read = self._between
            return "", [self._call(name), self._more(arguments)], rest
        self._read = self._content
        return TOOL_CALL + whole + TOOL_CALL_END * closed, [], rest

    def _arguments(self, text: str, final: bool) -> tuple[str, list[dict[str, Any]], str]:
        size = self._object.read(text)
        piece, rest = text[:size], text[size:]
        if self._object.broken:
            self._read = self._broken
        elif self._object.ended:
            self._read = self._tail
        return "", [self._more(piece)] if piece else [], rest

    def _broken(self, text: str, final: bool) -> tuple[str, list[dict[str, Any]], str]:
        before, mark, after = text.partition(TOOL_CALL_END)
        if mark:
            self._read = self._between
        elif not final:
            place = len(text) - begun(text, (TOOL_CALL_END,))
            before, after = text[:place], text[place:]
        return "", [self._more(before)] if before else [], after

    def _tail(self, text: str, final: bool) -> tuple[str, list[dict[str, Any]], str]:
        """From the end of the arguments to the end of the call."""
        ends = [(text.find(mark), mark) for mark in (TOOL_CALL_END, TOOL_CALL) if mark in text]
        if ends:
            place, mark = min(ends)
            self._read = self._between
            return "", [], text[place:] if mark == TOOL_CALL else text[place + len(mark) :]
        rest = text.strip().removeprefix("}").lstrip()
        return (rest if final and not TOOL_CALL_END.startswith(rest) else ""), [], text

    def _call(self, name: str) -> dict[str, Any]:
        function = {"name": name, "arguments": ""}
        self.calls.append({"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function})
        return {"index": len(self.calls) - 1, **self.calls[-1], "function": dict(function)}

    def _more(self, arguments: str) -> dict[str, Any]:
        self.calls[-1]["function"]["arguments"] += arguments
        return {"index": len(self.calls) - 1, "function": {"arguments": arguments}}


class _JsonObject:
    """Finds where a JSON object ends, letter by letter.

    Attributes:
        ended: whether it has.
        broken: whether it cannot be JSON.
    """

    def __init__(self) -> None:
        self.ended = self.broken = False
        self._closing: list[str] = []
        self._in_string = self._escaped = False

    def read(self, text: str) -> int:
        """Takes a text and returns how much of it belongs to the object; up to what breaks it."""
        for place, letter in enumerate(text):
            if self._in_string:
                self._string(letter)
            elif letter == '"':
                self._in_string = True
            elif letter in _CLOSING:
                self._closing.append(_CLOSING[letter])
            elif letter in "}]":
                self.broken = self._closing.pop() != letter
                self.ended = not self._closing and not self.broken
            elif letter == "<":
                self.broken = True
            if self.broken:
                return place
            if self.ended:
                return place + 1
        return len(text)

    def _string(self, letter: str) -> None:
        self.broken = letter < " "
        if self._escaped:
            self._escaped = False
        elif letter == "\\":
            self._escaped = True
        elif letter == '"':
            self._in_string = False


def joined(deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of ``delta.tool_calls``, those of one call put together: clients expect one for a call in a chunk."""
    whole: list[dict[str, Any]] = []
    for delta in deltas:
        if whole and whole[-1]["index"] == delta["index"]:
            whole[-1]["function"]["arguments"] += delta["function"]["arguments"]
        else:
            whole.append(delta)
    return whole


def _loads(text: Any) -> Any:
    """The value of JSON text; None where it is none."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
