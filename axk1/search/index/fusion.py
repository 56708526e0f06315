"""Rankings -> one ranking, by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009)."""

import dataclasses
from collections.abc import Mapping, Sequence

from axk1.core.config import require


@dataclasses.dataclass(frozen=True)
class Fusion:
    """How much each ranking counts."""

    bm25: float = 0.7
    """Weight of the ranking by words; 0 leaves it out."""
    dense: float = 0.3
    """Weight of the ranking by vectors; 0 leaves it out."""
    constant: float = 60.0
    """Added to each rank: the greater, the less the first ranks stand out."""
    depth: int = 100
    """How many passages each ranking gives at least."""

    def __post_init__(self) -> None:
        require(self.bm25 >= 0 and self.dense >= 0, "fusion", (self.bm25, self.dense), "weights of 0 or more")
        require(self.bm25 + self.dense > 0, "fusion", (self.bm25, self.dense), "a weight above 0")
        require(self.constant > 0, "fusion.constant", self.constant, "more than 0")
        require(self.depth > 0, "fusion.depth", self.depth, "1 or more")

    def fuse(self, rankings: Mapping[str, Sequence[int]]) -> list[tuple[int, float, tuple[tuple[str, int], ...]]]:
        """Numbers with their scores and their ranks (from 1), the highest score first.

        Args:
            rankings: numbers, best first, under ``bm25`` and ``dense``; either may be missing.
        """
        ranks: dict[int, list[tuple[str, int]]] = {}
        for name, numbers in rankings.items():
            for rank, number in enumerate(numbers, 1):
                ranks.setdefault(number, []).append((name, rank))
        weights = {"bm25": self.bm25, "dense": self.dense}
        scored = [
            (number, sum(weights[name] / (self.constant + rank) for name, rank in held), tuple(held))
            for number, held in ranks.items()
        ]
        return sorted(scored, key=lambda each: (-each[1], each[0]))
