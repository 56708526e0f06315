"""``Finding``: a stretch of a text, and what is in it."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """What was found, and where: ``text[start:end]`` of the text that was handed in, letter for letter."""

    start: int
    """First character."""
    end: int
    """Behind the last character."""
    kind: str
    """What it is: ``"phone"``, ``"override"``, ..."""
    confidence: float
    """From 0 to 1: 0.5 is where a person should look, 0.9 where no person need."""


def apart(findings: list[Finding]) -> list[Finding]:
    """The findings without those that overlap a surer or, equally sure, a longer one; in order of place."""
    kept: list[Finding] = []
    taken: set[int] = set()
    for one in sorted(findings, key=lambda one: (-one.confidence, one.start - one.end, one.start, one.kind)):
        places = range(one.start, one.end)
        if taken.isdisjoint(places):
            taken.update(places)
            kept.append(one)
    return sorted(kept)
