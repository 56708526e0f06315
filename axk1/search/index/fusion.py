"""Two rankings -> one: how well a passage's words match, and how near its meaning is.

Ranks alone cannot tell a question whose words are all found from one in another language, where the best of the words'
ranking is noise. Scores can, once they are on one scale. A cosine is on a scale already. A BM25 score becomes one when
divided by the most that any passage could reach with this question (each word rare, present and repeated without end):
the *coverage*, from 0 to 1. The weight of coverage then falls with the best coverage found, so that a question in
another language is left to the vectors. Scores normalised by a bound that the corpus knows: Bruch, Gai, Ingber 2022,
"An Analysis of Fusion Functions for Hybrid Retrieval", arXiv:2210.11934; the falling weight is ours.
``benchmarks/retrieval.py`` chose the numbers on one half of the questions and measured the other half.
"""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Weights:
    """How much each ranking says."""

    dense: float = 0.15
    """Weight of the cosine where words cover the question; coverage has the rest."""
    covered: float = 0.2
    """A best coverage below this takes weight from coverage, in proportion."""


def most_possible(document_frequencies: Iterable[int], passages: int, *, k1: float = 1.2) -> float:
    """The BM25 score that no passage exceeds.

    Args:
        document_frequencies: for each word of the question, repeated as in the question, how many passages have it;
            0 for a word that no passage has: it counts too, since nothing covers it.
        passages: how many there are.
        k1: BM25's; the default is tantivy's.
    """
    return sum((k1 + 1) * math.log1p((passages - df + 0.5) / (df + 0.5)) for df in document_frequencies)


def fuse(
    bm25: Mapping[Key, float], cosine: Mapping[Key, float], *, possible: float, weights: Weights = Weights()
) -> list[tuple[Key, float]]:
    """All candidates, best first, with their scores.

    Args:
        bm25: scores of the passages that the words found.
        cosine: similarities, best of every candidate, also of those that only the words found; one without counts as 0.
        possible: ``most_possible`` of the question.
        weights: how much each says.

    Returns:
        Each candidate once; equal scores keep the order of ``bm25``, then of ``cosine``.
    """
    coverage = {key: score / possible for key, score in bm25.items()} if possible > 0 else {}
    trust = min(1.0, max(coverage.values(), default=0.0) / weights.covered) if weights.covered > 0 else 1.0
    of_words = (1 - weights.dense) * trust if cosine else 1.0
    found = dict.fromkeys([*bm25, *cosine])
    scores = {key: of_words * coverage.get(key, 0.0) + (1 - of_words) * cosine.get(key, 0.0) for key in found}
    return sorted(scores.items(), key=lambda item: -item[1])
