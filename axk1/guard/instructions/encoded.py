"""Text inside text: Base64, hexadecimal, escapes, Unicode tags, words written backwards -> what they say."""

import base64
import binascii
import codecs
import html
import re
import urllib.parse
from collections.abc import Iterator
from typing import NamedTuple


class Decoded(NamedTuple):
    """What an encoded stretch says."""

    kind: str
    start: int
    end: int
    text: str


_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_\-])[A-Za-z0-9+/_\-]{24,8000}={0,2}")
_BASE64_LINES = re.compile(r"(?:[A-Za-z0-9+/]{60,76}\r?\n){1,200}[A-Za-z0-9+/]{4,76}={0,2}")
_HEX = re.compile(
    r"(?<![0-9A-Za-z])(?:0x)?(?:[0-9a-f]{2}[ :]?){16,4000}(?![0-9A-Za-z])|(?:\\x[0-9a-f]{2}){10,2000}", re.I
)
_ESCAPES = re.compile(r"(?:\\u[0-9a-f]{4} ?){6,2000}", re.I)
_ENTITIES = re.compile(r"(?:(?:&#x?[0-9a-f]{2,6};)[ ]?){6,2000}", re.I)
_PERCENT = re.compile(r"(?:[A-Za-z0-9._\-+]{0,20}%[0-9A-Fa-f]{2}){4,1000}[A-Za-z0-9._\-+]{0,20}")
_TAGS = re.compile("[\U000e0020-\U000e007e]{4,4000}")
_ZERO_WIDTH_BITS = re.compile("[\u200b\u200c\u200d\u2060\ufeff]{24,32000}")
_BINARY = re.compile(r"(?:[01]{8}[ ]?){8,2000}")
_BACKWARDS = re.compile(
    r"snoitcurtsni|noitcurtsni|tpmorp|erongi|dragersid|게에자용사|고하시무|트프롬프|라하송전|시지의?전이",
    re.I,
)
_ROT13 = re.compile(r"\b(?:vtaber|qvfertneq|vafgehpgvbaf?|flfgrz|cebzcg|cerivbhf|nffvfgnag|sbetrg)\b", re.I)
_TEXT = re.compile("[ -~\n\t가-힣ㄱ-ㅣ]")


def decoded(text: str) -> Iterator[Decoded]:
    """Every stretch that decodes to readable text, with that text."""
    for kind, pattern, decode in _CODES:
        for match in pattern.finditer(text):
            said = decode(match.group())
            if said is not None and _readable(said):
                yield Decoded(kind, *match.span(), said)
    for kind, words, turn in (("backwards", _BACKWARDS, _turned), ("rot13", _ROT13, _rotated)):
        if words.search(text):
            yield from (Decoded(kind, start, end, turn(text[start:end])) for start, end in _lines_with(words, text))


def _lines_with(words: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    behind = 0
    for match in words.finditer(text):
        if match.start() >= behind:
            start = max(text.rfind("\n", 0, match.start()) + 1, match.start() - 400)
            end = text.find("\n", match.end(), match.end() + 400)
            behind = end if end >= 0 else min(len(text), match.end() + 400)
            yield start, behind


def _readable(said: str) -> bool:
    return (
        len(said) >= 8
        and len(_TEXT.findall(said)) >= 0.9 * len(said)
        and len(re.findall("[A-Za-z가-힣]", said)) >= 0.5 * len(said)
    )


def _bytes_as_text(raw: bytes) -> str | None:
    for encoding in ("utf-8", "utf-16-le" if b"\0" in raw else "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _from_base64(code: str) -> str | None:
    letters = re.sub(r"\s", "", code).rstrip("=").replace("-", "+").replace("_", "/")
    if letters.isalpha() and (letters.islower() or letters.isupper()):
        return None  # a long word
    letters = letters[: len(letters) - 1] if len(letters) % 4 == 1 else letters
    try:
        return _bytes_as_text(base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True))
    except (binascii.Error, ValueError):
        return None


def _from_hex(code: str) -> str | None:
    digits = re.sub(r"0x|\\x|[ :]", "", code.lower())
    return _bytes_as_text(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _from_escapes(code: str) -> str | None:
    letters = "".join(chr(int(number, 16)) for number in re.findall(r"\\u([0-9a-fA-F]{4})", code))
    return letters.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _from_percent(code: str) -> str | None:
    return urllib.parse.unquote_plus(code)


def _from_tags(code: str) -> str | None:
    return "".join(chr(ord(letter) - 0xE0000) for letter in code)


def _from_bits(code: str) -> str | None:
    kinds = sorted(set(code))
    if len(kinds) < 2:
        return None
    for zero, one in ((kinds[0], kinds[1]), (kinds[1], kinds[0])):
        bits = "".join("0" if letter == zero else "1" for letter in code if letter in (zero, one))
        said = _from_binary(bits)
        if said is not None and _readable(said):
            return said
    return None


def _from_binary(code: str) -> str | None:
    bits = code.replace(" ", "")
    return _bytes_as_text(bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8)))


def _turned(line: str) -> str:
    return line[::-1]


def _rotated(line: str) -> str:
    return codecs.decode(line, "rot13")


_CODES = (
    ("base64", _BASE64_LINES, _from_base64),
    ("base64", _BASE64, _from_base64),
    ("hex", _HEX, _from_hex),
    ("escapes", _ESCAPES, _from_escapes),
    ("entities", _ENTITIES, html.unescape),
    ("percent", _PERCENT, _from_percent),
    ("tag_characters", _TAGS, _from_tags),
    ("zero_width_bits", _ZERO_WIDTH_BITS, _from_bits),
    ("binary", _BINARY, _from_binary),
)
