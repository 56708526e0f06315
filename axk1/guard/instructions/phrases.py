"""Sentences that are instructions to an assistant, by their words."""

import re

from axk1.guard.finding import Finding
from axk1.guard.instructions.rules import LEXICON, RULES
from axk1.guard.letters import folded
from axk1.guard.rewriting import Rewritten
from axk1.guard.signals import Signal, sentences, together

_QUOTED = re.compile(r"[\"“「『«`‘]([^\"”」』»`’\n]{4,240})[\"”」』»`’]|(?<![a-z])'([^'\n]{4,240})'(?![a-z])")
_QUOTE_AND_ABOUT, _ABOUT = 0.35, 0.75  # what is left of the suspicion where a sentence speaks about such words


def phrases(text: str, *, bonus: float = 0.0) -> list[Finding]:
    """Sentences that tell an assistant what to do.

    Args:
        text: the text.
        bonus: what the place speaks for it: a sentence in an invisible element needs little more.

    Returns:
        One finding a sentence, with the kind that weighs most; those of small confidence too.
    """
    read = folded(text)
    signals = LEXICON.signals(read.text)
    found = []
    before: list[float] = []
    for _, _, inside in sentences(read.text, signals):
        weighed = weigh(inside)
        if not weighed:
            before = []
            continue
        start, end = inside[0].start, inside[-1].end
        kind, weights = strongest(weighed)
        sure = together([*weights, bonus * _ANY, *before]) * _reported(read, inside, start, end)
        before = [(0.6 if kind in _INTRODUCES else 0.35) * together(weights)]
        found.append(Finding(*read.span(start, end), kind, round(sure, 3)))
    return found


_ANY = 0.9
_INTRODUCES = frozenset({"authority", "to_the_reader", "delayed", "persona"})  # the order may be the next sentence


def weigh(signals: list[Signal]) -> dict[str, list[float]]:
    """Weights of the rules that hold in one sentence, by kind."""
    present = frozenset().union(*(one.names for one in signals))
    weights: dict[str, list[float]] = {}
    for rule in RULES:
        if rule.span(signals, present) is not None:
            weights.setdefault(rule.kind, []).append(rule.weight)
    return {kind: each for kind, each in weights.items() if max(each) > 0}


def strongest(weighed: dict[str, list[float]]) -> tuple[str, list[float]]:
    """The kind with most weight, and all weights; those of other kinds count half, since they see the same words."""
    kind = max(weighed, key=lambda one: (together(weighed[one]), one))
    others = [w / 2 if w > 0 else w for other, each in weighed.items() if other != kind for w in [together(each)]]
    return kind, [*weighed[kind], *others]


def _reported(read: Rewritten, inside: list[Signal], start: int, end: int) -> float:
    """Less than 1 where the sentence tells about such words instead of saying them."""
    if not any("about" in one.names for one in inside):
        return 1.0
    left, right = max(0, start - 60), end + 60
    quoted = [match.span() for match in _QUOTED.finditer(read.text, left, right)]
    telling = [one for one in inside if one.names & {"drop", "keep_quiet", "quiet_order", "persona", "reveal", "send"}]
    within = telling and all(any(a <= one.start and one.end <= b for a, b in quoted) for one in telling)
    return _QUOTE_AND_ABOUT if within else _ABOUT
