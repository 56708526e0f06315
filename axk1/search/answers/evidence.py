"""A question and what was found -> the sentences that may answer it, each with the probability that it does.

The probability is a logistic regression over a dozen measures of how much of the question a sentence and its passage
hold. Its weights were fitted on questions with known answers, half of them with the answer's paragraph taken away
(``python benchmarks/citations.py --fit``), so that a question nobody's text answers gets a low one.
"""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from axk1.guard import hidden_instructions
from axk1.search.answers.quantities import missing
from axk1.search.answers.question import Question
from axk1.search.answers.words import Word, content_words, is_fragment, is_within, sentences, squeeze
from axk1.search.passage import Hit, Passage

_TAG_WEIGHTS = {"NNP": 1.5, "SL": 1.3, "SN": 1.3, "SH": 1.5, "VV": 0.6, "VA": 0.6}
_SURE = 0.7
"""Confidence from which a hidden instruction is left out: regulations tell people what to do, too."""
_LONGEST = 600
"""Characters of a sentence that an answer may quote; longer ones are tables or lists."""


@dataclass(frozen=True)
class Evidence:
    """A sentence of a passage."""

    passage: Passage
    start: int
    end: int
    """Its place in the document's text, as the passage's own."""
    text: str
    measures: tuple[float, ...]
    """What the probability is made of, in the order of ``MEASURES``."""
    probability: float
    """That it answers the question."""


MEASURES = ("sentence", "context", "passage", "kind", "pairs", "worst", "names", "numbers", "rank", "length", "leader")
"""Shares of the question's weighted words in the sentence, with the sentence before it and the title, in the whole
passage; whether there is something of the kind asked for; share of neighbouring words that are neighbours here; the
heaviest word that the passage lacks; shares of names and numbers that the passage lacks; 1 / rank; log of the length;
how much more of the question the sentence holds than the best of all other passages."""
WEIGHTS: tuple[float, ...] = (2.63, 1.16, 1.97, 2.52, 1.85, 0.87, -1.32, -0.87, 1.43, 0.33, 0.22)
BIAS = -9.58
ENOUGH = 0.3
"""Below this probability nothing is answered: 91 % of the questions that nobody's text answers are refused so."""


def find_evidence(question: Question, hits: Sequence[Hit]) -> list[Evidence]:
    """The sentences of some passages, most probable answer first.

    Args:
        question: what is asked.
        hits: passages, best first.
    """
    asked = _distinct(content_words(question.text))
    cut = [(rank, hit.passage, sentences(hit.passage.text)) for rank, hit in enumerate(hits, 1)]
    texts = [passage.text[start:end] for _, passage, spans in cut for start, end in spans]
    weights = _weights(asked, texts)
    found, seen = [], set()
    for rank, passage, spans in cut:
        if not asked:
            break
        commands = _commands(passage.text)
        shared = _shared_measures(question, asked, weights, passage)
        for place, (start, end) in enumerate(spans):
            end = min((first for first, last in commands if first < end and start < last), default=end)
            key = (passage.document, passage.start + start)
            if key in seen or not 0 < end - start <= _LONGEST or _says_nothing(question, passage.text[start:end]):
                continue
            seen.add(key)
            before = passage.text[spans[place - 1][0] : spans[place - 1][1]] if place else ""
            measures = _measures(question, asked, weights, passage, passage.text[start:end], before, shared, rank)
            found.append((passage, start, end, measures))
    return _ranked(found)


@functools.lru_cache(maxsize=2_000)
def _commands(text: str) -> list[tuple[int, int]]:
    """Where a text speaks to an assistant instead of its reader: never evidence of anything."""
    return [(one.start, one.end) for one in hidden_instructions(text, "passage", least=_SURE)]


def _says_nothing(question: Question, text: str) -> bool:
    """Whether a text is a heading, where something else is wanted than the name or number that a heading may hold."""
    return is_fragment(text) and (question.kind in ("other", "meaning") or not question.has_candidate(text))


def probability(measures: Sequence[float]) -> float:
    """That a sentence with these measures answers the question."""
    return 1 / (1 + math.exp(-BIAS - math.fsum(w * m for w, m in zip(WEIGHTS, measures, strict=True))))


def _ranked(found: list[tuple[Passage, int, int, list[float]]]) -> list[Evidence]:
    best = Counter[str]()
    for passage, _, _, measures in found:
        best[passage.id] = max(best[passage.id], measures[1])
    evidence = []
    for passage, start, end, measures in found:
        others = max((share for other, share in best.items() if other != passage.id), default=0.0)
        whole = (*measures, measures[1] - others)
        place = (passage.start + start, passage.start + end)
        evidence.append(Evidence(passage, *place, passage.text[start:end], whole, probability(whole)))
    return sorted(evidence, key=lambda one: -one.probability)


def _distinct(asked: Sequence[Word]) -> list[Word]:
    return list({word.form: word for word in asked}.values())


def _weights(asked: Sequence[Word], texts: Sequence[str]) -> list[float]:
    """How much each word of the question tells: by its kind, and by how rare it is in what was found."""
    counts = Counter(form for text in texts for form in {word.form for word in content_words(text)})
    rarity = [math.log(1 + (len(texts) + 1) / (counts[word.form] + 0.5)) for word in asked]
    return [_TAG_WEIGHTS.get(word.tag, 1.0) * rare for word, rare in zip(asked, rarity, strict=True)]


def _share(asked: Sequence[Word], weights: Sequence[float], text: str) -> tuple[float, list[bool]]:
    forms, squeezed = {word.form for word in content_words(text)}, squeeze(text)
    there = [is_within(word, forms, squeezed) for word in asked]
    total = math.fsum(weights) or 1.0
    return math.fsum(w for w, here in zip(weights, there, strict=True) if here) / total, there


def _shared_measures(
    question: Question, asked: Sequence[Word], weights: Sequence[float], passage: Passage
) -> tuple[float, float, float, float]:
    """Of the whole passage: share, heaviest missing word, missing names, missing numbers."""
    text = f"{passage.title}\n{passage.section}\n{passage.text}"
    share, there = _share(asked, weights, text)
    lacking = [(w, word) for w, word, here in zip(weights, asked, there, strict=True) if not here]
    worst = max((w for w, _ in lacking), default=0.0) / (max(weights, default=0.0) or 1.0)
    names = sum(word.is_name for word in asked)
    absent = sum(word.is_name for _, word in lacking)
    return share, worst, absent / names if names else 0.0, float(bool(missing(question.text, text)))


def _measures(
    question: Question,
    asked: Sequence[Word],
    weights: Sequence[float],
    passage: Passage,
    text: str,
    before: str,
    shared: tuple[float, float, float, float],
    rank: int,
) -> list[float]:
    share, _ = _share(asked, weights, text)
    context, _ = _share(asked, weights, f"{passage.title}\n{passage.section}\n{before}\n{text}")
    whole, worst, names, numbers = shared
    pairs, kind = _pairs(question.text, text), float(question.has_candidate(text))
    return [share, context, whole, kind, pairs, worst, names, numbers, 1 / rank, math.log(len(text) + 1) / 6]


def _pairs(asked: str, text: str) -> float:
    """Share of the question's neighbouring words that are at most two words apart in the text."""
    wanted = [word.form for word in content_words(asked)]
    here = [word.form for word in content_words(text)]
    near = {(a, b) for place, a in enumerate(here) for b in here[place + 1 : place + 3]}
    pairs = list(itertools.pairwise(wanted))
    return sum(pair in near for pair in pairs) / len(pairs) if pairs else 0.0
