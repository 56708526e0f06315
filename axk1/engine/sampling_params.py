"""``SamplingParams``: how the next tokens of a request are chosen and when its text ends. Names as in vLLM."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from axk1.core.config import require
from axk1.engine.structured_outputs import StructuredOutputsParams

MAX_LOGPROBS = 100
"""Most alternatives whose log-probabilities are returned at a position."""


@dataclass(frozen=True)
class SamplingParams:
    """What a request asks of the sampler."""

    n: int = 1
    """Texts to write for the prompt."""
    temperature: float = 1.0
    """0 takes the most probable token; otherwise the logits are divided by it."""
    top_p: float = 1.0
    """Keeps the most probable tokens whose probabilities add up to this."""
    top_k: int = 0
    """Keeps this many of the most probable tokens; 0 or -1 keeps all."""
    min_p: float = 0.0
    """Drops tokens less probable than this share of the most probable one."""
    presence_penalty: float = 0.0
    """Taken from the logit of every token that the text holds already."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for every time that the text holds it."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in the prompt or the text."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these token ids."""
    stop: tuple[str, ...] = ()
    """Strings that end the text before them."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the text, beside the tokenizer's own."""
    ignore_eos: bool = False
    """Go on after the tokenizer's end tokens."""
    max_tokens: int | None = None
    """Most new tokens; None means up to the end of the context."""
    seed: int | None = None
    """The same seed gives the same text, whatever else is in the batch; None draws one."""
    logprobs: int | None = None
    """Alternatives whose log-probabilities are returned with each token's own; None returns none."""
    prompt_logprobs: int | None = None
    """The same for every token of the prompt but the first."""
    pooling: Literal["mean", "last"] | None = None
    """Give the prompt's hidden states, pooled, instead of text; only with ``max_tokens`` = 0."""
    skip_special_tokens: bool = False
    """Leave control tokens (turn ends and the like) out of the text; thinking and tool marks stay."""
    structured_outputs: StructuredOutputsParams | None = None
    """The form that the text must have; it ends when the form is complete, whatever ``ignore_eos`` says. In a prompt
    that has opened ``<think>``, the form is that of the text behind ``</think>``."""
    thinking_token_budget: int | None = None
    """Most tokens of a thought, after which ``</think>`` is written for the model; None means no limit."""
    cache_salt: str = ""
    """Cached beginnings are shared only among requests of the same salt, so that nobody can learn by trying what
    others have sent."""

    def __post_init__(self) -> None:
        require(1 <= self.n <= 128, "n", self.n, "1 to 128")
        require(0 <= self.temperature < math.inf, "temperature", self.temperature, "0 or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        require(self.top_k >= -1, "top_k", self.top_k, "-1 or more")
        require(0 <= self.min_p <= 1, "min_p", self.min_p, "0 to 1")
        require(-2 <= self.presence_penalty <= 2, "presence_penalty", self.presence_penalty, "-2 to 2")
        require(-2 <= self.frequency_penalty <= 2, "frequency_penalty", self.frequency_penalty, "-2 to 2")
        repetition = self.repetition_penalty
        require(0 < repetition < math.inf, "repetition_penalty", repetition, "above 0")
        require(self.max_tokens is None or self.max_tokens >= 0, "max_tokens", self.max_tokens, "0 or more")
        pools = self.pooling is not None
        require(not pools or self.max_tokens == 0, "max_tokens", self.max_tokens, "0, since pooling writes nothing")
        require(all(self.stop), "stop", self.stop, "strings that are not empty")
        for name in ("logprobs", "prompt_logprobs"):
            value = getattr(self, name)
            require(value is None or 0 <= value <= MAX_LOGPROBS, name, value, f"0 to {MAX_LOGPROBS}")
        budget = self.thinking_token_budget
        require(budget is None or budget >= 0, "thinking_token_budget", budget, "0 or more")
        for token, bias in self.logit_bias.items():
            require(-100 <= bias <= 100, f"logit_bias[{token}]", bias, "-100 to 100")

    @property
    def filters(self) -> bool:
        """Whether sampling leaves tokens out."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0

    @property
    def penalises(self) -> bool:
        """Whether the logits depend on the tokens so far."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1)
