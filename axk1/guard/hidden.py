"""``hidden_instructions``: a text that strangers wrote -> what in it is meant for the assistant instead of the reader.

Four ways of looking, whose findings are put together: sentences that command an assistant (``phrases``), places that
people do not see (``places``), marks of turns and links that carry data out (``tags``), text in a code (``encoded``).
No model is asked, and time grows with the length of the text.
"""

import re

from axk1.guard.finding import Finding
from axk1.guard.instructions.encoded import decoded
from axk1.guard.instructions.phrases import phrases
from axk1.guard.instructions.places import hidden_places
from axk1.guard.instructions.tags import TURN, carrying_links, spoofed_turns

_BONUS = {"tool": 0.1, "person": -0.2}
_IN_HIDING, _IN_CODE = 0.4, 0.5  # how much the hiding speaks for an instruction
_IN_TURN, _TURN_LENGTH = 0.35, 240
_DEPTH = 2
_ZERO_WIDTH = re.compile("(?<=[A-Za-z가-힣])[\u200b-\u200d\u2060\ufeff\u00ad](?=[A-Za-z가-힣])")


def hidden_instructions(text: str, source: str = "document", *, least: float = 0.5) -> list[Finding]:
    """Instructions to the assistant in a text that was retrieved, received, or returned by a tool.

    Args:
        text: the text, as it came (HTML with its tags, a mail with its headers).
        source: where it came from; the first word counts: ``"page"``, ``"mail"``, ``"document"``, ``"passage"``,
            ``"tool"`` (whose results seldom talk, so that less is needed), or ``"person"`` (who may give orders, so
            that more is needed). Other words count as ``"document"``.
        least: findings of less confidence are left out.

    Returns:
        Findings in order of place. Their kinds: ``override``, ``secrecy``, ``exfiltration``, ``prompt_leak``,
        ``persona``, ``authority``, ``to_the_reader``, ``output``, ``delayed``, ``memory``, ``tool_use`` (what the words
        want); ``hidden_comment``, ``hidden_element``, ``hidden_attribute`` (where they hide); ``spoofed_turn``,
        ``spoofed_call``, ``carrying_link``; ``base64``, ``hex``, ``escapes``, ``entities``, ``percent``,
        ``tag_characters``, ``zero_width_bits``, ``binary``, ``backwards``, ``rot13`` (the code they are in).
        Findings may lie within each other.
    """
    bonus = _BONUS.get(source.split(" ", 1)[0], 0.0)
    found = [one for one in _found(text, bonus, _DEPTH) if one.confidence >= least]
    return sorted(set(found))


def _found(text: str, bonus: float, depth: int) -> list[Finding]:
    spoken = phrases(text, bonus=bonus)
    found = [*spoken, *spoofed_turns(text), *carrying_links(text), *_commanding_turns(text)]
    found += _obfuscated(text, spoken)
    for place in hidden_places(text):
        inside = phrases(text[place.start : place.end], bonus=_IN_HIDING)
        if inside:
            found.append(Finding(place.start, place.end, place.kind, max(one.confidence for one in inside)))
    if depth:
        for piece in decoded(text):
            inside = [one for one in _found(piece.text, _IN_CODE, depth - 1) if one.confidence >= 0.5]
            if inside:
                sure = max(one.confidence for one in inside)
                found.append(Finding(piece.start, piece.end, piece.kind, sure))
            elif piece.kind in ("tag_characters", "zero_width_bits"):
                found.append(Finding(piece.start, piece.end, piece.kind, 0.6))  # nobody writes these for people
    return found


def _commanding_turns(text: str) -> list[Finding]:
    """``System:`` and the like, with a command behind it."""
    found = []
    for match in TURN.finditer(text):
        said = phrases(text[match.end() : match.end() + _TURN_LENGTH], bonus=_IN_TURN)
        sure = max((one.confidence for one in said), default=0.0)
        if sure >= 0.5:
            found.append(Finding(match.start(), match.end(), "spoofed_turn", sure))
    return found


def _obfuscated(text: str, spoken: list[Finding]) -> list[Finding]:
    """Sentences that say little by themselves, but were written so that a filter does not read them."""
    raised = []
    for one in spoken:
        if 0.2 <= one.confidence < 0.5 and len(_ZERO_WIDTH.findall(text, one.start, one.end)) >= 2:
            raised.append(Finding(one.start, one.end, one.kind, 0.6))
    return raised
