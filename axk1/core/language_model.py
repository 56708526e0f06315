"""The protocol through which evaluation and applications reach a model, whoever runs it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Generation:
    """One generated text."""

    text: str
    """The text, without the prompt and without the token that ended it."""
    prompt_tokens: int
    """Length of the prompt in tokens."""
    completion_tokens: int
    """Number of generated tokens, the one that ended it included."""
    finish_reason: str
    """``stop`` when the model ended the text, ``length`` when the limit did."""


@dataclass(frozen=True)
class TextScore:
    """How probable a model finds a text."""

    log_likelihood: float
    """Sum of the natural log-probabilities of the text's tokens, the first given the begin-of-text token."""
    tokens: int
    """Number of tokens scored."""
    bytes: int
    """Length of the text in UTF-8 bytes."""


class LanguageModel(Protocol):
    """A model that writes and scores text. The embedded engine and any server behind a client fit this."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Generation]:
        """Continues each prompt (already rendered text; special tokens in it are recognised)."""
        ...

    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """Continues one prompt and yields the text piece by piece; each piece is whole Unicode characters."""
        ...

    def score(self, texts: Sequence[str]) -> list[TextScore]:
        """The log-likelihood of each text under the model."""
        ...
