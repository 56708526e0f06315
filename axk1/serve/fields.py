"""``Request``: the base of what clients send, and of the objects in it.

Fields that are unknown here are kept: whoever answers does them or refuses them, none leaves them out in silence.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Request(BaseModel):
    """What one is like, not what is supported; null always means that a field was not sent."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values

    def sent(self) -> dict[str, Any]:
        """The fields that were sent, unknown ones too, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)
