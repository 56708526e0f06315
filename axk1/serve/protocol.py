"""What clients send, under OpenAI's names, with vLLM's additions.

Fields that are unknown here are kept: whoever answers does them or refuses them, none leaves them out in silence.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from axk1.core.config import require
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.structured_outputs import StructuredOutputsParams
from axk1.serve.conversation import Conversation
from axk1.serve.errors import ApiError
from axk1.serve.fields import Request
from axk1.serve.response_format import WithFormat
from axk1.serve.tools import Function, NamedTool, ToolChoice, calls_grammar
from axk1.tokenizer.special_tokens import TOOL_CALL
from axk1.tokenizer.tokenizer import Tokenizer


class ModelRequest(Request):
    """A request to one of the models; no name means the only one."""

    model: str | None = None


class StreamOptions(Request):
    """What a stream tells beside the text."""

    include_usage: bool = False


class _Sampling(WithFormat, ModelRequest):
    """What chat and text completions share; what it means and its defaults are the engine's."""

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
    thinking_token_budget: int | None = Field(None, ge=-1)

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

    @property
    def thought_tokens(self) -> int | None:
        """Most tokens of a thought; None for no limit."""
        return None if self.thinking_token_budget in (None, -1) else self.thinking_token_budget

    def params(self, *, max_tokens: int | None, logprobs: int | None, **more: Any) -> SamplingParams:
        """The same for the engine, with more of its fields. Raises ConfigError for values out of range."""
        names = ("n", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty")
        names += ("repetition_penalty", "logit_bias", "ignore_eos", "seed")
        values = {name: getattr(self, name) for name in names}
        return SamplingParams(
            **(values | more),
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
            stop_token_ids=tuple(self.stop_token_ids),
            max_tokens=max_tokens,
            logprobs=logprobs,
            skip_special_tokens=True,
            thinking_token_budget=self.thought_tokens,
        )


_THOUGHTS = {"minimal": 512, "low": 2048, "medium": 8192, "high": None, "xhigh": None, "max": None}
"""Most tokens of a thought for each ``reasoning_effort``; ``none`` thinks not at all."""


class ChatRequest(Conversation, _Sampling):
    """``POST /v1/chat/completions``.

    ``thinking_token_budget`` (vLLM's name; -1 for no limit) is the most tokens that a thought may have. Without it,
    ``reasoning_effort`` sets one: minimal 512, low 2048, medium 8192, and high, xhigh and max none.
    """

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None

    @model_validator(mode="after")
    def _check_choice(self) -> "ChatRequest":
        names = [tool.function.name for tool in self.tools]
        choice = self.tool_choice
        if isinstance(choice, NamedTool) and choice.function.name not in names:
            raise ValueError(f"tool_choice names {choice.function.name!r}, but tools has {names}")
        if choice == "required" and not names:
            raise ValueError("tool_choice = 'required' is only for requests with tools")
        template = self.chat_template_kwargs
        thinks = template.enable_thinking and "enable_thinking" in template.model_fields_set
        if self.reasoning_effort == "none" and thinks:
            raise ValueError("reasoning_effort = 'none' contradicts chat_template_kwargs.enable_thinking = true")
        return self

    @property
    def enable_thinking(self) -> bool:
        """Whether the assistant may think before it answers."""
        return self.chat_template_kwargs.enable_thinking and self.reasoning_effort != "none"

    def parts(self) -> list[tuple[str, StructuredOutputsParams]]:
        """The same, with the parameters of the tools."""
        schemas = [(place, tool.function.arguments_schema()) for place, tool in enumerate(self.tools)]
        tools = [(f"tools[{place}].function.parameters", StructuredOutputsParams(json=s)) for place, s in schemas]
        return [*super().parts(), *tools]

    @property
    def callable_functions(self) -> list[Function]:
        """The functions that the answer may call."""
        if self.tool_choice == "none":
            return []
        functions = [tool.function for tool in self.tools]
        if isinstance(self.tool_choice, NamedTool):
            return [function for function in functions if function.name == self.tool_choice.function.name]
        return functions

    def sampling_params(self, tokenizer: Tokenizer) -> SamplingParams:
        """What the engine is asked for. Args: tokenizer: knows the marks of thoughts and calls."""
        if self.top_logprobs and not self.logprobs:
            raise ApiError("top_logprobs is only for logprobs = true", param="top_logprobs")
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        if most is not None and most < 1:
            raise ApiError(f"max_tokens = {most} is not allowed; allowed: 1 or more", param="max_tokens")
        wanted = (self.top_logprobs or 0) if self.logprobs else None
        bias = self.logit_bias
        if self.tools and not self.callable_functions and TOOL_CALL in tokenizer.special_tokens:
            bias = {**bias, tokenizer.special_tokens[TOOL_CALL]: -100}
        return self.params(
            max_tokens=most,
            logprobs=wanted,
            prompt_logprobs=self.prompt_logprobs,
            logit_bias=bias,
            structured_outputs=self._structured(tokenizer),
        )

    @property
    def thought_tokens(self) -> int | None:
        """Most tokens of a thought; None for no limit."""
        if self.thinking_token_budget is None:
            return _THOUGHTS.get(self.reasoning_effort or "max")
        return super().thought_tokens

    def _structured(self, tokenizer: Tokenizer) -> StructuredOutputsParams | None:
        functions, form = self.callable_functions, self.form()
        if not functions:
            return form and form[1]
        options = {"tokenizer": tokenizer, "parallel": self.parallel_tool_calls}
        if isinstance(self.tool_choice, NamedTool):
            options["parallel"] = False
        elif self.tool_choice != "required" and form is not None:
            require(form[0] == "response_format", form[0], "a form beside tools", "response_format")
            options["answer"] = form[1].json
        elif self.tool_choice != "required":
            if self.parallel_tool_calls and not any(function.strict for function in functions):
                return None
            options["text"] = True
        return StructuredOutputsParams(grammar=calls_grammar(functions, **options))


class CompletionRequest(_Sampling):
    """``POST /v1/completions``."""

    prompt: str | list[int] | list[str] | list[list[int]]
    max_tokens: int = 16
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)

    def sampling_params(self) -> SamplingParams:
        """What the engine is asked for; an echo with log-probabilities needs those of the prompt."""
        asked = [p for p in (self.prompt_logprobs, self.logprobs if self.echo else None) if p is not None]
        form = self.form()
        return self.params(
            max_tokens=self.max_tokens,
            logprobs=self.logprobs,
            prompt_logprobs=max(asked, default=None),
            structured_outputs=form and form[1],
        )


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


class TokenizeChatRequest(Conversation, ModelRequest):
    """``POST /tokenize`` of a conversation."""

    add_generation_prompt: bool = True
    return_token_strs: bool = False


class DetokenizeRequest(ModelRequest):
    """``POST /detokenize``."""

    tokens: list[int]
