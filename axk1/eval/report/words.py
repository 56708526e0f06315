"""Every sentence of the page in English and Korean; the page shows one of them, chosen by two radio buttons and CSS."""

from typing import NamedTuple

from markupsafe import Markup, escape

from axk1.core.progress import duration, human


class Words(NamedTuple):
    """The same text in both languages."""

    en: str
    ko: str


Text = Words | str
"""A text for people: in both languages, or one that needs no translation, such as a task's name."""


def both(text: Text) -> Markup:
    """Escaped HTML of a text: one span a language, or the text itself where it needs no translation."""
    if isinstance(text, Words):
        english, korean = (escape(part.replace(" %", "\N{NO-BREAK SPACE}%")) for part in text)
        return Markup(f'<span class="en" lang="en">{english}</span><span class="ko" lang="ko">{korean}</span>')
    return escape(text)


MODELS = ("teacher", "student", "control")
"""The models that are scored, in the order of the page."""
ROLES = {
    "teacher": Words("teacher", "교사"),
    "student": Words("student", "학생"),
    "control": Words("control", "대조군"),
}
"""What the models of a run are called."""

STAGES = {
    "base": Words("pretraining", "사전학습"),
    "teacher": Words("fine-tuning", "미세조정"),
    "student": ROLES["student"],
    "control": ROLES["control"],
}
"""What their training is called; ``base`` is the teacher before fine-tuning."""


LANGUAGES = {
    "ko": Words("Korean", "한국어"),
    "en": Words("English", "영어"),
    "code": Words("code", "코드"),
}
MODES = {"think": Words("think", "생각"), "no_think": Words("non-think", "즉답")}


def count(number: float) -> Words:
    """A large count in both languages: 12.03 M, 1,203만."""
    korean = (
        f"{number / 1e8:,.1f}억" if number >= 1e8 else f"{number / 1e4:,.0f}만" if number >= 1e5 else f"{number:,.0f}"
    )
    return Words(human(number), korean)


def span(seconds: float) -> Words:
    """A time span in both languages: 3 min 05 s, 3분 05초."""
    english = duration(seconds)
    return Words(english, english.replace(" min", "분").replace(" h", "시간").replace(" s", "초"))
