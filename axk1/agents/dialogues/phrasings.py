"""How people ask for each kind of task, in Korean and English; whole templates are kept for the examination."""

import tomllib
from functools import cache
from pathlib import Path

from axk1.agents.tool import Language


def phrasings(kind: str, language: Language, *, held_out: bool) -> tuple[str, ...]:
    """The templates of a kind of request.

    Args:
        kind: a table of ``phrasings.toml``.
        language: of the templates.
        held_out: whether those that are kept for the examination, or those that are taught.
    """
    return tuple(_read()[kind][language]["held_out" if held_out else "seen"])


@cache
def _read() -> dict[str, dict[str, dict[str, list[str]]]]:
    text = (Path(__file__).parent / "phrasings.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
