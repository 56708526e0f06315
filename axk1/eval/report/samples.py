"""Sample answers: the same prompts answered by teacher, student and control, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from axk1.eval.report.words import Words

LONGEST = 1500  # characters of a text that the page shows


@dataclass(frozen=True)
class Excerpt:
    """A text, cut when it is long."""

    shown: str
    left_out: int = 0
    """How many characters were cut."""


def excerpt(text: str, limit: int = LONGEST) -> Excerpt:
    """The beginning of a text, and how much of it is left out."""
    return Excerpt(text[:limit], max(0, len(text) - limit))


@dataclass(frozen=True)
class Reply:
    """What one model answered."""

    role: str
    thought: Excerpt | None
    thought_length: int
    answer: Excerpt
    correct: bool | None


@dataclass(frozen=True)
class Sample:
    """One prompt and its answers."""

    title: str
    tags: Sequence[Words]
    prompt: Excerpt
    target: Excerpt | None
    replies: Sequence[Reply]


@dataclass(frozen=True)
class Samples:
    shown: Sequence[Sample]
    note: Words


def read_samples(run, count):
    return Samples([], Words("", ""))
