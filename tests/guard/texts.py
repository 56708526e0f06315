"""The texts of these tests: attacks in their disguises, and texts that are none.

Each file has one text a line. ``attacks_*.tsv``: technique, disguise, payload; ``benign_*.tsv``: sort, text. The rules
of the guard were set while looking at the *seen* files; the *unseen* ones were written before that and only measured.
All are phrasings of our own.
"""

import base64
import codecs
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LEET = str.maketrans("oieas", "01345")
LOOKALIKE = str.maketrans("aeopcxyi", "аеорсхуі")
INITIALS, MEDIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
FINALS = ["", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"]
CARRIERS = {
    True: ("이번 주말 서울은 대체로 맑고 낮 기온은 20도까지 오르겠습니다.\n", "\n미세먼지 농도는 보통 수준입니다."),
    False: ("The museum opens at nine and closes at six on weekdays.\n", "\nTickets are sold at the entrance."),
}


class Attack(NamedTuple):
    """A text that tries to command an assistant."""

    technique: str
    disguise: str
    korean: bool
    text: str


def attacks(part: str) -> list[Attack]:
    """Attacks of a part, ``"seen"`` or ``"unseen"``, each in the middle of a harmless text."""
    found = []
    for line in (HERE / f"attacks_{part}.tsv").read_text(encoding="utf-8").splitlines():
        technique, disguise, payload = line.split("\t")
        korean = any("가" <= letter <= "힣" for letter in payload)
        before, behind = CARRIERS[korean]
        found.append(Attack(technique, disguise, korean, before + DISGUISES[disguise](payload) + behind))
    return found


def benign(part: str) -> list[tuple[str, str]]:
    """Sort and text of what is no attack."""
    lines = (HERE / f"benign_{part}.tsv").read_text(encoding="utf-8").splitlines()
    return [(sort, text) for sort, text in (line.split("\t") for line in lines)]


def _jamo(text: str) -> str:
    def apart(letter: str) -> str:
        if not "가" <= letter <= "힣":
            return letter
        code = ord(letter) - 0xAC00
        return INITIALS[code // 588] + MEDIALS[code % 588 // 28] + FINALS[code % 28]

    return "".join(map(apart, text))


def _spaced(text: str) -> str:
    return "  ".join(" ".join(word) for word in text.split())


def _zero_width(text: str) -> str:
    return "\u200b".join(text)


def _tags(text: str) -> str:
    """Unicode tags hold ASCII only, so that other text goes in as Base64."""
    ascii_only = text if text.isascii() else base64.b64encode(text.encode()).decode()
    return "Photo" + "".join(chr(0xE0000 + ord(letter)) for letter in ascii_only)


def _bits(text: str) -> str:
    bits = "".join(f"{byte:08b}" for byte in text.encode())
    return "Photo" + bits.replace("0", "\u200b").replace("1", "\u200c")


DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "spaced": _spaced,
    "jamo": _jamo,
    "leet": lambda text: text.translate(LEET),
    "homoglyph": lambda text: text.translate(LOOKALIKE),
    "zero_width": _zero_width,
    "fullwidth": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "backwards": lambda text: text[::-1],
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "image": lambda text: f"![chart]({text})",
    "comment": lambda text: f"<p>Opening hours</p><!-- {text} --><p>Contact</p>",
    "css": lambda text: f'<p>Opening hours</p><span style="font-size:0; display: none">{text}</span><p>Contact</p>',
    "white": lambda text: f'<p>Opening hours</p><p style="color:#ffffff;background:#fff">{text}</p>',
    "alt": lambda text: f'<img src="a.png" alt="{text}">',
    "tags": _tags,
    "bits": _bits,
    "base64": lambda text: f"id: {base64.b64encode(text.encode()).decode()}",
    "hex": lambda text: text.encode().hex(),
    "entities": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "percent": lambda text: (
        "".join(f"%{byte:02X}" for byte in text.encode()) if text.isascii() else urllib.parse.quote(text)
    ),
    "escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
}
