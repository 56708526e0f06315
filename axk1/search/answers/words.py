"""Text -> morphemes, content words and sentences, in Korean and English."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from kiwipiepy import Kiwi

_CONTENT_TAGS = frozenset(("NNG", "NNP", "NR", "SN", "SL", "SH", "XR", "VV", "VA"))
"""Sejong tags of words that carry meaning: nouns, numbers, foreign words, roots, verbs, adjectives."""
_EMPTY_WORDS = """
하 되 있 없 이 같 보 주 오 가 나 대하 위하 따르 의하 통하 관하 인하 가지 말 때 것 등 수 중 경우 무엇 누구 언제
어디 어느 어떤 얼마 몇 왜 어떻 어떻게 알 알리 설명
a an the of in on at to for from by with as is are was were be been being am do does did has have had having
will would can could shall should may might must and or but if then than that this these those it its he she
they them his her their there here i you we us our your my me so such not no nor what who whom whose which when
where why how much many s t ll re ve don doesn didn isn aren wasn weren won hasn haven hadn couldn shouldn
wouldn cannot any also into about between through during only tell please
"""
_EMPTY = frozenset(_EMPTY_WORDS.split())
"""Words of every text, and of questions, that tell nothing of what a text is about."""
_ENGLISH_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z0-9\"'(])")
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|No|Art|Sec|Fig|e\.g|i\.e)|\b[A-Z])\.$")
_BROKEN = 30
"""Characters of a line that may have been broken by the width of its page; shorter ones are headings or items."""
_ENDS = re.compile(r"[.!?다음함임됨것요)]\s*$")
"""How the last line of a sentence ends, and a heading seldom does."""
_CLOSED = re.compile(r"[.!?:;。]$|[.!?][\"')\]」』]$")
_OPENS = re.compile(
    r"\s*(?:[-–—•·▶▸※○●□■◇◆*#|<>\[①-⑳㉠-㉻]|[0-9]{1,2}[.)]\s|[0-9]{1,2}-|[가-하][.)]\s|[ⅠⅡⅢⅣⅤⅥ]|[A-Za-z][.)]\s"
    r"|제\s?\d+\s?[조장절관항](?:의\s?\d+)?[\s(]|Q\d*[.)]|A\d*[.)])"
)
"""What begins a line that does not go on with the one before: a bullet, a number, an article."""
_HANGUL, _HANJA = re.compile(r"[가-힣]"), re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_OTHER = re.compile(r"\d+(?:[.,]\d+)*|[^\sA-Za-z\u00c0-\u024f\d]")


@dataclass(frozen=True)
class Word:
    """A morpheme where it stands."""

    form: str
    """Korean: the dictionary's form without endings; English: lower case without the commonest endings."""
    tag: str
    """Its part of speech, in Sejong's tags."""
    start: int
    end: int
    """``text[start:end]`` is how it is written there."""

    @property
    def is_name(self) -> bool:
        """Whether it is the name of somebody or something."""
        return self.tag in ("NNP", "SH")


@functools.cache
def _kiwi() -> Kiwi:
    return Kiwi(num_workers=1)


@functools.lru_cache(maxsize=20_000)
def words(text: str) -> tuple[Word, ...]:
    """All morphemes of a text, in order."""
    latin = [Word(stem(run[0]), "SL", *run.span()) for run in _LATIN.finditer(text)]
    if not _HANGUL.search(text) and not _HANJA.search(text):
        others = [Word(run[0], "SN" if run[0][0].isdigit() else "SW", *run.span()) for run in _OTHER.finditer(text)]
    else:
        within = {place for word in latin for place in range(word.start, word.end)}
        tokens = (token for token in _kiwi().tokenize(text) if token.start not in within)
        others = [
            Word(token.form, token.tag.partition("-")[0], token.start, token.start + token.len)
            for token in tokens
            if not _LATIN.search(token.form)
        ]
    return tuple(sorted(latin + others, key=lambda word: word.start))


@functools.lru_cache(maxsize=20_000)
def content_words(text: str) -> tuple[Word, ...]:
    """The morphemes that carry meaning."""
    return tuple(word for word in words(text) if _has_meaning(word))


def is_within(word: Word, forms: Iterable[str], squeezed: str) -> bool:
    """Whether a word occurs in a text, however that text was cut into morphemes.

    Args:
        word: looked for.
        forms: the text's morphemes; a set.
        squeezed: the text as ``squeeze`` gives it.
    """
    return word.form in forms or (len(word.form) > 1 and word.tag[0] in "NSX" and word.form.lower() in squeezed)


def squeeze(text: str) -> str:
    """The text in lower case without spaces: spacing varies in Korean."""
    return re.sub(r"\s+", "", text).lower()


def stem(word: str) -> str:
    """An English word in lower case, without the commonest endings."""
    word = word.lower()
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and not (ending == "s" and rest.endswith(("s", "u", "i"))):
            return (rest + instead).removesuffix("e") if ending != "ies" else rest + instead
    return word.removesuffix("e") if len(word) > 4 else word


@functools.lru_cache(maxsize=20_000)
def sentences(text: str) -> tuple[tuple[int, int], ...]:
    """Where the sentences of a text begin and end. A line's end ends a sentence, too, unless the line is as long as
    those of a page and the next one goes on with it, as in the text of a PDF."""
    spans = []
    for first, last in _blocks(text):
        block = text[first:last].replace("\n", " ")
        cut = _korean_sentences if _HANGUL.search(block) else _english_sentences
        spans += [(first + start, first + end) for start, end in cut(block)]
    return tuple((start, end) for start, end in spans if text[start:end].strip())


def is_fragment(text: str) -> bool:
    """Whether a text is a heading or an item rather than a sentence: nothing in it is said of anything."""
    if not has_hangul(text):
        return len(text.split()) < 4
    return not any(word.tag in ("EF", "EC") for word in words(text))


def has_hangul(text: str) -> bool:
    """Whether there is a Korean syllable in it."""
    return _HANGUL.search(text) is not None


def _blocks(text: str) -> list[tuple[int, int]]:
    """Lines, those that were broken by a page's width joined."""
    blocks: list[tuple[int, int]] = []
    for line in re.finditer(r"[^\n]+", text):
        before = text[blocks[-1][0] : blocks[-1][1]] if blocks else ""
        tail = before.rpartition("\n")[2].rstrip()
        adjacent = bool(blocks) and blocks[-1][1] + 1 == line.start()
        heading = len(line[0]) < _BROKEN and not _ENDS.search(line[0])
        if adjacent and len(tail) >= _BROKEN and not (_CLOSED.search(tail) or _OPENS.match(line[0]) or heading):
            blocks[-1] = (blocks[-1][0], line.end())
        else:
            blocks.append(line.span())
    return blocks


def _has_meaning(word: Word) -> bool:
    return word.tag in _CONTENT_TAGS and word.form not in _EMPTY


def _korean_sentences(line: str) -> list[tuple[int, int]]:
    return [(sentence.start, sentence.end) for sentence in _kiwi().split_into_sents(line)]


def _english_sentences(line: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for gap in _ENGLISH_SENTENCE.finditer(line):
        if not _ABBREVIATION.search(line[start : gap.start()]):
            spans.append((start, gap.start() + len(gap[0].rstrip()) - len(gap[0].rstrip().lstrip("\"')]"))))
            start = gap.end()
    return [*spans, (start, len(line.rstrip()))]
