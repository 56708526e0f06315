"""Words of the tasks: people, addresses, topics, sentences, days. Each draw is one of very many.

What may be met in teaching and what is kept for the examination is decided by the word itself: of names and topics,
those whose hash falls in the last tenth are held out, whatever the seed.
"""

import hashlib
import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axk1.agents.tool import Language

HELD_OUT_SHARE = 0.1
"""Share of the names and of the topics that no taught dialogue has."""


_UNKNOWN = 0.3
"""Share of the topics that are nonsense, so that reading them pays and guessing does not."""


def _parted(words: Any) -> Any:
    """The lists of ``words.toml``, which are texts there."""
    if isinstance(words, dict):
        return {name: _parted(each) for name, each in words.items()}
    return tuple(word.strip() for word in words.split("|")) if "|" in words else tuple(words.split())


_WORDS = _parted(tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8")))


def is_held_out(word: str) -> bool:
    """Whether a name or a topic is kept for the examination."""
    first = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    return first < HELD_OUT_SHARE * 2**32


@dataclass(frozen=True)
class Words:
    """Draws words of one language.

    Args:
        rng: where the draws come from.
        language: of the words.
        held_out: whether names and topics come from those that are kept for the examination, or from the others.
    """

    rng: random.Random
    language: Language
    held_out: bool = False

    def name(self) -> str:
        """A person."""
        return self._kept(self._korean_name if self.language == "ko" else self._english_name)

    def address(self) -> str:
        """A mail address."""
        return self._kept(self._address)

    def topic(self) -> str:
        """What a mail, a meeting or a document is about."""
        return self._kept(self._topic)

    def sentence(self) -> str:
        """A sentence that somebody wants to have written."""
        form = self.rng.choice(_WORDS["sentences"][self.language])
        number = self.rng.randint(2, 999)
        return form.format(topic=self.topic(), day=self.day(), name=self.name(), number=number)

    def nonsense(self, most: int = 6) -> str:
        """Some words that nobody can guess: who has to write them again must read them."""
        return " ".join(self._nonsense_word() for _ in range(self.rng.randint(1, most)))

    def day(self) -> str:
        """A day of the week."""
        return self.rng.choice(_WORDS["days"][self.language])

    def place(self) -> str:
        """Where something takes place."""
        place = self.rng.choice(_WORDS["places"][self.language])
        return f"{self.rng.randint(1, 30)}층 {place}" if self.language == "ko" else place

    def moment(self) -> str:
        """A day and a time, as people say them."""
        return f"{self.date()} {self.time()}"

    def date(self) -> str:
        """A day, as people say it."""
        pick = self.rng.randrange(4)
        month, day = self.rng.randint(1, 12), self.rng.randint(1, 28)
        if self.language == "ko":
            near = self.rng.choice(("내일", "모레", "오늘"))
            return (
                near,
                f"다음 주 {self.day()}",
                f"{month}월 {day}일",
                f"이번 주 {self.rng.choice(('토요일', '일요일'))}",
            )[pick]
        near = self.rng.choice(("tomorrow", "today", "the day after tomorrow"))
        return (
            near,
            f"next {self.day()}",
            f"{_WORDS['months'][month - 1]} {day}",
            f"on {_WORDS['months'][month - 1]} {day}",
        )[pick]

    def time(self) -> str:
        """A time of day, as people say it."""
        hour, half = self.rng.randint(1, 11), self.rng.random() < 0.3
        if self.language == "ko":
            return f"{self.rng.choice(('오전', '오후'))} {hour}시{' 30분' if half else ''}"
        return f"at {hour}{':30' if half else ''}{self.rng.choice(('am', 'pm'))}"

    def path(self, *endings: str) -> str:
        """The name of a file."""
        stem = self._kept(self._stem)
        return f"{stem}.{self.rng.choice(endings or _WORDS['file_endings'])}"

    def url(self) -> str:
        """The address of a page."""
        host = f"{self._kept(self._stem)}.{self.rng.choice(_WORDS['endings'])}"
        return f"https://{host}/{self.rng.choice(_WORDS['domains'])}"

    def _kept(self, draw: Callable[[], str]) -> str:
        while is_held_out(word := draw()) != self.held_out:
            pass
        return word

    def _korean_name(self) -> str:
        pick = self.rng.choice
        return pick(_WORDS["family"]) + pick(_WORDS["syllables"]) + pick(_WORDS["syllables"])

    def _english_name(self) -> str:
        return f"{self._given()} {self._surname()}"

    def _given(self) -> str:
        return self.rng.choice(_WORDS["starts"]) + self.rng.choice(_WORDS["ends"])

    def _surname(self) -> str:
        return self.rng.choice(_WORDS["surnames"]) + self.rng.choice(_WORDS["surname_ends"])

    def _address(self) -> str:
        pick = self.rng.choice
        local = pick((self._given, self._surname, self._english_name))().lower().replace(" ", pick((".", "_", "")))
        number = self.rng.randint(1, 99) if self.rng.random() < 0.3 else ""
        return f"{local}{number}@{pick(_WORDS['starts']).lower()}{pick(_WORDS['domains'])}.{pick(_WORDS['endings'])}"

    def _topic(self) -> str:
        pick = self.rng.choice
        if self.rng.random() < _UNKNOWN:
            return self.nonsense(2)
        return f"{pick(_WORDS['modifiers'][self.language])} {pick(_WORDS['nouns'][self.language])}"

    def _nonsense_word(self) -> str:
        pick, rng = self.rng.choice, self.rng
        if rng.random() < 0.15:
            return str(rng.randint(0, 10 ** rng.randint(1, 5)))
        if self.language == "ko":
            return "".join(pick(_WORDS["syllables"]) for _ in range(rng.randint(1, 4)))
        return "".join(pick("bcdfghjklmnprstvwz") + pick("aeiou") for _ in range(rng.randint(1, 3))) + pick(
            ("", *"nrst")
        )

    def _stem(self) -> str:
        pick = self.rng.choice
        first, second = pick(_WORDS["modifiers"]["en"]), pick(_WORDS["nouns"]["en"])
        return pick((f"{first}-{second}", f"{first}_{self.rng.randint(1, 99)}", f"{self._surname().lower()}-{second}"))
