"""Questions with known answers (KorQuAD), paragraphs to find them in, and sentences altered so that they are wrong."""

import functools
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from kiwipiepy import Kiwi

from axk1.search.answers.quantities import Quantity, quantities
from axk1.search.answers.words import sentences, words
from axk1.search.passage import Hit, Passage
from axk1.search.retriever import Bounds, Retriever


@dataclass(frozen=True)
class Known:
    """A question with its answer."""

    question: str
    answer: str
    paragraph: str
    """Name of the paragraph that the answer was taken from."""
    start: int
    """Where the answer begins in it."""
    article: int


@dataclass(frozen=True)
class World:
    """Paragraphs by name (``article/number``), and questions."""

    titles: dict[str, str]
    paragraphs: dict[str, str]
    questions: list[Known]

    def holding(self, known: Known) -> frozenset[str]:
        """The paragraphs of the question's article in which its answer stands."""
        article = f"{known.article}/"
        others = (name for name, text in self.paragraphs.items() if name.startswith(article) and known.answer in text)
        return frozenset((known.paragraph, *others))


def read_world(path: Path) -> World:
    """KorQuAD 1.0's file, as published."""
    titles, paragraphs, questions = {}, {}, []
    for number, article in enumerate(json.loads(path.read_text(encoding="utf-8"))["data"]):
        for place, paragraph in enumerate(article["paragraphs"]):
            name = f"{number}/{place}"
            titles[name], paragraphs[name] = article["title"], paragraph["context"]
            for asked in paragraph["qas"]:
                answer = asked["answers"][0]
                known = Known(asked["question"], answer["text"], name, answer["answer_start"], number)
                questions.append(known)
    return World(titles, paragraphs, questions)


class Without:
    """A retriever that has lost some documents."""

    def __init__(self, retriever: Retriever, lost: frozenset[str]) -> None:
        self.retriever, self.lost = retriever, lost

    def search(self, question: str, *, limit: int = 10, bounds: Bounds = Bounds()) -> Sequence[Hit]:
        """As ``Retriever.search``, as if the documents had never been there."""
        found = self.retriever.search(question, limit=limit + len(self.lost) * 4, bounds=bounds)
        return [hit for hit in found if hit.passage.document not in self.lost][:limit]


@dataclass(frozen=True)
class Edit:
    """A sentence of a paragraph, rewritten."""

    kind: str
    text: str
    faithful: bool
    """Whether it still says the same."""
    passage: Passage


def edits(world: World, known: Known, generator: random.Random) -> Iterator[Edit]:
    """The sentence that holds an answer: as it is, faithfully rewritten, and made wrong in many ways."""
    text = world.paragraphs[known.paragraph]
    passage = Passage(known.paragraph, known.paragraph, world.titles[known.paragraph], "", None, 0, len(text), text)
    spans = [span for span in sentences(text) if span[0] <= known.start < span[1]]
    if not spans:
        return
    said = text[spans[0][0] : spans[0][1]].strip()
    yield Edit("as it stands", said, True, passage)
    for kind, rewritten, faithful in (
        ("numerals in another form", _other_numerals(said), True),
        ("first clause left out", _without_first_clause(said), True),
        ("polite ending", _ended(said, polite=True), True),
        ("number altered", _other_number(said, text, generator), False),
        ("date altered", _other_date(said, text, generator), False),
        ("unit altered", _other_unit(said), False),
        ("denied", _ended(said, polite=False), False),
        ("name from elsewhere", _other_name(said, _elsewhere(world, known, generator), text, generator), False),
        ("name from the paragraph", _other_name(said, text, "", generator), False),
        ("two names exchanged", _exchanged(said, generator), False),
    ):
        if rewritten and rewritten != said:
            yield Edit(kind, rewritten, faithful, passage)


def _other_number(said: str, text: str, generator: random.Random) -> str | None:
    """A number that is no date, with a value that the paragraph does not have."""
    plain = [q for q in quantities(said) if q.unit not in ("year", "month", "day") and re.search(r"\d", q.text)]
    return _changed(said, text, plain, generator)


def _other_date(said: str, text: str, generator: random.Random) -> str | None:
    dated = [q for q in quantities(said) if q.unit in ("year", "month", "day") and re.search(r"\d", q.text)]
    return _changed(said, text, dated, generator)


def _changed(said: str, text: str, found: list[Quantity], generator: random.Random) -> str | None:
    if not found:
        return None
    chosen = generator.choice(found)
    digits = str(chosen.value)
    match = re.search(rf"(?<!\d){re.escape(digits)}(?!\d)", chosen.text) or re.search(r"\d+", chosen.text)
    if not match:
        return None
    known = {q.value for q in quantities(text)}
    for step in generator.sample([1, 2, 3, 5, 7, 10, 11], 7):
        value = Decimal(match[0]) + step
        if value not in known:
            written = chosen.text[: match.start()] + str(value) + chosen.text[match.end() :]
            return said.replace(chosen.text, written, 1)
    return None


def _other_unit(said: str) -> str | None:
    pairs = "명/개 개/명 km/m m/km 원/달러 달러/원 %/명 회/개월 시간/분 년간/개월간 개월/년 kg/g"
    others = dict(pair.split("/") for pair in pairs.split())
    for unit, other in others.items():
        match = re.search(rf"(\d\s?){re.escape(unit)}(?![가-힣a-zA-Z]*[a-zA-Z])", said)
        if match:
            return said[: match.start()] + match[1] + other + said[match.end() :]
    return None


def _other_numerals(said: str) -> str | None:
    """30,000 -> 3만, 2020년 3월 5일 -> 2020-03-05."""
    match = re.search(r"([12]\d{3})년 (\d{1,2})월 (\d{1,2})일", said)
    if match:
        day = f"{match[1]}-{int(match[2]):02}-{int(match[3]):02}"
        return said[: match.start()] + day + said[match.end() :]
    match = re.search(r"(?<![\d,.])([1-9]\d?),?0000?(?![\d,.])", said)
    if match and int(match[0].replace(",", "")) % 10_000 == 0:
        return said[: match.start()] + f"{int(match[0].replace(',', '')) // 10_000}만" + said[match.end() :]
    match = re.search(r"(?<![\d,.])(\d+)만(?![\d\s]*\d|여)", said)
    if match:
        return said[: match.start()] + f"{int(match[1]) * 10_000:,}" + said[match.end() :]
    return None


def _without_first_clause(said: str) -> str | None:
    before, comma, rest = said.partition(", ")
    return rest if comma and len(rest) > 25 and len(before) < len(rest) else None


def _ended(said: str, *, polite: bool) -> str | None:
    """The last predicate in the polite form, or denied: 했다 -> 했습니다, 하지 않았다."""
    kiwi = _kiwi()
    head, space, last = said.rstrip(".").rpartition(" ")
    tokens = [(token.form, str(token.tag)) for token in kiwi.tokenize(said.rstrip(".")) if token.start >= len(head)]
    if not space or len(tokens) < 2 or tokens[-1] not in (("다", "EF"), ("ᆫ다", "EF"), ("는다", "EF")):
        return None
    if polite:
        return f"{head} {kiwi.join([*tokens[:-1], ('습니다', 'EF')])}."
    past = [("었", "EP")] if any(tag == "EP" for _, tag in tokens) else []
    stem = [token for token in tokens[:-1] if token[1] != "EP"]
    if stem[-1][1].startswith(("VV", "XSV", "VX", "VA", "XSA")):
        ending = ("다", "EF") if past or stem[-1][1].startswith(("VA", "XSA")) else ("는다", "EF")
        return f"{head} {kiwi.join([*stem, ('지', 'EC'), ('않', 'VX'), *past, ending])}."
    if stem[-1][1].startswith("VCP") and len(stem) > 1:
        noun = last[: last.rfind(stem[-2][0]) + len(stem[-2][0])]
        return f"{head} {noun}{'이' if (ord(noun[-1]) - 0xAC00) % 28 else '가'} 아니{'었' if past else ''}다."
    return None


def _names(text: str) -> list[str]:
    found = (text[word.start : word.end] for word in words(text) if word.tag == "NNP" and word.end - word.start > 1)
    return list(dict.fromkeys(found))


def _elsewhere(world: World, known: Known, generator: random.Random) -> str:
    others = [name for name in world.paragraphs if not name.startswith(f"{known.article}/")]
    return world.paragraphs[generator.choice(others)]


def _other_name(said: str, source: str, forbidden: str, generator: random.Random) -> str | None:
    own = _names(said)
    others = [name for name in _names(source) if name not in said and name not in forbidden]
    return said.replace(generator.choice(own), generator.choice(others)) if own and others else None


def _exchanged(said: str, generator: random.Random) -> str | None:
    own = [name for name in _names(said) if said.count(name) == 1]
    pairs = [(a, b) for a in own for b in own if a < b and a not in b and b not in a]
    if not pairs:
        return None
    one, other = generator.choice(pairs)
    return said.replace(one, "\0").replace(other, one).replace("\0", other)


@functools.cache
def _kiwi() -> Kiwi:
    return Kiwi(num_workers=1)
