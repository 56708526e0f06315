"""Text -> its numbers, dates and units in one form: 3만 = 30,000 = thirty thousand; 2020-03-05 = March 5, 2020."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

_MYRIADS = {"만": 10**4, "억": 10**8, "조": 10**12, "경": 10**16}
_SMALL = {"십": 10, "백": 100, "천": 1000}
_SINO = {"영": 0, "공": 0, **{form: value for value, form in enumerate("일이삼사오육칠팔구", 1)}}
_NATIVE_ONES = {"한": 1, "하나": 1, "두": 2, "둘": 2, "세": 3, "셋": 3, "네": 4, "넷": 4, "다섯": 5, "여섯": 6,
                "일곱": 7, "여덟": 8, "아홉": 9}  # fmt: skip
_NATIVE_TENS = {"열": 10, "스물": 20, "스무": 20, "서른": 30, "마흔": 40, "쉰": 50, "예순": 60, "일흔": 70, "여든": 80,
                "아흔": 90}  # fmt: skip
_ENGLISH_ONES = {word: value for value, word in enumerate(
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"], 1)}  # fmt: skip
_ENGLISH_TENS = {word: value * 10 for value, word in enumerate(
    ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)}  # fmt: skip
_ENGLISH_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MONTHS = {month: number for number, names in enumerate(
    ["january|jan", "february|feb", "march|mar", "april|apr", "may", "june|jun", "july|jul", "august|aug", "september|sep|sept", "october|oct", "november|nov", "december|dec"], 1) for month in names.split("|")}  # fmt: skip
_UNITS = {
    "%": "% ％ 퍼센트 프로 percent per\u00a0cent",
    "%p": "%p %포인트 퍼센트포인트",
    "won": "원 won krw ₩", "dollar": "달러 dollar dollars usd $", "euro": "유로 euro euros eur €",
    "yen": "엔 yen jpy ¥", "year": "년 연도 년도 year years", "years": "년간 개년", "month": "월 month", "day": "일 day days 일간",
    "months": "개월 달 months 개월간", "week": "주 주간 주일 week weeks", "hour": "시간 hour hours", "oclock": "시",
    "minute": "분 minute minutes min", "second": "초 second seconds", "person": "명 인 사람 people persons person",
    "article": "조 article articles", "paragraph": "항 paragraph", "item": "호 item", "chapter": "장 chapter",
    "section": "절 section", "km": "km 킬로미터 ㎞ kilometers kilometres", "m": "m 미터 meters metres",
    "cm": "cm 센티미터 ㎝", "mm": "mm 밀리미터 ㎜", "kg": "kg 킬로그램 ㎏ kilograms", "g": "g 그램", "ton": "t 톤 tons tonnes",
    "time": "회 번 차례 times 차", "century": "세기 century", "age": "세 살", "degree": "도 degrees ℃ °c", "piece": "개 건 점 대 권 곳 개소 종 가지",
    "rank": "위 등", "square": "㎡ 제곱미터", "pyeong": "평",
}  # fmt: skip
_UNIT_OF = {form: unit for unit, forms in _UNITS.items() for form in forms.split(" ")} | {"per cent": "%"}
_CURRENCY_SIGNS = {"$": "dollar", "₩": "won", "€": "euro", "¥": "yen", "￦": "won"}
_UNIT = "|".join(re.escape(form) for form in sorted(_UNIT_OF, key=len, reverse=True))
_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_DATE = re.compile(
    r"(?<!\d)(?P<y>[12]\d{3})\s*(?:년|[-./])\s*(?P<m>1[0-2]|0?[1-9])\s*(?:월|[-./])"
    r"(?:\s*(?P<d>3[01]|[12]\d|0?[1-9])(?!\d)\s*(?:일|\.)?)?"
    r"|(?<!\d)(?P<m2>1[0-2]|0?[1-9])\s*월\s*(?P<d2>3[01]|[12]\d|0?[1-9])\s*일"
    r"|(?P<m3>(?i:" + "|".join(_MONTHS) + r"))\.?\s+(?P<d3>3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?(?:,?\s+(?P<y3>[12]\d{3}))?\b"
    r"|\b(?P<d4>3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?\s+(?P<m4>(?i:" + "|".join(_MONTHS) + r"))\.?(?:,?\s+(?P<y4>[12]\d{3}))?\b"
    r"|(?P<m5>(?i:" + "|".join(m for m in _MONTHS if len(m) > 3) + r"))\s+(?P<y5>[12]\d{3})\b"
)  # fmt: skip
_KOREAN_NUMBER = re.compile(
    rf"(?P<sign>[$₩￦€¥])?(?P<number>(?:{_DIGITS})(?:[만억조경천백십]+(?:\s?(?:{_DIGITS})[천백십]*(?=[만억\s가-힣]|$))?)*)"
    rf"\s?(?P<scale>(?i:hundred|thousand|million|billion|trillion)\b)?\s?(?P<unit>(?i:{_UNIT})(?![a-zA-Z]))?"
)
_SPELLED_UNIT = r"\s?(?P<unit>명|사람|번|차례|시간|시|살|개월|달|개|가지|곳|권|건|대|세기)"
_NATIVE = re.compile(
    rf"(?<![가-힣])(?P<tens>{'|'.join(_NATIVE_TENS)})?(?P<ones>{'|'.join(sorted(_NATIVE_ONES, key=len, reverse=True))})?" + _SPELLED_UNIT
)  # fmt: skip
_SINO_NUMBER = re.compile(
    r"(?<![가-힣])(?P<number>[영공일이삼사오육칠팔구십백천만억조]{2,}|[십백천만억])\s?(?P<unit>원|년|명|퍼센트|월|개월|일|회|조|항|세기|킬로미터|미터)"
)
_ENGLISH_NUMBER = re.compile(
    r"\b(?:(?:" + "|".join([*_ENGLISH_ONES, *_ENGLISH_TENS, *_ENGLISH_SCALES]) + r")(?:[\s-]+(?:and\s+)?|\b))+", re.IGNORECASE
)  # fmt: skip
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
        values = {"year": parts.get("y"), "month": _MONTHS.get(month.lower().rstrip("."), month), "day": parts.get("d")}
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
        number *= _ENGLISH_SCALES.get((match["scale"] or "").lower(), 1)
        named = _CURRENCY_SIGNS.get(match["sign"] or "") or _UNIT_OF.get(unit.lower(), "")
        yield *match.span(), [Quantity(number, named or _unit_before(text, match.start()), match[0].strip())]


def _unit_before(text: str, start: int) -> str:
    before = re.search(r"(?i)\b(article|paragraph|chapter|section|item|usd|krw)\s+$", text[:start])
    return _UNIT_OF[before[1].lower()] if before else ""


def _korean_value(text: str) -> Decimal | None:
    """Digits with 천, 만, 억 between them -> the number; None where it is none."""
    total = section = Decimal(0)
    pending: Decimal | None = None
    for part in re.findall(rf"{_DIGITS}|[가-힣]", text):
        if part[0].isdigit():
            if pending is not None:
                return None
            pending = Decimal(part.replace(",", ""))
        elif part in _SMALL:
            section, pending = section + (1 if pending is None else pending) * _SMALL[part], None
        elif part in _SINO:
            pending = Decimal(_SINO[part]) if pending is None else pending * 10 + _SINO[part]
        elif part in _MYRIADS:
            section += pending or 0
            total, section, pending = total + (section or 1) * _MYRIADS[part], Decimal(0), None
    return total + section + (pending or 0)


def _native(text: str) -> _Found:
    for match in _NATIVE.finditer(text):
        if match["tens"] or match["ones"]:
            value = _NATIVE_TENS.get(match["tens"] or "", 0) + _NATIVE_ONES.get(match["ones"] or "", 0)
            yield *match.span(), [Quantity(Decimal(value), _UNIT_OF.get(match["unit"], ""), match[0])]


def _sino(text: str) -> _Found:
    for match in _SINO_NUMBER.finditer(text):
        value = _korean_value(match["number"])
        if value:
            yield *match.span(), [Quantity(value, _UNIT_OF.get(match["unit"], ""), match[0])]


def _english(text: str) -> _Found:
    for match in _ENGLISH_NUMBER.finditer(text):
        parts = re.findall(r"[a-z]+", match[0].lower())
        if parts == ["one"] or parts[0] in _ENGLISH_SCALES:
            continue  # a pronoun more often than a number
        total, section = 0, 0
        for part in parts:
            if part in ("hundred",):
                section *= 100
            elif part in _ENGLISH_SCALES:
                total, section = total + section * _ENGLISH_SCALES[part], 0
            else:
                section += _ENGLISH_ONES.get(part, 0) + _ENGLISH_TENS.get(part, 0)
        after = re.match(rf"(?i)\s?({_UNIT})(?![a-zA-Z])", text[match.end() :])
        unit = _UNIT_OF.get(after[1].lower(), "") if after else ""
        yield *match.span(), [Quantity(Decimal(total + section), unit, match[0].strip())]
