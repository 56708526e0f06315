"""How many tokens a request may take, before anybody has counted them: never less than it can be."""

from dataclasses import dataclass, replace
from typing import Any

from axk1.serve.protocol import ChatRequest, CompletionRequest, EmbeddingRequest

_PER_MESSAGE, _PER_REQUEST, _FOR_TOOLS = 16, 64, 512
"""Tokens that the chat template may add."""
_PER_IMAGE = 4096
"""What the largest vision models in use make of one image; its bytes say nothing."""
_MOST = 2**40
"""More tokens than any request can take; keeps absurd numbers out of the database."""


@dataclass(frozen=True)
class Size:
    """Tokens of a request at most."""

    prompt: int
    answer: int | None
    """Of all answers together; None: as many as the context holds."""
    choices: int
    """Answers."""
    flexible: bool
    """Whether the answers' length was left open."""

    def with_prompt(self, tokens: int) -> "Size":
        """The same with another prompt."""
        return replace(self, prompt=tokens)

    def within(self, context: int | None) -> "Size":
        """The same in a model's context; None: its length is not known."""
        if context is None:
            return self
        room = max(context - self.prompt, 1) * self.choices
        answer = room if self.answer is None else min(self.answer, room)
        return replace(self, answer=answer)


def of_chat(asked: ChatRequest) -> Size:
    """A conversation. A byte-level tokenizer makes at most one token of a byte."""
    prompt = _PER_REQUEST + sum(_PER_MESSAGE + _bytes(message) for message in asked.messages)
    tools = asked.model_dump(include={"tools"}).get("tools")
    if tools:
        prompt += _FOR_TOOLS + _bytes(tools)
    most = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    choices = min(max(asked.n, 1), 128)
    return Size(prompt, _answer(most, choices), choices, flexible=most is None)


def of_completion(asked: CompletionRequest) -> Size:
    """Some prompts, in text or token ids."""
    several = isinstance(asked.prompt, list) and asked.prompt and not isinstance(asked.prompt[0], int)
    choices = min(max(asked.n, 1), 128) * (len(asked.prompt) if several else 1)
    return Size(_prompts(asked.prompt), _answer(asked.max_tokens, choices), choices, flexible=False)


def of_embedding(asked: EmbeddingRequest) -> Size:
    """Some texts, which get no answer."""
    return Size(_prompts(asked.input), 0, 1, flexible=False)


def texts_and_ids(prompts: str | list[Any]) -> tuple[list[str], int]:
    """The prompts that are text, and the number of token ids in the others."""
    several = [prompts] if isinstance(prompts, str) else prompts
    texts = [each for each in several if isinstance(each, str)]
    return texts, sum(1 if isinstance(each, int) else len(each) for each in several if not isinstance(each, str))


def _prompts(prompts: str | list[Any]) -> int:
    texts, ids = texts_and_ids(prompts)
    return ids + sum(map(_bytes, texts))


def _answer(most: int | None, choices: int) -> int | None:
    return None if most is None else min(max(most, 0), _MOST) * choices


def _bytes(value: Any) -> int:
    """Bytes of all text in a value, names of fields and marks between them included."""
    if isinstance(value, str):
        return len(value.encode(errors="surrogatepass"))
    if isinstance(value, dict):
        if value.get("type") in ("image_url", "input_image"):
            return _PER_IMAGE
        return sum(_bytes(name) + _bytes(each) + 6 for name, each in value.items())
    if isinstance(value, list | tuple):
        return sum(_bytes(each) + 2 for each in value)
    return len(str(value))
