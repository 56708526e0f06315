"""``Request``: the base of what clients send, and of the objects in it.

Fields that are unknown here are kept: whoever answers does them or refuses them, none leaves them out in silence.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


def _allow_null(schema: dict[str, Any]) -> None:
    """Says on the page of the API what ``_drop_null`` does."""
    for name, field in schema.get("properties", {}).items():
        if name not in schema.get("required", ()) and {"type": "null"} not in field.get("anyOf", ()):
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}]}


class Request(BaseModel):
    """What one is like, not what is supported; null always means that a field was not sent.

    Strict: a string where a number belongs is a mistake of the client's, as OpenAI has it.
    """

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra=_allow_null)

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values

    def sent(self) -> dict[str, Any]:
        """The fields that were sent, unknown ones too, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)
