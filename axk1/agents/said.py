"""What has been said in a run, and by whom: ``Said.source(value, kind)`` answers whether anybody said a value.

Values are compared in a normal form: a moment as its day and time, a number as its value, an address in small
letters, a text without spaces and punctuation. Whoever corrects themselves (``아니 수요일로``, ``no, make it 4pm``,
``화요일 말고``) takes the value before back; the new one stands in its place.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from enum import IntEnum, StrEnum
from typing import Any

from axk1.agents.dates import find
from axk1.agents.number_words import find_numbers

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.[A-Za-z]{2,}")
_CORRECTION = re.compile(
    r"(?:^|[\s,.!?;])(?:아니(?:요|야|다|,)?|정정(?:할게요|합니다)?|잘못\s?말|no\b|actually\b|sorry\b|i meant\b|wait\b|"
    r"make (?:it|that)\b|change (?:it|that)\b|rather\b)|말고|대신|바꿔|변경|옮겨",
    re.I,
)
_TAKEN_BACK = re.compile(r"\s*(?:은|는|이|가|을|를|에게|한테|에|로)?\s*(?:말고|대신에?|아니고|아니라)")
_INSTEAD_OF = re.compile(r"(?:instead of|not|rather than)(?:\s+(?:on|at|to|the))?\s*$", re.I)
_YES = re.compile(
    r"(?:네+|예|응+|어|그래요?|좋아요?|좋습니다|맞아요?|맞습니다|확인(?:했어요|했습니다|이요)?|보내(?:줘|주세요|세요)?|"
    r"진행(?:해|해줘|해주세요)?|승인|yes|y|yep|yeah|ok|okay|sure|confirm(?:ed)?|go ahead|do it|send it|please do)"
    r"(?:[\s,]*(?:네|예|응|보내줘|보내주세요|해줘|해주세요|진행해줘|please))*[.!~\s]*",
    re.I,
)
_NO = re.compile(
    r"(?:아니요?|아뇨|아니오|안\s?돼요?|하지\s?마(?:세요)?|보내지\s?마(?:세요)?|취소(?:해줘|해주세요|할게요|요)?|"
    r"그만(?:해|둬|두세요)?|(?:아니\s?)?됐어요?|no|n|nope|cancel(?: it| that)?|stop(?: it)?|never ?mind|"
    r"don'?t(?: do it| send it)?)[.!~\s]*",
    re.I,
)
_UNKNOWN = re.compile(
    r"(?:(?:저도|나도|잘|아직|글쎄요?,?)\s*)*(?:모르겠(?:어|어요|습니다|네요?|는데요?)|몰라요?|모릅니다|글쎄요?)[.!~\s]*|"
    r"(?:sorry,? |well,? )?(?:i (?:do not|don'?t) know(?: that| yet)?|(?:i'?m )?not sure|(?:i have )?no idea)[.!~\s]*",
    re.I,
)


class Source(IntEnum):
    """Who said a value; the greater is believed more."""

    NOBODY = 0
    UNTRUSTED = 1
    """Only pages, mails and documents that strangers wrote."""
    TRUSTED = 2
    """A tool whose results are the person's own, such as their address book."""
    PERSON = 3


class Kind(StrEnum):
    """What sort of value a slot takes."""

    TEXT = "text"
    EMAIL = "email"
    NUMBER = "number"
    MOMENT = "moment"
    DATE = "date"
    TIME = "time"


@dataclass(frozen=True)
class Utterance:
    """One thing said."""

    text: str
    source: Source
    now: datetime
    """When, in the person's time zone; ``tomorrow`` is meant from there."""
    laundered: Sequence[str] = ()
    """What the model had put into calls before: a tool that says it back says nothing."""

    def echoes(self, text: str) -> bool:
        """Whether a flattened text is only the model's own, said back by a tool."""
        return self.source is Source.TRUSTED and any(bool(text) and text in flat(one) for one in self.laundered)


@dataclass
class Said:
    """Everything said so far, the oldest first."""

    utterances: Sequence[Utterance]
    exact: Sequence[Any] = ()
    """The person's answers to what was asked, each as a whole."""
    _values: dict[Kind, list["_Value"]] = field(default_factory=dict)

    def source(self, value: Any, kind: Kind) -> Source:
        """Who said a value of a kind; the most believed of those who did."""
        if kind is Kind.TEXT:
            given = any(str(value) == str(one) for one in self.exact)
            return Source.PERSON if given else self._text_source(str(value))
        if kind is Kind.MOMENT:
            return min(self.source(value.date(), Kind.DATE), self.source(value.time(), Kind.TIME))
        wanted = _normal(value, kind)
        there = [one.source for one in self.values(kind) if wanted in one.readings and not one.corrected]
        return max(there, default=Source.NOBODY)

    def newest(self, value: Any, kind: Kind) -> Any | None:
        """What the person said in place of a value that they took back; None where it was not taken back."""
        wanted, found = _normal(value, kind), None
        for one in self.values(kind):
            if one.corrected is not None and wanted in one.readings:
                found = self._standing(one, kind)
        return found

    def latest(self, kind: Kind) -> tuple[Any, ...]:
        """The readings of the last value of a kind that the person said and did not take back."""
        of_person = (one for one in reversed(self.values(kind)) if one.source is Source.PERSON and not one.corrected)
        return next((one.readings for one in of_person), ())

    def values(self, kind: Kind) -> list["_Value"]:
        """All values of a kind, in the order in which they were said; corrections point to what replaced them."""
        if kind not in self._values:
            found: list[_Value] = []
            for utterance in self.utterances:
                _add(found, utterance, kind)
            self._values[kind] = found
        return self._values[kind]

    def _standing(self, one: "_Value", kind: Kind) -> Any:
        values = self.values(kind)
        while one.corrected is not None and one.corrected in values:
            one = one.corrected
        return one.readings[0]

    def _text_source(self, value: str) -> Source:
        return max((each.source for each in self._saying(value)), default=Source.NOBODY)

    def _saying(self, value: str) -> Iterator[Utterance]:
        wanted = flat(value)
        for each in self.utterances:
            text = _without_taken_back(each.text) if each.source is Source.PERSON else each.text
            if contains(text, value) and not each.echoes(wanted):
                yield each


@dataclass(eq=False)
class _Value:
    readings: tuple[Any, ...]
    source: Source
    corrected: "_Value | None" = None
    """What the person said instead."""


def contains(text: str, value: str) -> bool:
    """Whether a value stands in a text, or all its words do; letters, digits and signs of it must be whole there."""
    words = [re.escape(_folded(word)) for word in re.split(r"[\s,]+", value.strip()) if flat(word)]
    folded = _folded(text)
    if not words:
        return False
    if re.search(_whole(r"\s*".join(words)), folded) or flat(value) == flat(text):
        return True
    if re.fullmatch(r"[가-힣]+", flat(value)) and flat(value) in flat(text):  # Korean is spaced as people like
        return True
    return len(words) > 1 and all(re.search(_whole(word), folded) for word in words)


def flat(text: str) -> str:
    """A text as it is compared: one form of each letter, small, without spaces and punctuation."""
    return re.sub(r"[\s\"'“”‘’.,!?·()\[\]<>:;]+", "", _folded(text))


def emails(text: str) -> list[str]:
    """The mail addresses in a text, in small letters."""
    return list(dict.fromkeys(match[0].lower() for match in _EMAIL.finditer(text)))


def yes_or_no(text: str) -> bool | None:
    """Whether a whole text is a plain yes or a plain no; None where it says anything else."""
    text = text.strip()
    return True if _YES.fullmatch(text) else False if _NO.fullmatch(text) else None


def is_unknown(text: str) -> bool:
    """Whether a whole text only says that the person does not know."""
    return _UNKNOWN.fullmatch(text.strip().replace("’", "'")) is not None


def combine(day: date, at: time, now: datetime) -> datetime:
    """A day and a time of day in the person's time zone."""
    return datetime.combine(day, at, tzinfo=now.tzinfo)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _whole(pattern: str) -> str:
    """Latin letters and digits must not be cut from a longer word; Korean words carry particles."""
    return rf"(?<![a-z0-9@_])(?:{pattern})(?![a-z0-9@_])"


def _normal(value: Any, kind: Kind) -> Any:
    if kind is Kind.EMAIL:
        return str(value).lower()
    if kind is Kind.NUMBER:
        return float(value)
    return value.replace(second=0, microsecond=0, tzinfo=None) if kind is Kind.TIME else value


def _add(found: list[_Value], utterance: Utterance, kind: Kind) -> None:
    """Adds the values of an utterance; of a person's, the last before a correction is replaced by the first behind."""
    markers = list(_CORRECTION.finditer(utterance.text)) if utterance.source is Source.PERSON else []
    place = 0
    open_markers = [marker.start() for marker in markers]
    for start, end, readings in _READ[kind](utterance.text, utterance.now):
        new = _Value(readings, utterance.source)
        if utterance.echoes(flat(utterance.text[start:end])):
            continue
        if utterance.source is Source.PERSON:
            if _TAKEN_BACK.match(utterance.text, end) or _INSTEAD_OF.search(utterance.text[:start]):
                _take_back(found, new)
                continue
            if any(marker < start and marker >= place for marker in open_markers):
                _replace_last(found, new)
                open_markers = [marker for marker in open_markers if marker >= start]
        place = end
        found.append(new)
    if utterance.source is Source.PERSON:
        _settle(found)


def _replace_last(found: list[_Value], new: _Value) -> None:
    for old in reversed(found):
        if old.source is Source.PERSON and old.corrected is None:
            if not set(old.readings) & set(new.readings):
                old.corrected = new
            return


_PENDING = _Value((), Source.NOBODY)
"""Stands for what comes in place of a value that was taken back, until it is said."""


def _take_back(found: list[_Value], gone: _Value) -> None:
    """``화요일 말고``: every earlier mention goes, and this one with them."""
    for old in found:
        if old.source is Source.PERSON and set(old.readings) & set(gone.readings):
            old.corrected = _PENDING
    gone.corrected = _PENDING
    found.append(gone)


def _settle(found: list[_Value]) -> None:
    """What was taken back in this utterance is replaced by its last value that stands, if it has one."""
    pending = [place for place, one in enumerate(found) if one.corrected is _PENDING]
    standing = [one for one in found[min(pending, default=0) :] if one.corrected is None]
    if pending and standing:
        for place in pending:
            found[place].corrected = standing[-1]


def _without_taken_back(text: str) -> str:
    """The text without the words that ``말고`` takes back."""
    return re.sub(r"\S+\s*말고", " ", text)


def _read_moments(part: str) -> Callable[[str, datetime], Iterator[tuple[int, int, tuple[Any, ...]]]]:
    def read(text: str, now: datetime) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
        for one in find(text, now):
            readings = one.dates if part == "dates" else one.times
            if readings:
                yield one.start, one.end, readings

    return read


_READ: dict[Kind, Callable[[str, datetime], Iterator[tuple[int, int, tuple[Any, ...]]]]] = {
    Kind.EMAIL: lambda text, _: ((one.start(), one.end(), (one[0].lower(),)) for one in _EMAIL.finditer(text)),
    Kind.NUMBER: lambda text, _: ((start, end, (value,)) for start, end, value in find_numbers(text)),
    Kind.DATE: _read_moments("dates"),
    Kind.TIME: _read_moments("times"),
}
