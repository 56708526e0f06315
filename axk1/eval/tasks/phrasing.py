"""Question templates: ``str.format`` with Korean particles.

A Korean particle takes one of two forms after the word before it. In a template, ``{word:을/를}`` puts the word and
the right form of the particle after it: the first form after a final consonant, the second after a vowel.
"""

import string
from typing import Any

# How the last sound of a digit or a Latin letter is read in Korean: "" a vowel, "l" the consonant ㄹ, "c" any other.
_DIGIT_ENDINGS = dict(zip("0123456789", ("c", "l", "", "c", "", "", "c", "l", "l", ""), strict=True))
_LETTER_ENDINGS = {"l": "l", "r": "l", "m": "c", "n": "c"}
_HANGUL_FIRST, _HANGUL_LAST, _FINALS, _FINAL_RIEUL = 0xAC00, 0xD7A3, 28, 8


def fill(template: str, **fields: Any) -> str:
    """Fills a template; a format specification with a slash is a Korean particle."""
    return _FORMATTER.vformat(template, (), fields)


def with_particle(word: str, forms: str) -> str:
    """The word followed by the right form of a particle, for example ``with_particle("12", "을/를") == "12를"``.

    Args:
        word: ends in Hangul, a digit, a Latin letter (read by its name) or a degree sign; quotes and brackets at its
            end are passed over.
        forms: the form after a consonant, a slash, the form after a vowel; ``으로/로`` takes 로 after ㄹ as well.
    """
    after_consonant, after_vowel = forms.split("/")
    ending = _ending(word)
    takes_vowel_form = ending == "" or (ending == "l" and after_consonant == "으로")
    return word + (after_vowel if takes_vowel_form else after_consonant)


def _ending(word: str) -> str:
    last = word.rstrip(" '\")]").lower()[-1:]
    if last and _HANGUL_FIRST <= ord(last) <= _HANGUL_LAST:
        final = (ord(last) - _HANGUL_FIRST) % _FINALS
        return "" if final == 0 else "l" if final == _FINAL_RIEUL else "c"
    return _DIGIT_ENDINGS.get(last) or _LETTER_ENDINGS.get(last, "")


class _ParticleFormatter(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return (
            with_particle(str(value), format_spec) if "/" in format_spec else super().format_field(value, format_spec)
        )


_FORMATTER = _ParticleFormatter()
