"""Is a document fit to learn from? Each rule gives a reason in words, which is kept with what it removes."""

import dataclasses
import functools
import re
from collections import Counter

import numpy

from axk1.core.config import require
from axk1.data.document import Document

_FENCED = re.compile(r"^([ \t]*)(`{3,}|~{3,}).*?^\1\2[ \t]*$", re.S | re.M)
_CODE_SPAN = re.compile(r"`[^`\n]+`")
_PUNCTUATION = frozenset(".,;:!?'\"()-_‘’“”「」『』·ㆍ…")
_LATIN = ((0x41, 0x24F),)
_SCRIPTS = {
    "ko": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3)),
    "ja": ((0x3040, 0x30FF), (0x4E00, 0x9FFF)),
    "zh": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
    "en": _LATIN,
    "es": _LATIN,
}
_TABLE = 1 << 16  # characters beyond the Basic Multilingual Plane count as its last code, which is no character


@dataclasses.dataclass(frozen=True)
class FilterConfig:
    """When a document is removed. Shares are taken of the prose, code blocks left out, unless the language is code."""

    min_characters: int = 100
    """Remove shorter documents."""
    max_symbol_share: float = 0.25
    """Remove prose where more than this share of the characters is neither letter nor digit nor punctuation."""
    max_repeated_share: float = 0.3
    """Remove prose where more than this share of the text is lines that stood before."""
    min_script_share: float = 0.5
    """Remove prose where less than this share of the letters is of the language's script (Hangul for Korean)."""
    max_broken_share: float = 0.001
    """Remove documents where more than this share of the characters could not be decoded."""

    def __post_init__(self) -> None:
        require(self.min_characters >= 0, "min_characters", self.min_characters, "0 or more")
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            require(0 <= value <= 1, field.name, value, "a share from 0 to 1")


def reason_to_remove(document: Document, config: FilterConfig) -> str | None:
    """Why this document is not fit, in a few words; None when it is."""
    text = document.text
    if len(text) < config.min_characters:
        return "too short"
    if text.count("\ufffd") > config.max_broken_share * len(text):
        return "broken characters"
    prose = text if document.language == "code" else _FENCED.sub("\n", text)
    if repeated_share(prose) > config.max_repeated_share:
        return "repeated lines"
    if document.language == "code":
        return None
    characters = _characters(_CODE_SPAN.sub(" ", prose))
    if len(characters) < config.min_characters / 2:
        return "hardly any prose"
    if _is_symbol()[characters].mean() > config.max_symbol_share:
        return "too many symbols"
    if script_share(characters, document.language) < config.min_script_share:
        return "wrong language"
    return None


def repeated_share(text: str) -> float:
    """The share of the characters that stand in lines which stood in the text before."""
    counts = Counter(stripped for line in text.split("\n") if (stripped := line.strip()))
    total = sum(len(line) * count for line, count in counts.items())
    return sum(len(line) * (count - 1) for line, count in counts.items()) / max(total, 1)


def script_share(characters: numpy.ndarray, language: str) -> float:
    """The share of the letters that are of the language's script, from character codes."""
    letters = characters[_is_letter()[characters]]
    inside = sum(int(((letters >= first) & (letters <= last)).sum()) for first, last in _SCRIPTS[language])
    return inside / max(len(letters), 1)


def _characters(text: str) -> numpy.ndarray:
    """The codes of the characters that are not white space."""
    codes = numpy.frombuffer("".join(text.split()).encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
    return numpy.minimum(codes, _TABLE - 1)


@functools.cache
def _is_letter() -> numpy.ndarray:
    return numpy.array([chr(code).isalpha() for code in range(_TABLE)])


@functools.cache
def _is_symbol() -> numpy.ndarray:
    return numpy.array([not (chr(code).isalnum() or chr(code) in _PUNCTUATION) for code in range(_TABLE)])
