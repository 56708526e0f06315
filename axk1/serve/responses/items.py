"""Items, of which a conversation consists here, and the messages that a chat model reads.

Items are plain dictionaries as they stand on the wire. ``normalised`` checks those of a client and gives each an id;
``messages`` turns a whole conversation into chat messages.
"""

import base64
import binascii
import json
import uuid
import zlib
from collections.abc import Iterable
from typing import Any

from axk1.serve.errors import ApiError

Item = dict[str, Any]
"""A message, function call, function call's output, reasoning or compaction."""

_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "compaction": "cmp",
}
_ROLES = ("user", "assistant", "system", "developer")
_TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
_CALL_FIELDS = {"function_call": ("call_id", "name", "arguments"), "function_call_output": ("call_id",)}


def new_id(kind: str) -> str:
    """A fresh id for an item of some type."""
    return f"{_PREFIXES[kind]}_{uuid.uuid4().hex}"


def seal(text: str) -> str:
    """Text -> what ``encrypted_content`` holds: opaque to readers, kept by the client, and secret from nobody."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps({"text": text}).encode())).decode()


def unseal(sealed: Any, field: str) -> str:
    """The text of ``seal``. Raises ApiError where this server cannot have written it."""
    try:
        unpacked = zlib.decompressobj()
        found = json.loads(unpacked.decompress(base64.urlsafe_b64decode(sealed), _MOST_SEALED))
        text = found["text"]
    except (binascii.Error, zlib.error, ValueError, TypeError, KeyError):
        text = None
    if not isinstance(text, str):
        raise ApiError(f"{field} was not written by this server", param=field, code="invalid_encrypted_content")
    return text


_MOST_SEALED = 2**26
"""Most bytes that a sealed text unpacks to."""


def normalised(given: str | list[Item]) -> list[Item]:
    """A request's ``input`` -> items with ids, in the form that the API returns.

    Raises:
        ApiError: something is not an item, or of a type that is not supported; ``param`` says which.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_normalised(item, f"input[{place}]") for place, item in enumerate(given)]


def _normalised(item: Item, place: str) -> Item:
    kind = item.get("type") or ("message" if "role" in item else None)
    if kind not in _PREFIXES:
        _refuse(f"{place}.type", kind, ", ".join(_PREFIXES))
    made = {**item, "type": kind, "id": item.get("id") or new_id(kind)}
    _require_strings(made, ("id", *_CALL_FIELDS.get(kind, ())), place)
    if kind == "message":
        return _normalised_message(made, place)
    if kind == "function_call_output":
        made["output"] = _checked_output(item.get("output"), f"{place}.output")
    if kind == "compaction":
        unseal(item.get("encrypted_content"), f"{place}.encrypted_content")
        return made
    if kind == "reasoning":
        _reasoning_text(made, place)
        return {"summary": [], **made}
    return {**made, "status": item.get("status") or "completed"}


def _normalised_message(item: Item, place: str) -> Item:
    if item.get("role") not in _ROLES:
        _refuse(f"{place}.role", item.get("role"), ", ".join(_ROLES))
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    item["content"] = [_checked_part(part, f"{place}.content[{i}]") for i, part in enumerate(_list(content, place))]
    return {**item, "status": item.get("status") or "completed"}


def _checked_part(part: Any, place: str) -> Item:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "input_image":
        if not isinstance(part.get("image_url"), str):
            raise ApiError(f"{place}.image_url is missing; images by file_id are not supported", param=place)
        return part
    if kind not in _TEXT_PARTS:
        _refuse(f"{place}.type", kind, "input_text, output_text, refusal")
    _require_strings(part, (_TEXT_PARTS[kind],), place)
    if kind == "output_text":
        return {"annotations": [], **part}
    return part


def _checked_output(output: Any, place: str) -> str | list[Item]:
    if isinstance(output, str):
        return output
    return [_checked_part(part, f"{place}[{i}]") for i, part in enumerate(_list(output, place))]


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise ApiError(f"{place} holds neither a string nor a list of parts", param=place)
    return value


def _require_strings(item: Item, names: Iterable[str], place: str) -> None:
    for name in names:
        if not isinstance(item.get(name), str):
            raise ApiError(f"{place}.{name} is not a string", param=f"{place}.{name}")


def _refuse(field: str, value: Any, allowed: str) -> None:
    raise ApiError(f"{field} = {value!r} is not supported; allowed: {allowed}", param=field, code="unsupported_value")


def require_calls(items: list[Item]) -> None:
    """Raises ApiError for an output of a function that was never called."""
    called: set[str] = set()
    for item in items:
        if item["type"] == "function_call":
            called.add(item["call_id"])
        elif item["type"] == "function_call_output" and item["call_id"] not in called:
            raise ApiError(
                f"there is no function call with call_id {item['call_id']!r} before its output",
                param="input",
                code="function_call_not_found",
            )


def messages(items: list[Item], instructions: str | None = None) -> list[dict[str, Any]]:
    """A conversation as chat messages.

    What an assistant thought, said and called in one go, three items here, is one message there.

    Args:
        items: the conversation.
        instructions: what the system says before it.
    """
    made: list[dict[str, Any]] = [] if instructions is None else [{"role": "system", "content": instructions}]
    for item in items:
        kind = item["type"]
        if kind == "message" and item["role"] != "assistant":
            made.append({"role": item["role"], "content": _content(item["content"])})
        elif kind == "function_call_output":
            made.append({"role": "tool", "tool_call_id": item["call_id"], "content": _content(item["output"])})
        elif kind == "compaction":
            summary = unseal(item["encrypted_content"], "encrypted_content")
            made.append({"role": "system", "content": f"Summary of the conversation so far:\n{summary}"})
        else:
            _add_to_turn(made, item)
    return made


def _add_to_turn(made: list[dict[str, Any]], item: Item) -> None:
    """Adds what an assistant wrote to its turn, or begins the next; a turn goes on until something is said twice."""
    turn = made[-1] if made and made[-1]["role"] == "assistant" else None
    if item["type"] == "function_call":
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        if turn is None:
            made.append({"role": "assistant", "content": "", "tool_calls": [call]})
        else:
            turn.setdefault("tool_calls", []).append(call)
    elif item["type"] == "reasoning":
        made.append({"role": "assistant", "content": "", "reasoning_content": _reasoning_text(item, "reasoning")})
    elif turn is None or turn["content"] or "tool_calls" in turn:
        made.append({"role": "assistant", "content": _content(item["content"])})
    else:
        turn["content"] = _content(item["content"])


def _content(content: str | list[Item]) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if all(part["type"] != "input_image" for part in content):
        return "".join(part[_TEXT_PARTS[part["type"]]] for part in content)
    return [_chat_part(part) for part in content]


def _chat_part(part: Item) -> dict[str, Any]:
    if part["type"] == "input_image":
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    return {"type": "text", "text": part[_TEXT_PARTS[part["type"]]]}


def _reasoning_text(item: Item, place: str) -> str:
    """What was thought: in the open, or sealed; a summary alone is nothing that the model wrote."""
    parts = item.get("content") or []
    if any(not isinstance(part, dict) or not isinstance(part.get("text"), str) for part in _list(parts, place)):
        raise ApiError(f"{place}.content is not a list of texts", param=f"{place}.content")
    if parts:
        return "".join(part["text"] for part in parts)
    if item.get("encrypted_content"):
        return unseal(item["encrypted_content"], f"{place}.encrypted_content")
    return ""


def count_turns(items: list[Item]) -> int:
    """How often the user speaks."""
    return len(_turns(items))


def without_oldest(items: list[Item], turns: int) -> list[Item]:
    """A conversation without its first ``turns`` turns, of which it has more.

    A turn begins with what the user says and ends before the user speaks again, so that no function's output loses
    its call. What the system says and summaries stay.
    """
    if turns == 0:
        return items
    start = _turns(items)[turns]
    return [item for item in items[:start] if item["type"] == "compaction" or _is_system(item)] + items[start:]


def split_turns(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """A conversation of two or more turns in two halves."""
    starts = _turns(items)
    middle = starts[len(starts) // 2]
    return items[:middle], items[middle:]


def _turns(items: list[Item]) -> list[int]:
    return [place for place, item in enumerate(items) if item["type"] == "message" and item["role"] == "user"]


def _is_system(item: Item) -> bool:
    return item["type"] == "message" and item["role"] in ("system", "developer")
