"""What a server asks the person (elicitation) <-> questions of a run and the person's words.

A form is a flat JSON schema; each field that it requires is one question. An address to open is a question whose
answer is yes. What the person will not say (None) declines the whole request.
"""

from collections.abc import Mapping
from typing import Any

from jsonschema.exceptions import ValidationError
from mcp_types import ElicitRequestFormParams, ElicitRequestParams, ElicitResult

from axk1.agents.mcp.schema_tool import validator
from axk1.agents.tool import Slot

AGREED = "agreed"
"""The name of the question where there is nothing to fill in."""
_YES = {"true", "yes", "y", "ok", "okay", "예", "네", "응", "그래", "좋아", "done", "완료"}
_NO = {"false", "no", "n", "아니요", "아니오", "아니", "싫어"}


class WrongAnswer(ValueError):
    """The person said something that the form does not take.

    Args:
        name: the field.
        why: what is wrong with it.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


def questions_of(params: ElicitRequestParams) -> dict[str, Slot]:
    """The questions of one request, by field."""
    if not isinstance(params, ElicitRequestFormParams):
        return {AGREED: _same(f"{params.message} {params.url}")}
    fields = _asked(params)
    if not fields:
        return {AGREED: _same(params.message)}
    return {name: _same(_question(params.message, name, schema, len(fields))) for name, schema in fields.items()}


def result_of(params: ElicitRequestParams, answers: Mapping[str, Any]) -> ElicitResult:
    """The answer to a request, out of what the person said to its questions.

    Raises:
        WrongAnswer: something said is not of the field's kind.
        KeyError: something was not asked yet.
    """
    names = list(questions_of(params))
    if any(answers[name] is None for name in names):
        return ElicitResult(action="decline")
    if names == [AGREED]:
        return _agreement(params, answers[AGREED])
    assert isinstance(params, ElicitRequestFormParams)
    schemas = _asked(params)
    content = {name: _typed(name, answers[name], schemas[name]) for name in names}
    return ElicitResult(action="accept", content=content)


def _agreement(params: ElicitRequestParams, said: Any) -> ElicitResult:
    if not _boolean(AGREED, said):
        return ElicitResult(action="decline")
    return ElicitResult(action="accept", content={} if isinstance(params, ElicitRequestFormParams) else None)


def _asked(params: ElicitRequestFormParams) -> dict[str, Any]:
    fields = params.requested_schema.get("properties") or {}
    required = params.requested_schema.get("required") or list(fields)
    return {name: schema for name, schema in fields.items() if name in required}


def _question(message: str, name: str, schema: Mapping[str, Any], count: int) -> str:
    label = schema.get("title") or (name if count > 1 else "")
    choices = [f"{value} ({title})" if title != value else str(value) for value, title in _choices(schema)]
    notes = [schema.get("description", ""), " / ".join(choices)]
    note = "; ".join(one for one in notes if one)
    return " ".join(one for one in (message, label and f"— {label}", note and f"({note})") if one)


def _choices(schema: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """The values that a field allows, each with its title; none where it is free."""
    schema = schema.get("items", schema)
    titled = schema.get("oneOf") or schema.get("anyOf")
    if titled:
        return [(one["const"], one.get("title", one["const"])) for one in titled if "const" in one]
    values = schema.get("enum") or []
    return list(zip(values, schema.get("enumNames") or values, strict=False))


def _typed(name: str, said: Any, schema: Mapping[str, Any]) -> Any:
    value = _converted(name, said, schema)
    try:
        validator(schema).validate(value)
    except ValidationError as error:
        raise WrongAnswer(name, error.message) from None
    return value


def _converted(name: str, said: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "array":
        items = said if isinstance(said, list) else [one.strip() for one in str(said).split(",")]
        return [_chosen(one, schema) for one in items]
    if not isinstance(said, str):
        return said
    if kind == "boolean":
        return _boolean(name, said)
    if kind in ("integer", "number"):
        try:
            return int(said) if kind == "integer" else float(said)
        except ValueError:
            raise WrongAnswer(name, f"{said!r} is not a number") from None
    return _chosen(said, schema)


def _chosen(said: Any, schema: Mapping[str, Any]) -> Any:
    words = str(said).strip().casefold()
    return next((v for v, title in _choices(schema) if words in (str(v).casefold(), str(title).casefold())), said)


def _boolean(name: str, said: Any) -> bool:
    if isinstance(said, bool):
        return said
    word = str(said).strip().rstrip(".!").casefold()
    if word not in _YES | _NO:
        raise WrongAnswer(name, f"{said!r} is neither yes nor no")
    return word in _YES


def _same(text: str) -> Slot:
    """The server's own words, whatever their language: to translate them is not ours."""
    return Slot(ko=text, en=text)
