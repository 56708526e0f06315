"""Letters that look alike, cannot be seen, or were taken apart -> the letters that a reader reads.

``plain`` undoes what typists and machines do (full-width digits, long dashes, invisible characters, decomposed Hangul);
``folded`` also what people do who hide: look-alikes from other alphabets, ㅈㅏㅁㅗ, l e t t e r s  apart, d1g1ts. Both
return a ``Rewritten``, so that what is found in them is found in the original.
"""

import functools
import re
import unicodedata

from axk1.guard.rewriting import Rewritten

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f\U000e0100-\U000e01ef]+"
)
"""Characters that nobody sees: zero widths, directions, fillers, variation selectors, tags."""

_LOOKALIKES = str.maketrans(
    "авеіјкмнорсԁԛѕтухѵһҮүԝɑɡıοαιυνρτκεβӏАВЕІЈКМНОРСЅТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "abeijkmhopcdqstyxvhyuwagioaiuvptkeblabeijkmhopcstyxabezhikmnoptyx",
)
_STRANGE = re.compile("[\u1100-\u11ff]+|[^\x00-\x7f가-힣ㄱ-ㅣ\u4e00-\u9fff]")
_JAMO_RUN = re.compile("[ㄱ-ㅎ][ㅏ-ㅣ](?:[ㄱ-ㅎㅏ-ㅣ][ .·]?){0,60}[ㄱ-ㅎㅏ-ㅣ]|[ㄱ-ㅎ][ㅏ-ㅣ]")
_APART = re.compile(
    r"(?<![a-z])(?:[a-z][ .\-_*·~/|]{1,3}){4,400}[a-z](?![a-z])"
    r"|(?<![가-힣])(?:[가-힣][ .\-_*·~/|^]{1,3}){3,200}[가-힣](?![가-힣])"
)
_LEET_WORD = re.compile(
    r"(?<![a-z0-9])(?=[a-z0-9@$!]{0,12}[a-z])(?=[a-z]{0,12}[0-9@$!])[a-z0-9@$!]{4,24}(?![a-z0-9]|\.[a-z])"
)
_LEET = str.maketrans("013457@$!", "oieastasi")
_SPACE_AT_HANGUL = re.compile("(?<=[가-힣]) | (?=[가-힣])")
_SPACES = re.compile(r"[ \t\r\n]{2,}|[\t\r\n]")
_LEADS, _VOWELS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ", "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_TAILS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_DOUBLE_VOWELS = {"ㅗㅏ": "ㅘ", "ㅗㅐ": "ㅙ", "ㅗㅣ": "ㅚ", "ㅜㅓ": "ㅝ", "ㅜㅔ": "ㅞ", "ㅜㅣ": "ㅟ", "ㅡㅣ": "ㅢ"}


def plain(text: str) -> Rewritten:
    """The text in the common forms of its characters; capitals and spaces stay."""
    return Rewritten(text).rewrite(INVISIBLE, _nothing).rewrite(_STRANGE, _common)


def folded(text: str) -> Rewritten:
    """The text as phrases are looked for: small, look-alikes resolved, without spaces beside Hangul.

    A blank line stays a line break, so that phrases end there; other white space is one space.
    """
    read = Rewritten(text).rewrite(INVISIBLE, _nothing).rewrite(_STRANGE, _familiar).lower()
    read.rewrite(_JAMO_RUN, _compose).rewrite(_APART, _together).rewrite(_LEET_WORD, _unleet)
    return read.rewrite(_SPACES, _gap).rewrite(_SPACE_AT_HANGUL, _nothing)


def _nothing(_: re.Match[str]) -> str:
    return ""


def _common(match: re.Match[str]) -> str:
    return _common_form(match.group())


def _familiar(match: re.Match[str]) -> str:
    return _familiar_form(match.group())


@functools.lru_cache(maxsize=1 << 14)
def _common_form(letters: str) -> str:
    if len(letters) > 1 or "\u1100" <= letters <= "\u11ff":
        return unicodedata.normalize("NFC", letters)
    if unicodedata.category(letters) == "Pd" or letters in "\u2212\u30fc":
        return "-"
    if letters in "\u2028\u2029\u0085":
        return "\n"
    return unicodedata.normalize("NFKC", letters)


@functools.lru_cache(maxsize=1 << 14)
def _familiar_form(letters: str) -> str:
    common = _common_form(letters)
    if len(common) == 1 and "가" <= common <= "힣":
        return common
    if "\u1100" <= letters[0] <= "\u11ff":
        return common
    common = {"“": '"', "”": '"', "‘": "'", "’": "'", "…": ".", "。": ".", "：": ":"}.get(letters, common)
    bare = "".join(c for c in unicodedata.normalize("NFKD", common) if unicodedata.category(c) != "Mn")
    return bare.translate(_LOOKALIKES)


def _compose(match: re.Match[str]) -> str:
    """ㅈㅏㅁㅗ -> 자모. What makes no syllable (ㅋㅋㅋ) stays."""
    letters = "".join(c for c in match.group() if c not in " .·")
    out: list[str] = []
    at = 0
    while at < len(letters):
        if letters[at] not in _LEADS or letters[at + 1 : at + 2] not in tuple(_VOWELS):
            out.append(letters[at])
            at += 1
            continue
        lead, vowel = letters[at], letters[at + 1]
        at += 2
        if vowel + letters[at : at + 1] in _DOUBLE_VOWELS:
            vowel = _DOUBLE_VOWELS[vowel + letters[at]]
            at += 1
        tail = " "
        following = letters[at + 1 : at + 2]
        if at < len(letters) and letters[at] in _TAILS and (not following or following not in _VOWELS):
            tail = letters[at]
            at += 1
        number = (_LEADS.index(lead) * 21 + _VOWELS.index(vowel)) * 28 + _TAILS.index(tail)
        out.append(chr(0xAC00 + number))
    return "".join(out)


def _together(match: re.Match[str]) -> str:
    """l-e-t-t-e-r-s -> letters, between U+2063 marks: there words need no space between them."""
    return "\u2063" + re.sub(r"[ .\-_*·~/|^]", "", match.group()) + "\u2063"


def _unleet(match: re.Match[str]) -> str:
    return match.group().translate(_LEET)


def _gap(match: re.Match[str]) -> str:
    return "\n" if match.group().count("\n") > 1 else " "
