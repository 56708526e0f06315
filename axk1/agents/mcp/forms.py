"""A tool's slots <-> the fields of a form, which MCP keeps flat: words, numbers, yes or no, and choices.

A ``Literal`` is a choice, a list of them a choice of several; ``Slot.titles`` are what people read in it, and
``Slot.suggestion`` is what it is filled in with to begin with.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from axk1.agents.tool import Language, Slot, Tool

_KEPT = (
    "type", "format", "title", "enum", "enumNames", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems",
)  # fmt: skip
"""Keywords that a form's field may have."""
_FORMATS = (None, "email", "uri", "date", "date-time")
_PLAIN = ("string", "integer", "number", "boolean")


def fields_of(tool: Tool, names: list[str], language: Language) -> dict[str, dict[str, Any]]:
    """The fields for some slots of a tool."""
    return {name: _field(_schema(tool.arguments, name), tool.slots[name], language) for name in names}


def asked_field(slot: Slot, language: Language) -> dict[str, Any]:
    """The field for a question that is no parameter: a line of words, or a choice where the slot has titles."""
    return _field({"type": "string", "enum": list(slot.titles)} if slot.titles else {"type": "string"}, slot, language)


def filled_in(tool: Tool, answers: Mapping[str, Any]) -> dict[str, Any]:
    """What a form says, as the tool's arguments: one line stands for a list, ``kim@example.com, lee@example.com``."""
    lists = {name for name in answers if _schema(tool.arguments, name).get("type") == "array"}
    return {name: _listed(value) if name in lists else value for name, value in answers.items()}


def _schema(arguments: type[BaseModel], name: str) -> dict[str, Any]:
    """A parameter's schema, with what it refers to put in its place."""
    whole = arguments.model_json_schema()
    schema = whole.get("properties", {}).get(name, {})
    return _resolved(schema, whole.get("$defs", {}))


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "").removeprefix("#/$defs/")
    found = {**definitions.get(reference, {}), **{key: value for key, value in schema.items() if key != "$ref"}}
    if isinstance(found.get("items"), dict):
        found["items"] = _resolved(found["items"], definitions)
    return found


def _field(schema: Mapping[str, Any], slot: Slot, language: Language) -> dict[str, Any]:
    field = _flat(schema, slot, language) | {"description": slot.question(language)}
    return field if slot.suggestion is None else field | {"default": slot.suggestion}


def _flat(schema: Mapping[str, Any], slot: Slot, language: Language) -> dict[str, Any]:
    """A field of the same kind; a line of words for what forms do not know."""
    kept = {name: schema[name] for name in _KEPT if name in schema}
    if "const" in schema:
        kept["enum"] = [schema["const"]]
    if kept.get("type") == "array":
        return _several(schema["items"], kept, slot, language)
    if kept.get("type") not in _PLAIN:
        return {"type": "string"}
    if kept.get("format") not in _FORMATS:
        del kept["format"]
    if slot.titles and "enum" in kept:
        kept["oneOf"] = _titled(kept.pop("enum"), slot, language)
    return kept


def _several(items: Mapping[str, Any], kept: dict[str, Any], slot: Slot, language: Language) -> dict[str, Any]:
    """A choice of several, where the items are choices."""
    values = items.get("enum") or ([items["const"]] if "const" in items else [])
    if not values or not all(isinstance(value, str) for value in values):
        return {"type": "string"}
    choices = {"anyOf": _titled(values, slot, language)} if slot.titles else {"type": "string", "enum": values}
    return {**kept, "items": choices}


def _titled(values: list[Any], slot: Slot, language: Language) -> list[dict[str, Any]]:
    korean, english = 0, 1
    place = korean if language == "ko" else english
    return [{"const": one, "title": slot.titles.get(one, (str(one), str(one)))[place]} for one in values]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [one.strip() for one in str(value).split(",") if one.strip()]
