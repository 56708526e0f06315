"""Do citations prove the answers, are questions without an answer refused, and are wrong sentences struck?

    python benchmarks/citations.py --korquad KorQuAD_v1.0_dev.json

Questions with known answers over Korean paragraphs, once as they are, and once without every paragraph of the article
in which the answer stands. Citation recall and precision as ALCE defines them (Gao and others, 2023), with the known
answer's place instead of a model's judgement: a sentence is supported when what it cites holds the answer, a citation
is precise when it holds the answer by itself. The articles with even numbers fitted the weights of
``axk1.search.answers.evidence`` (``--fit`` prints them), the others are measured.
"""

import argparse
import asyncio
import collections
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import harness
import numpy as np
from citations_world import Known, Without, World, edits, read_world

from axk1.search.answers.answerer import Answerer, Options
from axk1.search.answers.checks import ENOUGH_WORDS, Verdict, find_support
from axk1.search.answers.evidence import MEASURES, find_evidence
from axk1.search.answers.question import Question
from axk1.search.answers.words import content_words, sentences
from axk1.search.passage import Hit, Passage
from axk1.search.retriever import Bounds, Retriever

_PEER = "first sentence of the best passage"


class Paragraphs:
    """BM25 on morphemes over whole paragraphs, in memory: the same for both sides."""

    def __init__(self, world: World) -> None:
        self.passages, self._where = [], collections.defaultdict(list)
        lengths = []
        for number, (name, text) in enumerate(world.paragraphs.items()):
            self.passages.append(Passage(name, name, world.titles[name], "", None, 0, len(text), text))
            counts = collections.Counter(word.form for word in content_words(f"{world.titles[name]}\n{text}"))
            lengths.append(counts.total())
            for form, count in counts.items():
                self._where[form].append((number, count))
        mean = sum(lengths) / len(lengths)
        self._norms = [1.2 * (0.25 + 0.75 * length / mean) for length in lengths]

    def search(self, question: str, *, limit: int = 10, bounds: Bounds = Bounds()) -> Sequence[Hit]:
        """As ``Retriever.search``; bounds are not needed here."""
        scores: collections.Counter[int] = collections.Counter()
        for form in {word.form for word in content_words(question)}:
            found = self._where.get(form, [])
            rarity = math.log(1 + (len(self.passages) - len(found) + 0.5) / (len(found) + 0.5))
            for number, count in found:
                scores[number] += rarity * count * 2.2 / (count + self._norms[number])
        return [Hit(self.passages[number], score) for number, score in scores.most_common(limit)]


@dataclass
class Tally:
    """What one side did over many questions."""

    asked: int = 0
    answered: int = 0
    with_answer: int = 0
    statements: list[bool] = field(default_factory=list)
    citations: list[bool] = field(default_factory=list)

    def count(self, known: Known, holding: frozenset[str], said: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Adds an answer: its sentences, each with the documents that it cites; none for a refusal."""
        self.asked += 1
        self.answered += bool(said)
        self.with_answer += any(known.answer in text for text, _ in said)
        for _, cited in said:
            self.statements.append(any(name in holding for name in cited))
            self.citations += [name in holding for name in cited]


def main() -> None:
    """Measures and publishes, or fits."""
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--korquad", type=Path, required=True, help="KorQuAD_v1.0_dev.json, as published")
    parser.add_argument("--questions", type=int, default=1000, help="how many are asked")
    parser.add_argument("--fit", action="store_true", help="fit the weights on the even articles, and print them")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of questions")
    options = parser.parse_args()
    if not options.korquad.is_file():
        print(f"error: {options.korquad} does not exist\nrepair: download KorQuAD 1.0's development set")
        sys.exit(2)
    world = read_world(options.korquad)
    library = Paragraphs(world)
    if options.fit:
        _fit(world, library, _chosen(world, options, half=0))
        return
    questions = _chosen(world, options, half=1)
    rows = asyncio.run(_answers(world, library, questions)) + _strikes(world, library, questions)
    harness.publish("citations", rows, ("axk1", "kiwipiepy"))


def _chosen(world: World, options: argparse.Namespace, *, half: int) -> list[Known]:
    own = [known for known in world.questions if known.article % 2 == half]
    return random.Random(options.seed).sample(own, min(len(own), 100 if options.quick else options.questions))


async def _answers(world: World, library: Retriever, questions: list[Known]) -> list[harness.Row]:
    ours, peer, emptied, peer_emptied = Tally(), Tally(), Tally(), Tally()
    for known in questions:
        holding = world.holding(known)
        for retriever, tally, other in (
            (library, ours, peer),
            (Without(library, holding), emptied, peer_emptied),
        ):
            answer = await Answerer(retriever).answer([{"role": "user", "content": known.question}], Options())
            documents = {source.number: source.passage.document for source in answer.sources}
            said = [(one.text, [documents[number] for number in one.citations]) for one in answer.sentences]
            tally.count(known, holding, said)
            best = [hit.passage for hit in retriever.search(known.question, limit=1)]
            other.count(known, holding, [(_first_sentence(passage), [passage.document]) for passage in best])
    there, gone = f"{len(questions)} questions, answer there", f"{len(questions)} questions, answer removed"
    return [
        _row(there, "citation precision", _share(ours.citations), _share(peer.citations), len(ours.citations)),
        _row(there, "citation recall", _share(ours.statements), _share(peer.statements), len(ours.statements)),
        _row(there, "answered", ours.answered / ours.asked, peer.answered / peer.asked, ours.asked),
        _row(
            there,
            "answer holds what is known",
            ours.with_answer / ours.asked,
            peer.with_answer / peer.asked,
            ours.asked,
        ),
        _row(
            there,
            "of those answered, holds it",
            ours.with_answer / ours.answered,
            peer.with_answer / peer.answered,
            ours.answered,
        ),
        _row(
            gone,
            "refused",
            1 - emptied.answered / emptied.asked,
            1 - peer_emptied.answered / peer_emptied.asked,
            emptied.asked,
        ),
    ]


def _first_sentence(passage: Passage) -> str:
    start, end = sentences(passage.text)[0]
    return passage.text[start:end]


def _strikes(world: World, library: Retriever, questions: list[Known]) -> list[harness.Row]:
    """Sentences of the paragraphs, faithful and wrong, each checked against its paragraph and four others."""
    generator = random.Random(0)
    right: dict[tuple[bool, str], list[tuple[bool, bool]]] = {}
    for known in questions:
        others = [hit.passage for hit in library.search(known.question, limit=5)]
        for edit in edits(world, known, generator):
            verdict = find_support(edit.text, [edit.passage], [one for one in others if one.id != edit.passage.id])
            plain = _enough_words(verdict)
            key = (edit.faithful, edit.kind)
            right.setdefault(key, []).append((verdict.passed == edit.faithful, plain == edit.faithful))
    rows = []
    for (faithful, kind), pairs in sorted(right.items(), key=lambda item: not item[0][0]):
        ours, peer = (_share([pair[side] for pair in pairs]) for side in (0, 1))
        metric = "kept" if faithful else "struck"
        case = f"{'faithful' if faithful else 'wrong'}: {kind}"
        rows.append(_row(case, metric, ours, peer, len(pairs), peer_name=f"{ENOUGH_WORDS:.0%} of the words"))
    return rows


def _enough_words(verdict: Verdict) -> bool:
    return all(check.passed for check in verdict.checks if check.name in ("span", "words"))


def _row(case: str, metric: str, ours: float, peer: float, count: int, *, peer_name: str = _PEER) -> harness.Row:
    ratio = ours / peer if peer else None
    error = 1.96 * math.sqrt(ours * (1 - ours) / max(1, count))
    spread = f"n = {count}, ours within {100 * error:.1f} points (95 %)"
    return harness.Row(case, metric, "%", round(100 * ours, 1), round(100 * peer, 1), peer_name, ratio, spread)


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def _fit(world: World, library: Retriever, questions: list[Known]) -> None:
    """Logistic regression by Newton's method: does a sentence hold the answer, and stand where it should?"""
    rows, labels = [], []
    for known in questions:
        holding = world.holding(known)
        for retriever in (library, Without(library, holding)):
            for one in find_evidence(Question.read(known.question), retriever.search(known.question, limit=10))[:40]:
                rows.append((*one.measures, 1.0))
                labels.append(one.passage.document in holding and known.answer in one.text)
    x, y = np.array(rows), np.array(labels, dtype=float)
    weights, ridge = np.zeros(x.shape[1]), np.diag([1e-2] * len(MEASURES) + [0.0])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) + ridge @ weights
        weights -= np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge, gradient)
    print(f"{len(questions)} questions, {len(rows):,} sentences")
    print("WEIGHTS =", tuple(round(float(weight), 2) for weight in weights[:-1]))
    print("BIAS =", round(float(weights[-1]), 2))


if __name__ == "__main__":
    main()
