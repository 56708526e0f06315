"""How people ask for each kind of task, in Korean and English; whole templates are kept for the examination."""

import random
import re
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


def varied(template: str, language: Language, rng: random.Random) -> str:
    """The same request in another tone: more or less polite, with or without words before it.

    Args:
        template: with words in braces, which stay.
        language: of the template.
        rng: where the choice comes from.
    """
    if language == "ko":
        said = _GIVE.sub(lambda match: match[1] + rng.choice(_GIVEN).replace("?", "" if match[2] else "?"), template)
        return rng.choice(_BEFORE["ko"]) + said
    before = rng.choice(_BEFORE["en"])
    if not before or not _ORDER.match(template):
        return template
    asks = before.startswith("C") and template[-1].isalpha()
    return f"{before}{template[0].lower()}{template[1:]}{'?' if asks else ''}"


_GIVE = re.compile(r"(?<=[가-힣])( ?)줘(?=([.])|$)")
_GIVEN = ("줘", "줘", "줘", "주세요", "줄래?", "줘요", "주시겠어요?", "줄 수 있어?")
_BEFORE = {
    "ko": ("", "", "", "", "저기, ", "혹시 ", "부탁인데 ", "지금 ", "미안한데 ", "자, "),
    "en": ("", "", "", "Please ", "Can you ", "Could you ", "Could you please ", "I want you to ", "Now "),
}
_ORDER = re.compile(
    "(?:Send|Write|Put|Add|Schedule|Make|Set|Delete|Remove|Cancel|Take|Find|Tell|Search|Read|Check|Open|Show|List"
    "|Calculate|Compute|Get|Look|Print|Give|Create|Book|Drop|Erase|Let|Mail|Email) "
)


@cache
def _read() -> dict[str, dict[str, dict[str, list[str]]]]:
    text = (Path(__file__).parent / "phrasings.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
