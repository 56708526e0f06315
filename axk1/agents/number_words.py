"""Numbers in what somebody said -> numbers: ``3만 원`` is 30000, ``천오백`` 1500, ``two`` 2, ``1,250.5`` 1250.5."""

import re
from collections.abc import Iterator

KOREAN_HOURS = {
    "열한": 11, "열두": 12, "한": 1, "두": 2, "세": 3, "네": 4, "다섯": 5, "여섯": 6, "일곱": 7, "여덟": 8, "아홉": 9,
    "열": 10,
}  # fmt: skip
"""The hours of the clock as they are counted; the longer words first."""
_COUNTED = {
    "하나": 1, "둘": 2, "셋": 3, "넷": 4, "스물": 20, "스무": 20, "서른": 30, "마흔": 40, "쉰": 50, **KOREAN_HOURS,
}  # fmt: skip
_ENGLISH = {
    "zero": 0, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "hundred": 100, "thousand": 1000,
}  # fmt: skip
_DIGITS = {letter: value for value, letter in enumerate("영일이삼사오육칠팔구")} | {"공": 0}
_SMALL = {"십": 10, "백": 100, "천": 1000}
_LARGE = {"만": 10**4, "억": 10**8, "조": 10**12}
_UNITS = r"명|개|원|건|장|번|권|잔|시간|분|일|주|달|회|부|대|살|인|킬로|달러"
_WRITTEN = re.compile(
    rf"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:\s*[{''.join(_SMALL)}]?[{''.join(_LARGE)}](?:\s*\d[\d,]*\s*[{''.join(_SMALL)}]?)?)*"
    rf"(?:[{''.join(_SMALL)}])?(?![\d])"
)
_SPOKEN = re.compile(rf"[{''.join((*_DIGITS, *_SMALL, *_LARGE))}]+(?=\s*(?:{_UNITS}))")
_COUNTING = re.compile(rf"(?:{'|'.join(sorted(_COUNTED, key=len, reverse=True))})(?=\s*(?:{_UNITS}|사람))")
_ENGLISH_WORD = re.compile(rf"\b(?:{'|'.join(one for one in _ENGLISH if len(one) > 2)})\b", re.I)


def whole(word: str) -> int:
    """The whole number that a word or digits mean. Raises ValueError where it means none."""
    word = word.strip().lower()
    if word.isdecimal():
        return int(word)
    value = _COUNTED.get(word, _ENGLISH.get(word))
    return value if value is not None else int(_korean(word))


def find_numbers(text: str) -> Iterator[tuple[int, int, float]]:
    """The numbers in a text: where each begins, where it ends, its value."""
    taken: set[int] = set()
    for match in _WRITTEN.finditer(text):
        taken.update(range(*match.span()))
        yield match.start(), match.end(), _korean(match[0].replace(",", "").replace(" ", ""))
    for pattern in (_SPOKEN, _COUNTING, _ENGLISH_WORD):
        for match in pattern.finditer(text):
            if not taken.isdisjoint(range(*match.span())):
                continue
            try:
                yield match.start(), match.end(), float(whole(match[0]))
            except ValueError:
                continue


def _korean(text: str) -> float:
    """``3만5천``, ``천오백``, ``2.5억``: sections of up to four places, each times its large unit."""
    total, section, digits = 0.0, 0.0, ""
    for letter in text:
        if letter in _SMALL:
            section, digits = section + (float(digits) if digits else 1.0) * _SMALL[letter], ""
        elif letter in _LARGE:
            section += float(digits) if digits else 0.0
            total, section, digits = total + (section or 1.0) * _LARGE[letter], 0.0, ""
        else:
            digits += str(_DIGITS.get(letter, letter))
    return total + section + (float(digits) if digits else 0.0)
