"""The form that clients ask of a text: OpenAI's ``response_format``, and vLLM's ``structured_outputs``."""

from typing import Any, Literal

from llguidance import LLMatcher
from pydantic import Field

from axk1.core.config import require
from axk1.engine.async_engine import AsyncEngine
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.structured_outputs import GrammarError, StructuredOutputsParams
from axk1.serve.errors import ApiError
from axk1.serve.fields import Request
from axk1.serve.tools import json_schema


class NamedSchema(Request):
    """A JSON schema under a name. With ``strict`` a keyword that no grammar can express is an error."""

    name: str
    description: str | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool = False


class TextFormat(Request):
    """Any text."""

    type: Literal["text"]

    def params(self) -> StructuredOutputsParams | None:
        """The same for the engine; None where every text will do."""
        return None


class JsonObjectFormat(TextFormat):
    """Any JSON object."""

    type: Literal["json_object"]

    def params(self) -> StructuredOutputsParams:
        return StructuredOutputsParams(json=json_schema({"type": "object"}, strict=True))


class JsonSchemaFormat(TextFormat):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema

    def params(self) -> StructuredOutputsParams:
        return StructuredOutputsParams(json=json_schema(self.json_schema.schema_, strict=self.json_schema.strict))


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StructuredOutputs(Request):
    """vLLM's field: exactly one of these."""

    json_: str | bool | dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool = False

    def params(self) -> StructuredOutputsParams:
        """The same for the engine. Raises ConfigError where not exactly one is set."""
        return StructuredOutputsParams(self.json_, self.regex, self.choice, self.grammar, self.json_object)


class WithFormat(Request):
    """The fields of a request that say what form its text shall have. One of them at most may be sent."""

    response_format: ResponseFormat | None = Field(None, discriminator="type")
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | bool | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None

    def form(self) -> tuple[str, StructuredOutputsParams] | None:
        """The field that asks for a form, and that form; None where any text will do. Raises ConfigError."""
        forms = {}
        for name in ("response_format", "structured_outputs"):
            value = getattr(self, name)
            params = None if value is None else value.params()
            if params is not None:
                forms[name] = params
        for kind in ("json", "regex", "choice", "grammar"):  # vLLM's older names
            value = getattr(self, f"guided_{kind}")
            if value is not None:
                forms[f"guided_{kind}"] = StructuredOutputsParams(**{kind: value})
        require(len(forms) <= 1, "response_format", list(forms), "one field at most that says what form the text has")
        return next(iter(forms.items()), None)

    def parts(self) -> list[tuple[str, StructuredOutputsParams]]:
        """Everything in the request that becomes a grammar or a part of one, and the field where it stands."""
        form = self.form()
        return [] if form is None else [form]


async def compiled(engine: AsyncEngine, params: SamplingParams, asked: WithFormat) -> LLMatcher | None:
    """The grammar of a request. Raises ApiError with the field that holds it, where it cannot be used."""
    try:
        return await engine.compile(params)
    except GrammarError as error:
        field, reason = error.field, error.reason
    parts = asked.parts()
    if len(parts) == 1:
        field = parts[0][0]
    for name, part in parts if len(parts) > 1 else ():  # were put together: which cannot be used alone?
        try:
            await engine.compile(SamplingParams(structured_outputs=part))
        except GrammarError as error:
            field, reason = name, error.reason
            break
    raise ApiError(f"{field} cannot be used: {reason}", param=field, code="invalid_grammar")
