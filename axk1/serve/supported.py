"""What the engine here cannot do is refused, by name. A server elsewhere decides for itself what it can do."""

from collections.abc import Iterator, Mapping
from typing import Any

from axk1.serve.errors import ApiError, UnsupportedField
from axk1.serve.fields import Request

_WITHOUT_EFFECT = {"user", "metadata", "safety_identifier", "service_tier"}
_WITHOUT_EFFECT |= {"prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}
"""Fields that do not change the answer."""
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "functions": ([],),
    "function_call": ("none",),
    "modalities": (["text"],),
    "store": (False,),
    "suffix": ("",),
    "best_of": (1,),
}
"""Values with which fields that are not supported ask for nothing."""


def refuse_unsupported(asked: Request) -> None:
    """Raises UnsupportedField for the first field that would change the answer and cannot be done here."""
    for name, value in _unknown(asked):
        field = name.rpartition(".")[2]
        if field not in _WITHOUT_EFFECT and not any(value == each for each in _HARMLESS.get(field, ())):
            raise UnsupportedField(name, ", ".join(map(repr, _HARMLESS.get(field, ()))) or "leaving it out")
    for place, message in enumerate(getattr(asked, "messages", ())):
        _refuse_parts(f"messages[{place}]", message)


def _unknown(asked: Request) -> Iterator[tuple[str, Any]]:
    """The fields that the protocol does not know, with the place where they stand."""
    yield from (asked.model_extra or {}).items()
    for name in type(asked).model_fields:
        value = getattr(asked, name)
        inner = {name: value}
        if isinstance(value, list):
            inner = {f"{name}[{place}]": each for place, each in enumerate(value)}
        for place, each in inner.items():
            if isinstance(each, Request):
                yield from ((f"{place}.{field}", found) for field, found in _unknown(each))


def _refuse_parts(place: str, message: Mapping[str, Any]) -> None:
    if message.get("function_call"):
        raise UnsupportedField(f"{place}.function_call", "tool_calls")
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind == "image_url":
            text = f"{place}.content shows an image, and the model cannot see: it reads text only"
            raise ApiError(text, param=f"{place}.content", code="unsupported_content")
        if kind != "text":
            raise UnsupportedField(f"{place}.content of type {kind!r}", "text")
