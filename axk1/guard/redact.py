"""``redact``: a text -> the same without its personal data, and what leads back; ``restore`` leads back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from axk1.guard.find_personal import find_personal


@dataclass(frozen=True)
class Redaction:
    """A stretch of a text, and what is put in its place."""

    start: int
    end: int
    placeholder: str


def redact(text: str, *, least: float = 0.5) -> tuple[str, dict[str, str]]:
    """Puts placeholders, ``[PHONE_1]``, where personal data stood.

    The same data get the same placeholder. No placeholder is a word of the text already. Keep the mapping in memory: it
    is the personal data.

    Args:
        text: the text.
        least: as in ``find_personal``.

    Returns:
        The text with placeholders, and by placeholder what stood there, for ``restore``.
    """
    mapping: dict[str, str] = {}
    parts: list[str] = []
    at = 0
    for one in redactions(text, least=least):
        mapping[one.placeholder] = text[one.start : one.end]
        parts += (text[at : one.start], one.placeholder)
        at = one.end
    parts.append(text[at:])
    return "".join(parts), mapping


def redactions(text: str, *, least: float = 0.5) -> list[Redaction]:
    """What ``redact`` replaces, in the order of the text."""
    placeholders: dict[tuple[str, str], str] = {}
    counts: dict[str, int] = {}
    found: list[Redaction] = []
    for one in find_personal(text, least=least):
        key = (one.kind, text[one.start : one.end])
        if key not in placeholders:
            placeholders[key] = _new(one.kind, counts, text)
        found.append(Redaction(one.start, one.end, placeholders[key]))
    return found


def restore(text: str, mapping: Mapping[str, str]) -> str:
    """Puts personal data back where their placeholders stand, also in what a model made of the text."""
    if not mapping:
        return text
    pattern = re.compile("|".join(map(re.escape, mapping)))
    return pattern.sub(lambda match: mapping[match.group()], text)


def _new(kind: str, counts: dict[str, int], text: str) -> str:
    while True:
        counts[kind] = counts.get(kind, 0) + 1
        placeholder = f"[{kind.upper()}_{counts[kind]}]"
        if placeholder not in text:
            return placeholder
