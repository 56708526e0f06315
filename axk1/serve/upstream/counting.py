"""Tokens of an answer whose upstream did not count them: a client left, or the upstream tells no ``usage``."""

from collections.abc import Iterator
from typing import Any

from axk1.serve.protocol import CompletionRequest, EmbeddingRequest, Request

_TOKENS_PER_BYTE = 0.25
"""What a byte of text counts before an answer has shown what it is with this model."""
_MEMORY = 0.05
"""Weight of the latest answer in the running mean."""
_NO_TEXT = ("data:", "http://", "https://")
"""How images and other attachments begin, which are no text."""


class TokenRates:
    """How many tokens a byte of text is with one model, learned from the answers that the upstream counted."""

    def __init__(self) -> None:
        self.prompt = self.completion = _TOKENS_PER_BYTE

    def learn(self, usage: dict[str, Any], prompt_bytes: int, completion_bytes: int) -> None:
        """Takes a count of the upstream's."""
        for name, size in (("prompt", prompt_bytes), ("completion", completion_bytes)):
            tokens = usage.get(f"{name}_tokens")
            if isinstance(tokens, int) and tokens > 0 and size > 0:
                setattr(self, name, (1 - _MEMORY) * getattr(self, name) + _MEMORY * tokens / size)


class Tally:
    """What has been asked and answered so far, in bytes of text and pieces."""

    def __init__(self, asked: Request) -> None:
        """Args: asked: a request for an answer."""
        fields = asked.sent()
        self.prompt_bytes = _text_bytes([fields.get(name) for name in ("messages", "prompt", "input", "tools")])
        self.prompt_ids: int | None = None
        if isinstance(asked, CompletionRequest | EmbeddingRequest):
            self.prompt_ids = _token_ids(asked.prompt if isinstance(asked, CompletionRequest) else asked.input)
        self.completion_bytes = 0
        self._pieces = 0
        self._tokens = 0

    def add(self, answer: dict[str, Any]) -> None:
        """Takes a chunk, or a whole answer."""
        for choice in answer.get("choices") or ():
            written = choice.get("delta") or choice.get("message") or choice.get("text") or ""
            size = _text_bytes({**written, "role": ""} if isinstance(written, dict) else written)
            self.completion_bytes += size
            self._pieces += size > 0
            self._tokens += _scored_tokens(choice.get("logprobs"))

    def estimate(self, rates: TokenRates) -> dict[str, Any]:
        """OpenAI's ``usage``, as near as can be said, and flagged."""
        prompt = self.prompt_ids if self.prompt_ids is not None else round(self.prompt_bytes * rates.prompt)
        by_size = round(self.completion_bytes * rates.completion)
        return estimated(prompt, self._tokens or max(self._pieces, by_size))


def estimated(prompt: int, completion: int) -> dict[str, Any]:
    """A ``usage`` that is not the upstream's word."""
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, "estimated": True}


def nothing() -> dict[str, Any]:
    """The ``usage`` of a request on which no work was done."""
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _texts(value: Any) -> Iterator[str]:
    """The strings in some JSON that are text."""
    if isinstance(value, str) and not value.startswith(_NO_TEXT):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _text_bytes(value: Any) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in _texts(value))


def _token_ids(prompt: str | list[int] | list[str] | list[list[int]]) -> int | None:
    """Number of ids where prompts came as ids."""
    if isinstance(prompt, str) or any(isinstance(each, str) for each in prompt):
        return None
    return sum(1 if isinstance(each, int) else len(each) for each in prompt)


def _scored_tokens(logprobs: Any) -> int:
    if not isinstance(logprobs, dict):
        return 0
    return len(logprobs.get("content") or logprobs.get("tokens") or ())
