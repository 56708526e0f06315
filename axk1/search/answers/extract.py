"""The answer that needs no model: sentences of the passages, word for word."""

from collections.abc import Sequence

from axk1.search.answers.evidence import ENOUGH, Evidence, find_evidence
from axk1.search.answers.question import Question
from axk1.search.passage import Hit

_NEARLY = 0.85
"""A further sentence is quoted where it is that nearly as probable as the first."""


def extract(question: Question, hits: Sequence[Hit], *, most: int = 2, enough: float = ENOUGH) -> list[Evidence]:
    """The sentences that answer a question, best first; none where no sentence is probable enough.

    Args:
        question: what is asked.
        hits: passages, best first.
        most: sentences at most.
        enough: the least probability that the first of them must have.
    """
    found = find_evidence(question, hits)
    if not found or found[0].probability < enough:
        return []
    least = found[0].probability * _NEARLY
    chosen: list[Evidence] = []
    for one in found:
        if len(chosen) < most and one.probability >= max(least, enough) and not _repeats(one, chosen):
            chosen.append(one)
    return chosen


def _repeats(one: Evidence, chosen: Sequence[Evidence]) -> bool:
    return any(one.text.strip() == other.text.strip() for other in chosen)
