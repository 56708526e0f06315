"""Text -> its numbers, dates and units in one form: 3만 = 30,000 = thirty thousand; 2020-03-05 = March 5, 2020."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from axk1.search.answers.numerals import (
    CURRENCY_SIGNS,
    ENGLISH_ONES,
    ENGLISH_SCALES,
    ENGLISH_TENS,
    MONTHS,
    MYRIADS,
    NATIVE_ONES,
    NATIVE_TENS,
    SINO,
    SMALL,
    UNIT_OF,
)

_UNIT = "|".join(re.escape(form) for form in sorted(UNIT_OF, key=len, reverse=True))
_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_MONTH = "|".join(MONTHS)
_LONG_MONTH = "|".join(month for month in MONTHS if len(month) > 3)
_DAY = r"(?:3[01]|[12]\d|0?[1-9])"
_DATE = re.compile(
    rf"(?<!\d)(?P<y>[12]\d{{3}})\s*(?:년|[-./])\s*(?P<m>1[0-2]|0?[1-9])\s*(?:월|[-./])(?:\s*(?P<d>{_DAY})(?!\d)\s*(?:일|\.)?)?"
    rf"|(?<!\d)(?P<m2>1[0-2]|0?[1-9])\s*월\s*(?P<d2>{_DAY})\s*일"
    rf"|\b(?P<m3>(?i:{_MONTH}))\.?\s+(?P<d3>{_DAY})(?:st|nd|rd|th)?(?:,?\s+(?P<y3>[12]\d{{3}}))?\b"
    rf"|\b(?P<d4>{_DAY})(?:st|nd|rd|th)?\s+(?P<m4>(?i:{_MONTH}))\.?(?:,?\s+(?P<y4>[12]\d{{3}}))?\b"
    rf"|\b(?P<m5>(?i:{_LONG_MONTH}))\s+(?P<y5>[12]\d{{3}})\b"
)
_KOREAN_NUMBER = re.compile(
    rf"(?P<sign>[$₩￦€¥])?(?P<number>(?:{_DIGITS})(?:[만억조경천백십]+(?:\s?(?:{_DIGITS})[천백십]*(?=[만억\s가-힣]|$))?)*)"
    rf"\s?(?P<scale>(?i:hundred|thousand|million|billion|trillion)\b)?\s?(?P<unit>(?i:{_UNIT})(?![a-zA-Z]))?"
)
_SPELLED_UNIT = r"\s?(?P<unit>명|사람|번|차례|시간|시|살|개월|달|개|가지|곳|권|건|대|세기)"
_ONES, _TENS = ("|".join(sorted(table, key=len, reverse=True)) for table in (NATIVE_ONES, NATIVE_TENS))
_NATIVE = re.compile(rf"(?<![가-힣])(?P<tens>{_TENS})?(?P<ones>{_ONES})?{_SPELLED_UNIT}")
_SINO_NUMBER = re.compile(
    r"(?<![가-힣])(?P<number>[영공일이삼사오육칠팔구십백천만억조]{2,}|[십백천만억])\s?"
    r"(?P<unit>원|년|명|퍼센트|월|개월|일|회|조|항|세기|킬로미터|미터)"
)
_WORD = "|".join([*ENGLISH_ONES, *ENGLISH_TENS, *ENGLISH_SCALES])
_ENGLISH_NUMBER = re.compile(rf"\b(?:(?:{_WORD})(?:[\s-]+(?:and\s+)?|\b))+", re.IGNORECASE)
_AFTER_ARTICLE = re.compile(r"\s*(?:원|달러|유로|엔|억|만|\d)")


@dataclass(frozen=True)
class Quantity:
    """A number of a text."""

    value: Decimal
    unit: str
    """Its unit in one form; empty where there is none that is known."""
    text: str
    """How it is written."""

    def agrees(self, other: "Quantity") -> bool:
        """Whether the other says the same: equal values, and units that do not contradict each other."""
        return self.value == other.value and (self.unit == other.unit or not self.unit or not other.unit)


@functools.lru_cache(maxsize=20_000)
def quantities(text: str) -> tuple[Quantity, ...]:
    """All numbers of a text; a date gives its year, month and day."""
    taken = [False] * len(text)
    found = []
    for read in (_dates, _fractions, _numerals, _native, _sino, _english):
        for start, end, parts in read(text):
            if parts and not any(taken[start:end]):
                taken[start:end] = [True] * (end - start)
                found += [(start, part) for part in parts]
    return tuple(part for _, part in sorted(found, key=lambda pair: pair[0]))


def missing(text: str, evidence: str) -> list[Quantity]:
    """The quantities of a text with which none of the evidence agrees."""
    known = quantities(evidence)
    return [asked for asked in quantities(text) if not any(asked.agrees(other) for other in known)]


_Found = Iterator[tuple[int, int, list[Quantity]]]


def _dates(text: str) -> _Found:
    for match in _DATE.finditer(text):
        parts = {name[0]: value for name, value in match.groupdict().items() if value}
        if "." in match[0] and "년" not in match[0] and "d" not in parts and not parts["m"].isalpha():
            continue  # 2020.3 may be a number
        month = parts.get("m", "")
        values = {"year": parts.get("y"), "month": MONTHS.get(month.lower().rstrip("."), month), "day": parts.get("d")}
        yield *match.span(), [Quantity(Decimal(value), unit, match[0]) for unit, value in values.items() if value]


def _fractions(text: str) -> _Found:
    for match in re.finditer(r"(\d+)분의\s?(\d+)", text):
        if int(match[1]):
            yield *match.span(), [Quantity(Decimal(match[2]) / Decimal(match[1]), "", match[0])]


def _numerals(text: str) -> _Found:
    for match in _KOREAN_NUMBER.finditer(text):
        value, unit = match["number"], match["unit"] or ""
        if unit in ("항", "호") and "조" in value:  # 12조 3항: two places of a law, no sum
            article, _, value = value.partition("조")
            place = _korean_value(article)
            yield (
                match.start(),
                match.start(),
                [Quantity(place, "article", f"{article}조")] if place is not None else [],
            )
        if value.endswith("조") and not _AFTER_ARTICLE.match(text, match.end("number")) and not unit:
            value, unit = value[:-1].rstrip(), "조"  # 제12조 is an article, 12조 원 a sum
        if unit == "조" and _AFTER_ARTICLE.match(text, match.end()):
            continue
        number = _korean_value(value)
        if number is None:
            continue
        number *= ENGLISH_SCALES.get((match["scale"] or "").lower(), 1)
        named = CURRENCY_SIGNS.get(match["sign"] or "") or UNIT_OF.get(unit.lower(), "")
        yield *match.span(), [Quantity(number, named or _unit_before(text, match.start()), match[0].strip())]


def _unit_before(text: str, start: int) -> str:
    before = re.search(r"(?i)\b(article|paragraph|chapter|section|item|usd|krw)\s+$", text[:start])
    return UNIT_OF[before[1].lower()] if before else ""


def _korean_value(text: str) -> Decimal | None:
    """Digits with 천, 만, 억 between them -> the number; None where it is none."""
    total = section = Decimal(0)
    pending: Decimal | None = None
    for part in re.findall(rf"{_DIGITS}|[가-힣]", text):
        if part[0].isdigit():
            if pending is not None:
                return None
            pending = Decimal(part.replace(",", ""))
        elif part in SMALL:
            section, pending = section + (1 if pending is None else pending) * SMALL[part], None
        elif part in SINO:
            pending = Decimal(SINO[part]) if pending is None else pending * 10 + SINO[part]
        elif part in MYRIADS:
            section += pending or 0
            total, section, pending = total + (section or 1) * MYRIADS[part], Decimal(0), None
    return total + section + (pending or 0)


def _native(text: str) -> _Found:
    for match in _NATIVE.finditer(text):
        if match["tens"] or match["ones"]:
            value = NATIVE_TENS.get(match["tens"] or "", 0) + NATIVE_ONES.get(match["ones"] or "", 0)
            yield *match.span(), [Quantity(Decimal(value), UNIT_OF.get(match["unit"], ""), match[0])]


def _sino(text: str) -> _Found:
    for match in _SINO_NUMBER.finditer(text):
        value = _korean_value(match["number"])
        if value:
            yield *match.span(), [Quantity(value, UNIT_OF.get(match["unit"], ""), match[0])]


def _english(text: str) -> _Found:
    for match in _ENGLISH_NUMBER.finditer(text):
        parts = re.findall(r"[a-z]+", match[0].lower())
        if parts == ["one"] or parts[0] in ENGLISH_SCALES:
            continue  # a pronoun more often than a number
        total, section = 0, 0
        for part in parts:
            if part in ("hundred",):
                section *= 100
            elif part in ENGLISH_SCALES:
                total, section = total + section * ENGLISH_SCALES[part], 0
            else:
                section += ENGLISH_ONES.get(part, 0) + ENGLISH_TENS.get(part, 0)
        after = re.match(rf"(?i)\s?({_UNIT})(?![a-zA-Z])", text[match.end() :])
        unit = UNIT_OF.get(after[1].lower(), "") if after else ""
        yield *match.span(), [Quantity(Decimal(total + section), unit, match[0].strip())]
