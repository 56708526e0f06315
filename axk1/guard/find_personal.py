"""``find_personal``: a text -> the personal data in it; Korean and English, by patterns, check digits and context."""

import re

from axk1.guard.finding import Finding, apart
from axk1.guard.letters import plain
from axk1.guard.personal import english, korean

PATTERNS = korean.PATTERNS + english.PATTERNS
KINDS = tuple(sorted({pattern.kind for pattern in PATTERNS}))
"""What can be found."""


def find_personal(text: str, *, least: float = 0.5) -> list[Finding]:
    """Personal data in a text: numbers, addresses, names, secrets.

    Full-width digits, odd dashes, invisible characters and numbers in Hangul digits are read as what they are.

    Args:
        text: the text.
        least: findings of less confidence are left out. A resident registration number whose check digit is wrong
            counts too, since those given out from October 2020 have random digits; a right one makes it surer.

    Returns:
        Findings in order of place, none of which overlap. Kinds: those of ``KINDS``. Names only where a title or a
        label stands beside them: a name alone is not found.
    """
    read = plain(text)
    found = []
    for pattern in PATTERNS:
        for match in pattern.expression.finditer(read.text):
            sure = pattern.confidence(match)
            if sure is not None and sure >= least:
                start, end = _trimmed(match)
                found.append(Finding(*read.span(start, end), pattern.kind, sure))
    return apart(found)


def _trimmed(match: re.Match[str]) -> tuple[int, int]:
    """Where the found thing lies, without the white space and commas at its ends."""
    start, end = match.span("it" if "it" in match.re.groupindex else 0)
    text = match.string
    while text[start] in " ,":
        start += 1
    while text[end - 1] in " ,.(":
        end -= 1
    return start, end
