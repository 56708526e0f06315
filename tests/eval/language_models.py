"""Small language models that answer by rules, for tests: real implementations of the protocol with known scores."""

import math
import re
from collections.abc import Callable, Iterator, Sequence

from axk1.core.language_model import Generation, TextScore

_QUESTION = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)


class RuleModel:
    """Answers each question by a function, and finds every byte of text equally probable.

    Args:
        answer: from a question to an answer.
        bits: what a byte of text costs this model.
    """

    def __init__(self, answer: Callable[[str], str], *, bits: float = 8.0) -> None:
        self.answer, self.bits = answer, bits
        self.calls = 0

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Generation]:
        """One answer per prompt; a prompt that ends in an open ``<think>`` gets a thought first."""
        self.calls += 1
        return [self._answered(prompt, max_tokens) for prompt in prompts]

    def stream(
        self, prompt: str, *, max_tokens: int, temperature: float = 0.0, stop: Sequence[str] = (), seed: int = 0
    ) -> Iterator[str]:
        """The answer, in one piece."""
        yield self._answered(prompt, max_tokens).text

    def score(self, texts: Sequence[str]) -> list[TextScore]:
        """``bits`` for every byte."""
        self.calls += 1
        sizes = [len(text.encode()) for text in texts]
        return [TextScore(-math.log(2) * self.bits * size, size, size) for size in sizes]

    def _answered(self, prompt: str, max_tokens: int) -> Generation:
        text = self.answer(_QUESTION.findall(prompt)[-1])
        if prompt.endswith("<think>"):
            text = f"a moment</think>{text}"
        cut = text[: 4 * max_tokens]  # four characters to a token
        return Generation(cut, len(prompt) // 4, len(cut) // 4 + 1, "stop" if cut == text else "length")


def add(question: str) -> str:
    """Adds where a question asks for a sum, and gives up on the rest."""
    found = re.search(r"(\d+) \+ (\d+)", question)
    return str(int(found[1]) + int(found[2])) if found else "?"


def calculate(question: str) -> str:
    """Adds and subtracts."""
    left, sign, right = re.search(r"(\d+) ([+-]) (\d+)", question).groups()
    return str(int(left) + int(right) if sign == "+" else int(left) - int(right))
