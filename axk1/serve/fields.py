"""``Fields``: the base of what clients send. What is not known is refused by name, never left out in silence."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from axk1.serve.errors import UnsupportedField

_WITHOUT_EFFECT = {"user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier"}
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


class Fields(BaseModel):
    """Refuses fields that it does not know, by name; null always means that a field was not sent."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _refuse_unsupported(self) -> "Fields":
        for name, value in (self.model_extra or {}).items():
            if name not in _WITHOUT_EFFECT and not any(value == each for each in _HARMLESS.get(name, ())):
                raise UnsupportedField(name, ", ".join(map(repr, _HARMLESS.get(name, ()))) or "leaving it out")
        return self
