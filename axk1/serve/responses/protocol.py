"""What clients send to ``/v1/responses``, and the parts of the answer that repeat it.

Names and meanings are OpenAI's; https://www.openresponses.org/specification says which of them everybody shares.
"""

import json
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from axk1.serve.errors import UnsupportedField
from axk1.serve.fields import Request
from axk1.serve.supported import refuse_unsupported

LOGPROBS = "message.output_text.logprobs"
"""``include``: log-probabilities of the text."""
ENCRYPTED_REASONING = "reasoning.encrypted_content"
"""``include``: reasoning in a form that can be sent back."""

_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_SAMPLING += ("seed", "logit_bias", "top_k", "min_p", "repetition_penalty")


class Reasoning(Request):
    """``reasoning``: whether to think before the answer."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto"] | None = None  # the provider decides: here there are none, the reasoning itself is told


class TextFormat(Request):
    """``text.format``: what the answer must look like."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> "TextFormat":
        if self.type == "json_schema" and (self.name is None or self.json_schema is None):
            raise ValueError("type json_schema needs name and schema")
        return self

    def for_chat(self) -> dict[str, Any] | None:
        """The same as chat's ``response_format``; None for plain text."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": self.type}
        schema = {"name": self.name, "schema": self.json_schema}
        schema |= {name: value for name, value in self._details() if value is not None}
        return {"type": self.type, "json_schema": schema}

    def resource(self) -> dict[str, Any]:
        """The same as the answer repeats it."""
        if self.type != "json_schema":
            return {"type": self.type}
        return {"type": self.type, "name": self.name, "schema": self.json_schema, **dict(self._details())}

    def _details(self) -> list[tuple[str, Any]]:
        return [("description", self.description), ("strict", self.strict)]


class Text(Request):
    """``text``: options of the answer's text."""

    format: TextFormat = Field(default_factory=TextFormat)
    verbosity: Literal["medium"] | None = None


class Tool(Request):
    """A function that the model may call. Tools that a server runs itself are not there."""

    type: Literal["function"]
    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def for_chat(self) -> dict[str, Any]:
        """The same in chat's form."""
        function = {name: value for name, value in self._fields().items() if value is not None}
        return {"type": "function", "function": function}

    def resource(self) -> dict[str, Any]:
        """The same as the answer repeats it."""
        return {"type": "function", **self._fields()}

    def _fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "strict": self.strict,
        }


class NamedTool(Request):
    """A tool by its name."""

    type: Literal["function"]
    name: str


class AllowedTools(Request):
    """``tool_choice``: only some of the tools."""

    type: Literal["allowed_tools"]
    tools: list[NamedTool] = Field(min_length=1)
    mode: Literal["auto", "none", "required"] = "auto"


class StreamOptions(Request):
    """``stream_options``: nothing is padded here, so there is nothing to choose."""

    include_obfuscation: Literal[False] = False


class _Conversation(Request):
    """What creating and compacting share."""

    input: str | list[dict[str, Any]] = Field(default_factory=list)
    previous_response_id: str | None = None
    instructions: str | None = None
    prompt_cache_key: str | None = Field(None, max_length=64)

    @model_validator(mode="before")
    @classmethod
    def _check_text(cls, values: Any) -> Any:
        """The answer repeats much of the request, so that must have a form as JSON in UTF-8."""
        try:
            json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:  # bytes, where the body was not sent as JSON
            raise ValueError(f"it cannot be sent back as JSON: {error}") from None
        return values

    @model_validator(mode="after")
    def _refuse_unsupported(self) -> "_Conversation":
        refuse_unsupported(self)
        return self


class CompactRequest(_Conversation):
    """``POST /v1/responses/compact``."""

    model: str


class ResponseRequest(_Conversation):
    """``POST /v1/responses``, and ``response.create`` over a WebSocket."""

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    store: bool = True
    background: Literal[False] = False
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] = Field(default_factory=list)
    tools: list[Tool] = Field(default_factory=list)
    tool_choice: Literal["auto", "none", "required"] | NamedTool | AllowedTools = "auto"
    parallel_tool_calls: bool = True
    text: Text = Field(default_factory=Text)
    reasoning: Reasoning = Field(default_factory=Reasoning)
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    top_logprobs: int = Field(0, ge=0, le=20)
    truncation: Literal["auto", "disabled"] = "disabled"
    service_tier: Literal["auto", "default", "flex", "priority"] = "auto"
    metadata: dict[str, str] = Field(default_factory=dict, max_length=16)
    safety_identifier: str | None = Field(None, max_length=64)

    @field_validator("background", mode="before")
    @classmethod
    def _refuse_background(cls, value: Any) -> Any:
        if value is True:
            raise UnsupportedField("background", "False")
        return value

    seed: int | None = None  # these five are chat's
    logit_bias: dict[str, float] | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    @model_validator(mode="after")
    def _check(self) -> "ResponseRequest":
        for key, value in self.metadata.items():
            if len(key) > 64 or len(value) > 512:
                raise ValueError("metadata has keys of at most 64 and values of at most 512 characters")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only for stream = true")
        if self.tool_choice == "required" and not self.tools:
            raise ValueError("tool_choice = 'required' is only for requests with tools")
        known = {tool.name for tool in self.tools}
        for name in self.named_tools:
            if name not in known:
                raise ValueError(f"tool_choice names {name!r}, which is not among the tools")
        return self

    @property
    def named_tools(self) -> list[str]:
        """The tools that ``tool_choice`` names."""
        if isinstance(self.tool_choice, AllowedTools):
            return [tool.name for tool in self.tool_choice.tools]
        return [self.tool_choice.name] if isinstance(self.tool_choice, NamedTool) else []

    def for_chat(self) -> dict[str, Any]:
        """The fields of a chat request that mean the same, but for its messages."""
        fields: dict[str, Any] = {"model": self.model, "stream": True, "stream_options": {"include_usage": True}}
        for name in _SAMPLING:
            fields[name] = getattr(self, name)
        fields["max_completion_tokens"] = self.max_output_tokens
        fields["response_format"] = self.text.format.for_chat()
        fields["reasoning_effort"] = self.reasoning.effort
        if LOGPROBS in self.include or self.top_logprobs:
            fields |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return {**{name: value for name, value in fields.items() if value is not None}, **self._tools_for_chat()}

    def _tools_for_chat(self) -> dict[str, Any]:
        """A tool that is not allowed is not shown either: what the model never saw, it hardly calls."""
        tools, choice = self.tools, self.tool_choice
        if isinstance(choice, AllowedTools):
            tools, choice = [tool for tool in tools if tool.name in self.named_tools], choice.mode
        if not tools:
            return {}
        if isinstance(choice, NamedTool):
            choice = {"type": "function", "function": {"name": choice.name}}
        parallel = {} if self.parallel_tool_calls else {"parallel_tool_calls": False}
        return {"tools": [tool.for_chat() for tool in tools], "tool_choice": choice, **parallel}

    def resource(self) -> dict[str, Any]:
        """The fields of the answer that repeat the request."""
        choice = self.tool_choice
        return {
            "previous_response_id": self.previous_response_id,
            "instructions": self.instructions,
            "tools": [tool.resource() for tool in self.tools],
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "truncation": self.truncation,
            "parallel_tool_calls": self.parallel_tool_calls,
            "text": {"format": self.text.format.resource(), "verbosity": "medium"},
            "temperature": self.temperature,
            "top_p": self.top_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "top_logprobs": self.top_logprobs,
            "reasoning": {"effort": self.reasoning.effort, "summary": None},
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": None,
            "store": self.store,
            "background": False,
            "service_tier": "default",
            "metadata": self.metadata,
            "safety_identifier": self.safety_identifier,
            "prompt_cache_key": self.prompt_cache_key,
            "user": (self.model_extra or {}).get("user"),
        }
