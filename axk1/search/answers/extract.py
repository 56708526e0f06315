"""The answer that needs no model: sentences of the passages, word for word."""

import dataclasses
import re
from collections.abc import Sequence

from axk1.search.answers.evidence import ENOUGH, Evidence, find_evidence
from axk1.search.answers.question import Question
from axk1.search.passage import Hit

_ANNOUNCES = re.compile(r"(?:다음(?:과|의)?\s.*(?:같다|같습니다|하나|해당).*|as follows.*|:)$")
_ITEM = re.compile(r"\s*(?:[-–—•·∙▶▸○●□■*①-⑳]|\(?\d{1,2}[.)]|[가-하][.)]|[a-z][.)])\s?")
_LONGEST_LIST = 800
"""Characters of a quoted sentence with its list."""
_NEARLY = 0.85
"""A further sentence is quoted where it is that nearly as probable as the first."""


def extract(question: Question, hits: Sequence[Hit], *, most: int = 2, enough: float = ENOUGH) -> list[Evidence]:
    """The sentences that answer a question, the best passage's first; none where no sentence is probable enough.

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
    first = {one.passage.id: place for place, one in reversed(list(enumerate(chosen)))}
    chosen.sort(key=lambda one: (first[one.passage.id], one.start))  # those of one passage as they stand there
    return [_with_its_list(one) for one in chosen]


def _with_its_list(one: Evidence) -> Evidence:
    """A sentence that announces a list, with the list behind it as far as the passage holds it."""
    if not _ANNOUNCES.search(one.text.strip()):
        return one
    end = one.end - one.passage.start
    for line in re.finditer(r"\s*[^\n]+", one.passage.text[end:]):
        if not _ITEM.match(line[0]) or one.end - one.start + line.end() > _LONGEST_LIST:
            break
        end = one.end - one.passage.start + line.end()
    text = one.passage.text[one.start - one.passage.start : end]
    return dataclasses.replace(one, end=one.passage.start + end, text=text)


def _repeats(one: Evidence, chosen: Sequence[Evidence]) -> bool:
    return any(one.text.strip() == other.text.strip() for other in chosen)
