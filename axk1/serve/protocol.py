"""What clients send, under OpenAI's names, with vLLM's additions.

Fields that are unknown here are kept: whoever answers does them or refuses them, none leaves them out in silence.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from axk1.engine.sampling_params import SamplingParams
from axk1.serve.errors import ApiError


class Request(BaseModel):
    """What one is like, not what is supported; null always means that a field was not sent."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values

    def sent(self) -> dict[str, Any]:
        """The fields that were sent, unknown ones too, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)


class ModelRequest(Request):
    """A request to one of the models; no name means the only one."""

    model: str | None = None


class StreamOptions(Request):
    """What a stream tells beside the text."""

    include_usage: bool = False


class _Sampling(ModelRequest):
    """What chat and text completions share; what it means and its defaults are the engine's."""

    n: int = SamplingParams.n
    temperature: float = SamplingParams.temperature
    top_p: float = SamplingParams.top_p
    top_k: int = SamplingParams.top_k
    min_p: float = SamplingParams.min_p
    presence_penalty: float = SamplingParams.presence_penalty
    frequency_penalty: float = SamplingParams.frequency_penalty
    repetition_penalty: float = SamplingParams.repetition_penalty
    logit_bias: dict[int, float] = Field(default_factory=dict)
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


class TemplateOptions(Request):
    """``chat_template_kwargs``: what the chat template is told."""

    enable_thinking: bool = True


class _Messages(Request):
    messages: list[dict[str, Any]]
    chat_template_kwargs: TemplateOptions = Field(default_factory=TemplateOptions)

    @model_validator(mode="after")
    def _check_messages(self) -> "_Messages":
        for place, message in enumerate(self.messages):
            if not isinstance(message.get("role"), str):
                raise ValueError(f"messages[{place}] has no role")
            content = message.get("content")
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


class EmbeddingRequest(ModelRequest):
    """``POST /v1/embeddings``."""

    input: str | list[int] | list[str] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    pooling: Literal["mean", "last"] = "mean"


class TokenizeRequest(ModelRequest):
    """``POST /tokenize`` of a text."""

    prompt: str
    add_special_tokens: bool = True  # ours add none
    return_token_strs: bool = False


class TokenizeChatRequest(_Messages, ModelRequest):
    """``POST /tokenize`` of a conversation."""

    add_generation_prompt: bool = True
    return_token_strs: bool = False


class DetokenizeRequest(ModelRequest):
    """``POST /detokenize``."""

    tokens: list[int]
