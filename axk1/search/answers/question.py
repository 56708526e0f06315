"""A question -> its language, and what kind of thing would answer it."""

import re
from dataclasses import dataclass
from typing import Literal

from axk1.search.answers.quantities import Quantity, quantities
from axk1.search.answers.words import content_words, has_hangul, squeeze, words

Language = Literal["ko", "en"]
Kind = Literal["who", "when", "where", "amount", "meaning", "other"]

_KINDS: dict[Kind, str] = {
    "when": r"언제|며칠|몇\s*(?:년|월|일|시|세기)"
    r"|(?:연도|년도|날짜|날|해|시기|시점|연월일)(?:는|은|가|이)?\s*(?:\?|$|언제|무엇)"
    r"|\bwhen\b|what (?:year|date|day|month|time)",
    "amount": r"몇|얼마|어느\s*정도"
    r"|(?:금액|비율|횟수|개수|인원|수치|나이|점수|기간|한도|액수)(?:는|은|가|이)?\s*(?:\?|$)"
    r"|how (?:many|much|long|old|far|often|large|high)|what (?:percentage|number|amount)",
    "meaning": r"(?:이란|란|정의|뜻|의미)(?:은|는|이|가)?\s*(?:무엇|뭐|뭔|\?|$)"
    r"|\bdefine\b|^what (?:is|are) (?!the\b)(?:an? )?(?:[\w-]+ ){0,2}[\w-]+\?*$",
    "who": r"누구|누가|누굴|(?:인물|사람|이름)(?:은|는|이|의)?\s*(?:\?|$|이름|무엇)|\bwho(?:m|se)?\b",
    "where": r"어디|어느\s*(?:나라|도시|지역|곳|국가)|(?:장소|곳|지역|도시|나라|국가)(?:은|는)?\s*(?:\?|$)"
    r"|\bwhere\b|which (?:country|city|place)",
}
"""What a question that wants such an answer looks like; the first that fits."""
_MEANS = re.compile(
    r"말한다|말하며|말함|뜻한|뜻하|의미한|의미하|가리키|라 함은|이란\s|란\s|정의|(?:은|는)\s.*(?:이다|입니다|임)\W*$"
    r"|\b(?:is|are) (?:an?|the)\b|\bmeans?\b|\brefers? to\b|\bdefined\b",
    re.I,
)
"""A sentence that says what something is."""
_PLACES = ("article", "paragraph", "item", "chapter", "section")
_ASKS_PLACE = re.compile(r"몇\s*[조항호장절]|which (?:article|section|chapter|paragraph)", re.I)
"""A question for a place in a law; other amounts are not answered by one."""
_TIMES = ("year", "month", "day", "century", "oclock", "years")


@dataclass(frozen=True)
class Question:
    """A question as the search reads it."""

    text: str
    kind: Kind
    """What would answer it: a name, a time, a place, an amount, what a word means, or anything."""

    @classmethod
    def read(cls, text: str) -> "Question":
        """Reads plain text."""
        return cls(text, next((kind for kind, pattern in _KINDS.items() if re.search(pattern, text, re.I)), "other"))

    @property
    def language(self) -> Language:
        """The language that the answer is wanted in."""
        return "ko" if has_hangul(self.text) else "en"

    def has_candidate(self, text: str) -> bool:
        """Whether a text holds something of the kind that is asked for, which the question does not hold itself."""
        if self.kind in ("who", "where"):
            asked = squeeze(self.text)
            capitalised = (text[word.start] for word in words(text) if word.tag == "SL")
            names = any(word.is_name and word.form not in asked for word in words(text))
            return names or any(letter.isupper() for letter in capitalised)
        if self.kind in ("when", "amount"):
            known = quantities(self.text)
            return any(self._fits(found) and not any(found.agrees(k) for k in known) for found in quantities(text))
        if self.kind == "meaning":
            return _MEANS.search(text) is not None
        asked = {word.form for word in content_words(self.text)}
        return any(word.form not in asked for word in content_words(text))

    def _fits(self, quantity: Quantity) -> bool:
        if self.kind == "when":
            return quantity.unit in _TIMES
        return quantity.unit not in _PLACES or _ASKS_PLACE.search(self.text) is not None
