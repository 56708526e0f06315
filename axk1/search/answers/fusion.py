"""Several rankings of passages -> one, by reciprocal rank (Cormack and others, SIGIR 2009)."""

from collections.abc import Sequence

from axk1.search.passage import Hit

_K = 60


def fused(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """One order of the hits of several queries; the first query, the person's own words, counts twice.

    Returns: hits, best first, each passage once, with the fused score and the ranks of where it stood first.
    """
    scores: dict[str, float] = {}
    best: dict[str, tuple[int, Hit]] = {}
    for number, ranking in enumerate(rankings):
        for rank, hit in enumerate(ranking, 1):
            name = hit.passage.id
            scores[name] = scores.get(name, 0.0) + (2 if number == 0 else 1) / (_K + rank)
            if name not in best or rank < best[name][0]:
                best[name] = (rank, hit)
    order = sorted(scores, key=lambda name: -scores[name])
    return [Hit(best[name][1].passage, scores[name], best[name][1].ranks) for name in order]
