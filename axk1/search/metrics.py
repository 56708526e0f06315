"""How good a ranking is: reciprocal rank, recall and nDCG of its first places, and intervals by the bootstrap.

Every measure is of one question: ``ranking`` are the keys that a search found, best first, each once; ``relevant`` are
those that it should have found, at least one. Sources: Voorhees 1999 (reciprocal rank); Järvelin & Kekäläinen 2002
(nDCG, here with gains 0 and 1 and the discount 1 / log2(place + 1)); Efron 1979 (bootstrap).
"""

import math
from collections.abc import Collection, Hashable, Sequence

import numpy as np


def reciprocal_rank(ranking: Sequence[Hashable], relevant: Collection[Hashable], *, depth: int = 10) -> float:
    """1 over the place of the first relevant key; 0 where the first ``depth`` have none."""
    return next((1 / place for place, key in enumerate(ranking[:depth], 1) if key in relevant), 0.0)


def recall(ranking: Sequence[Hashable], relevant: Collection[Hashable], *, depth: int = 10) -> float:
    """Which share of the relevant keys is among the first ``depth``."""
    return sum(key in relevant for key in ranking[:depth]) / len(relevant)


def ndcg(ranking: Sequence[Hashable], relevant: Collection[Hashable], *, depth: int = 10) -> float:
    """Discounted gain of the first ``depth``, over that of a ranking with all relevant keys in front."""
    gain = sum(1 / math.log2(place + 1) for place, key in enumerate(ranking[:depth], 1) if key in relevant)
    return gain / sum(1 / math.log2(place + 1) for place in range(1, min(depth, len(relevant)) + 1))


def bootstrap_interval(
    values: Sequence[float], groups: Sequence[Hashable] | None = None, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the mean, from draws with replacement.

    Args:
        values: one for each question, or differences between two searches on the same questions.
        groups: what each question belongs to (its passage, its document); groups are drawn whole, because questions on
            the same text are alike. None means that each stands for itself.
        draws: how many means are drawn.
        seed: of the draws.
    """
    names = {group: number for number, group in enumerate(dict.fromkeys(groups or range(len(values))))}
    member = [names[group] for group in (groups or range(len(values)))]
    sums, counts = np.bincount(member, weights=values), np.bincount(member)
    drawn = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
