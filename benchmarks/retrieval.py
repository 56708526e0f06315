"""How well passages are found: BM25 on words or on Kiwi's morphemes, vectors alone, and both fused, on real texts.

    python benchmarks/retrieval.py [--quick] [--choose] [--data ../shared/evalpack]

Ways to find are measured on the questions of odd-numbered groups; ``--choose`` looks for the weights of the fusion on
the even-numbered ones, so that no weight has seen the questions that it is measured on. Intervals are bootstraps over
groups (questions on the same passage are drawn together).
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from harness import Row, arguments, publish
from retrieval_encoders import DistilledTable, MorphemeSvd
from retrieval_sets import SETS, Set

from axk1.core.errors import SourceError
from axk1.search.encoder import Encoder
from axk1.search.encoders.open import DEFAULT_ENCODER, open_encoder
from axk1.search.index.fusion import Weights, fuse, most_possible
from axk1.search.index.inverted import InvertedIndex, Posting
from axk1.search.index.words import Words
from axk1.search.metrics import bootstrap_interval, ndcg, recall, reciprocal_rank

HERE = Path(__file__).parent
DEPTH = 100
"""Candidates of each ranking."""
METRICS = {"MRR@10": reciprocal_rank, "recall@10": recall, "nDCG@10": ndcg}
HYBRID = "hybrid"
Ranking = Sequence[int]


@dataclass
class Candidates:
    """What both sides say of one question."""

    bm25: dict[int, float]
    cosine: dict[int, float]
    """Of all candidates: also of those that only the words found."""
    nearest: list[int]
    possible: float


class Remembering:
    """An encoder that encodes each text once."""

    def __init__(self, inner: Encoder) -> None:
        self.inner, self.name, self.dimensions = inner, inner.name, inner.dimensions
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str], *, kind: Literal["query", "passage"]) -> np.ndarray:
        fresh = [text for text in dict.fromkeys(texts) if kind + text not in self._known]
        vectors = self.inner.encode(fresh, kind=kind)
        self._known.update(zip((kind + text for text in fresh), vectors, strict=True))
        return np.stack([self._known[kind + text] for text in texts])


def main() -> None:
    """Measures all sets and publishes the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared/evalpack", help="evaluation data")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="as axk1.search.encoders.open_encoder takes it")
    parser.add_argument("--choose", action="store_true", help="weights of the fusion on the other half, and stop")
    options = parser.parse_args()
    encoder, words = Remembering(open_encoder(options.encoder)), Words(options.threads)
    table = None if options.quick or options.choose else DistilledTable(encoder.inner)
    rows, halves, last = [], [], None
    for read in SETS:
        try:
            texts = shortened(read(options.data), 300 if options.quick else None)
        except (OSError, SourceError) as error:
            print(f"left out: {error}")
            continue
        if options.choose:
            halves.append((texts.name, *candidates(half(texts, 0), encoder, words)))
            continue
        ways = rankings(half(texts, 1), encoder, words, table)
        rows += compared(half(texts, 1), ways)
        last = last or texts
    if options.choose:
        choose(halves)
        return
    rows += rates(last.passages[:600], encoder)
    publish("retrieval", rows, ("kiwipiepy", "numpy", "scikit-learn", "tantivy", "tokenizers"))


def shortened(texts: Set, most: int | None) -> Set:
    """The first passages, and the questions that they answer; None keeps all."""
    kept = [i for i, relevant in enumerate(texts.relevant) if most is None or max(relevant) < most]
    questions, relevant = [texts.questions[i] for i in kept], [texts.relevant[i] for i in kept]
    return Set(texts.name, texts.passages[:most], questions, relevant)


def half(texts: Set, which: int) -> Set:
    """The same passages with the questions of every other group."""
    order = {group: number for number, group in enumerate(dict.fromkeys(texts.groups))}
    kept = [i for i, group in enumerate(texts.groups) if order[group] % 2 == which]
    return Set(texts.name, texts.passages, [texts.questions[i] for i in kept], [texts.relevant[i] for i in kept])


def found_by_words(passages: Sequence[Sequence[str]], questions: Sequence[Sequence[str]]) -> list[tuple[dict, float]]:
    """Terms of passages and questions -> for each question its passages with their BM25, and the most possible."""
    with tempfile.TemporaryDirectory() as folder:
        index = InvertedIndex(Path(folder))
        index.change([Posting(number, terms, "", "") for number, terms in enumerate(passages)])
        possible = [most_possible(index.frequencies(terms), len(index)) for terms in questions]
        return [(index.search(terms, DEPTH), most) for terms, most in zip(questions, possible, strict=True)]


def candidates(texts: Set, encoder: Encoder, words: Words) -> tuple[Set, list[Candidates]]:
    """What Kiwi's morphemes and the vectors say of each question."""
    by_words = found_by_words(words.batch(texts.passages), words.batch(texts.questions))
    cosines = encoder.encode(texts.questions, kind="query") @ encoder.encode(texts.passages, kind="passage").T
    made = []
    for (bm25, possible), row in zip(by_words, cosines, strict=True):
        nearest = np.argsort(-row, kind="stable")[:DEPTH].tolist()
        made.append(Candidates(bm25, {key: float(row[key]) for key in {*bm25, *nearest}}, nearest, possible))
    return texts, made


def rankings(texts: Set, encoder: Encoder, words: Words, table: DistilledTable | None) -> dict[str, list[Ranking]]:
    """For each way to find, the ranking of each question."""
    spaces = found_by_words([p.lower().split() for p in texts.passages], [q.lower().split() for q in texts.questions])
    _, made = candidates(texts, encoder, words)
    ways: dict[str, list[Ranking]] = {
        "BM25 on words": [list(bm25) for bm25, _ in spaces],
        "BM25 on Kiwi's morphemes": [list(each.bm25) for each in made],
        f"vectors: {encoder.name.split('@')[0]}": [each.nearest for each in made],
        "reciprocal ranks, 7:3": [reciprocal_ranks(each) for each in made],
        HYBRID: [hybrid(each, Weights()) for each in made],
    }
    if table is not None:
        for own in (table, MorphemeSvd(texts.passages, words)):
            _, others = candidates(texts, own, words)
            ways[own.name] = [each.nearest for each in others]
            ways[f"hybrid with {own.name}"] = [hybrid(each, Weights()) for each in others]
    return ways


def hybrid(each: Candidates, weights: Weights) -> Ranking:
    return [key for key, _ in fuse(each.bm25, each.cosine, possible=each.possible, weights=weights)]


def reciprocal_ranks(each: Candidates, words: float = 0.7, constant: int = 60) -> Ranking:
    """Fusion by ranks alone (Cormack et al. 2009), with the published weights for Korean."""
    scores: dict[int, float] = {}
    for weight, ranking in ((words, each.bm25), (1 - words, each.nearest)):
        for place, key in enumerate(ranking, 1):
            scores[key] = scores.get(key, 0.0) + weight / (constant + place)
    return sorted(scores, key=lambda key: -scores[key])


def compared(texts: Set, ways: Mapping[str, list[Ranking]]) -> list[Row]:
    """The hybrid beside every other way."""
    rows = []
    for metric, measure in METRICS.items():
        values = {way: measured(measure, found, texts) for way, found in ways.items()}
        for way in ways:
            if way == HYBRID:
                continue
            ours, theirs = float(values[HYBRID].mean()), float(values[way].mean())
            low, high = bootstrap_interval((values[HYBRID] - values[way]).tolist(), texts.groups)
            between = [f"{a:.3f} - {b:.3f}" for a, b in (interval(values[w], texts) for w in (HYBRID, way))]
            spread = f"{between[0]} / {between[1]}; difference {low:+.3f} to {high:+.3f}"
            goal = 1.0 if way.startswith(("BM25", "vectors")) else None
            case = f"{texts.name}: {len(texts.questions):,} questions, {len(texts.passages):,} passages"
            rows.append(Row(case, metric, "", ours, theirs, way, ours / theirs if theirs else None, spread, goal))
    return rows


def measured(measure, found: Sequence[Ranking], texts: Set) -> np.ndarray:
    return np.array([measure(ranking, good) for ranking, good in zip(found, texts.relevant, strict=True)])


def interval(values: np.ndarray, texts: Set) -> tuple[float, float]:
    return bootstrap_interval(values.tolist(), texts.groups)


def choose(halves: Sequence[tuple[str, Set, list[Candidates]]]) -> None:
    """Prints for a grid of weights the smallest lead over the better part in MRR@10, over the sets; best last."""
    tried = []
    for weights in (Weights(d, c) for d in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3) for c in (0.0, 0.1, 0.15, 0.2, 0.25, 0.3)):
        leads = {}
        for name, texts, made in halves:
            parts = [[list(each.bm25) for each in made], [each.nearest for each in made]]
            better = max(measured(reciprocal_rank, part, texts).mean() for part in parts)
            ours = measured(reciprocal_rank, [hybrid(each, weights) for each in made], texts).mean()
            leads[name] = ours - better
        tried.append((min(leads.values()), float(np.mean(list(leads.values()))), weights, leads))
    for least, mean, weights, leads in sorted(tried, key=lambda each: each[:2])[-8:]:
        print(f"{weights}: least lead {least:+.4f}, mean {mean:+.4f}; ", {k: f"{v:+.4f}" for k, v in leads.items()})


def rates(passages: Sequence[str], encoder: Encoder) -> list[Row]:
    """Passages that the encoder encodes in a second, on one thread and on two."""
    rows = []
    for threads in (1, 2):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        command = [sys.executable, str(HERE / "retrieval_encoders.py")]
        run = subprocess.run(command, input="\0".join(passages), env=environment, capture_output=True, text=True)
        rate = float(run.stdout.split()[-1])
        length = round(np.mean([len(passage) for passage in passages]))
        case = f"{encoder.name.split('@')[0]}, passages of {length} characters, {threads} threads"
        rows.append(Row(case, "encoding", "passages/s", rate, None, "", None, ""))
    return rows


if __name__ == "__main__":
    main()
