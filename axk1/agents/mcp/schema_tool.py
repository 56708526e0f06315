"""``SchemaTool``: a ``Tool`` whose parameters somebody else wrote down as a JSON schema."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jsonschema
import referencing
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from referencing.exceptions import Unresolvable

from axk1.agents.tool import Language, Tool, ToolContext, ToolRefusal
from axk1.core.errors import AXK1Error

_LISTED = 5
"""Most wrong fields that one refusal names."""


class AnyArguments(BaseModel):
    """Parameters that are not known as Python types; ``SchemaTool.schema`` tells and checks them."""

    model_config = ConfigDict(extra="allow")
    declared: ClassVar[Mapping[str, Any]] = {"type": "object"}

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """The schema as it was declared."""
        return {"properties": {}, **copy.deepcopy(dict(cls.declared))}

    @classmethod
    def named(cls, schema: Mapping[str, Any]) -> type[BaseModel]:
        """A model that knows the parameters' names, and nothing else of them. They may be any words, also such as no
        Python field can be called, so they are set as pydantic keeps them."""
        model = type("Arguments", (cls,), {"declared": schema})
        required = schema.get("required", ())
        model.__pydantic_fields__ = {
            name: FieldInfo(annotation=Any, default=PydanticUndefined if name in required else None)
            for name in schema.get("properties", {})
        }
        return model


@dataclass(frozen=True, kw_only=True)
class SchemaTool(Tool):
    """A tool with a JSON schema in the place of typed parameters. Arguments pass as they are, once they are valid."""

    arguments: type[BaseModel] = AnyArguments
    schema: Mapping[str, Any] = field(default_factory=dict)
    """The parameters, as a JSON schema of an object."""

    @property
    def required(self) -> tuple[str, ...]:
        """Parameters that the schema requires."""
        return tuple(self.schema.get("required", ()))

    def described(self) -> dict[str, Any]:
        """As ``Tool.described``. Where the schema leaves other parameters open, the model is told of none: small ones
        fill such gaps with pieces of the schema."""
        parameters = copy.deepcopy(dict(self.schema))
        parameters.setdefault("properties", {})
        if "patternProperties" not in parameters:
            parameters.setdefault("additionalProperties", False)
        parameters["required"] = [one for one in self.required if one not in self.slots]
        told = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": told}

    def checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """As ``Tool.checked``."""
        try:
            errors = list(validator(self.schema).iter_errors(dict(arguments)))
        except Unresolvable as error:
            raise ToolRefusal(f"the schema of {self.name} refers to what is not in it: {error}") from None
        if errors:
            wrong = "; ".join(f"{one.json_path.removeprefix('$.')}: {one.message}" for one in errors[:_LISTED])
            raise ToolRefusal(f"{self.name} was called wrongly: {wrong}")
        return dict(arguments)


def validator(schema: Mapping[str, Any]) -> Validator:
    """A validator that fetches nothing: a reference to another document is an error when it is met.

    Raises:
        AXK1Error: it is no JSON schema.
    """
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise AXK1Error(f"it is no JSON schema: {error.message}") from None
    return kind(schema, registry=referencing.Registry())


def preview_of(server: str, tool: str) -> Any:
    """A ``Tool.preview`` that shows the call word for word."""

    def preview(context: ToolContext, /, **arguments: Any) -> str:
        written = json.dumps(arguments, ensure_ascii=False, indent=2)
        return f"{_INTRODUCTION[context.language].format(server=server, tool=tool)}\n\n```json\n{written}\n```"

    return preview


_INTRODUCTION: dict[Language, str] = {
    "ko": "다른 프로그램인 서버 **{server}** 의 도구 **{tool}** 을(를) 다음과 같이 부릅니다.",
    "en": "Calls the tool **{tool}** of the server **{server}**, another program, with:",
}
