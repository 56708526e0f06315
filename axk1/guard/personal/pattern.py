"""``Pattern``: a way in which a kind of personal data is written, and how sure one may be."""

import re
from collections.abc import Callable
from dataclasses import dataclass

Judge = Callable[[re.Match[str]], float | None]
"""A match -> how sure it is; None where it is something else."""


@dataclass(frozen=True)
class Pattern:
    """One way of writing. The group ``it`` is what is found; without one, the whole match."""

    kind: str
    expression: re.Pattern[str]
    """For ``plain`` text. Repetitions are bounded, so that no text takes long."""
    sure: float | Judge
    """How sure one is without knowing what stands around."""
    context: re.Pattern[str] | None = None
    """Words that make one surer when they stand up to 30 characters before, or 15 behind."""
    in_context: float = 0.9
    """How sure one is then, at least."""

    def confidence(self, match: re.Match[str]) -> float | None:
        """How sure a match is; None where it is something else."""
        sure = self.sure if isinstance(self.sure, float) else self.sure(match)
        if sure is None or self.context is None:
            return sure
        text = match.string
        left, right = max(0, match.start() - 30), match.end() + 15
        near = self.context.search(text, left, match.start()) or self.context.search(text, match.end(), right)
        return max(sure, self.in_context) if near else sure


def words(expression: str) -> re.Pattern[str]:
    """Context words, capitals or not."""
    return re.compile(expression, re.IGNORECASE)


def digits(text: str) -> str:
    """Only the digits."""
    return re.sub(r"\D", "", text)
