"""What clients send, under OpenAI's names, with vLLM's additions.

A field that would change the answer is done or refused, never left out in silence.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from axk1.engine.sampling_params import SamplingParams
from axk1.serve.errors import ApiError, UnsupportedField

_WITHOUT_EFFECT = {"user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier"}
"""Fields that do not change the answer."""
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none",),
    "function_call": ("none",),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "store": (False,),
    "suffix": ("",),
    "best_of": (1,),
}
"""Values with which fields that are not supported ask for nothing."""


def _allow_null(schema: dict[str, Any]) -> None:
    """Says on the page of the API what ``_drop_null`` does."""
    for name, field in schema.get("properties", {}).items():
        if name not in schema.get("required", ()) and {"type": "null"} not in field.get("anyOf", ()):
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}]}


class _Request(BaseModel):
    """Refuses fields that it does not know, by name; null always means that a field was not sent.

    Strict: a string where a number belongs is a mistake of the client's, as OpenAI has it.
    """

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra=_allow_null)

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _refuse_unsupported(self) -> "_Request":
        for name, value in (self.model_extra or {}).items():
            if name not in _WITHOUT_EFFECT and not any(value == each for each in _HARMLESS.get(name, ())):
                raise UnsupportedField(name, ", ".join(map(repr, _HARMLESS.get(name, ()))) or "leaving it out")
        return self


class StreamOptions(_Request):
    """What a stream tells beside the text."""

    include_usage: bool = False


class _Sampling(_Request):
    """What chat and text completions share; what it means and its defaults are the engine's."""

    model: str | None = None
    n: int = SamplingParams.n
    temperature: float = SamplingParams.temperature
    top_p: float = SamplingParams.top_p
    top_k: int = SamplingParams.top_k
    min_p: float = SamplingParams.min_p
    presence_penalty: float = SamplingParams.presence_penalty
    frequency_penalty: float = SamplingParams.frequency_penalty
    repetition_penalty: float = SamplingParams.repetition_penalty
    logit_bias: dict[Annotated[int, Strict(False)], float] = Field(default_factory=dict)
    stop: str | list[str] = Field(default_factory=list)
    stop_token_ids: list[int] = Field(default_factory=list)
    ignore_eos: bool = SamplingParams.ignore_eos
    seed: int | None = SamplingParams.seed
    prompt_logprobs: int | None = SamplingParams.prompt_logprobs
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _check_stream(self) -> "_Sampling":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only for stream = true")
        if self.stream and self.prompt_logprobs is not None:
            raise ValueError("prompt_logprobs is only for stream = false")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with the count of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def params(self, *, max_tokens: int | None, logprobs: int | None, prompt_logprobs: int | None) -> SamplingParams:
        """The same for the engine. Raises ConfigError for values out of range."""
        names = ("n", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty")
        names += ("repetition_penalty", "logit_bias", "ignore_eos", "seed")
        return SamplingParams(
            **{name: getattr(self, name) for name in names},
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
            stop_token_ids=tuple(self.stop_token_ids),
            max_tokens=max_tokens,
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            skip_special_tokens=True,
        )


class TemplateOptions(_Request):
    """``chat_template_kwargs``: what the chat template is told."""

    enable_thinking: bool = True


class _Messages(_Request):
    messages: list[dict[str, Any]]
    chat_template_kwargs: TemplateOptions = Field(default_factory=TemplateOptions)

    @model_validator(mode="after")
    def _check_messages(self) -> "_Messages":
        for place, message in enumerate(self.messages):
            if not isinstance(message.get("role"), str):
                raise ValueError(f"messages[{place}] has no role")
            if message.get("tool_calls") or message.get("function_call"):
                raise UnsupportedField(f"messages[{place}].tool_calls", "leaving it out")
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                kind = part.get("type") if isinstance(part, dict) else type(part).__name__
                if kind != "text":
                    raise UnsupportedField(f"messages[{place}].content of type {kind!r}", "text")
            if content is not None and not isinstance(content, str | list):
                raise ValueError(f"messages[{place}].content is neither a string nor a list of parts")
        return self


class ChatRequest(_Messages, _Sampling):
    """``POST /v1/chat/completions``."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)

    def sampling_params(self) -> SamplingParams:
        """What the engine is asked for."""
        if self.top_logprobs and not self.logprobs:
            raise ApiError("top_logprobs is only for logprobs = true", param="top_logprobs")
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        if most is not None and most < 1:
            raise ApiError(f"max_tokens = {most} is not allowed; allowed: 1 or more", param="max_tokens")
        wanted = (self.top_logprobs or 0) if self.logprobs else None
        return self.params(max_tokens=most, logprobs=wanted, prompt_logprobs=self.prompt_logprobs)


class CompletionRequest(_Sampling):
    """``POST /v1/completions``."""

    prompt: str | list[int] | list[str] | list[list[int]]
    max_tokens: int = 16
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)

    def sampling_params(self) -> SamplingParams:
        """What the engine is asked for; an echo with log-probabilities needs those of the prompt."""
        asked = [p for p in (self.prompt_logprobs, self.logprobs if self.echo else None) if p is not None]
        return self.params(max_tokens=self.max_tokens, logprobs=self.logprobs, prompt_logprobs=max(asked, default=None))


class TokenizeRequest(_Request):
    """``POST /tokenize`` of a text."""

    model: str | None = None
    prompt: str
    add_special_tokens: bool = True  # ours add none
    return_token_strs: bool = False


class TokenizeChatRequest(_Messages):
    """``POST /tokenize`` of a conversation."""

    model: str | None = None
    add_generation_prompt: bool = True
    return_token_strs: bool = False


class DetokenizeRequest(_Request):
    """``POST /detokenize``."""

    model: str | None = None
    tokens: list[int]
