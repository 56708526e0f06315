"""``unsafe_request``: what a person asks for -> whether it is something that no assistant should help with.

It reads what is wanted and what for, not single words: "폭탄" alone says nothing, "폭탄 만드는 법 알려줘" does, and
"폭탄 테러를 막는 법" does not. It is light, and knows only what its lists know: put it before a model, not in place of
one.
"""

from dataclasses import dataclass

from axk1.guard.letters import folded
from axk1.guard.requests.rules import LEXICON, RULES
from axk1.guard.signals import Signal, sentences, together

CATEGORIES = tuple(sorted({rule.kind for rule in RULES}))
"""drugs, fraud, hate, malware, minors (sexual content with minors), privacy, self_harm, violence, weapons."""

WHOLE = 600
"""Characters; a request up to this length is read as one, a longer text sentence by sentence."""


@dataclass(frozen=True)
class Verdict:
    """What a request is."""

    category: str
    """One of ``CATEGORIES``: the likeliest; empty where nothing speaks for any."""
    score: float
    """How sure one is that it is unsafe, from 0 to 1."""
    reason: str
    """The words that decided, as they were read; empty where there are none."""

    @property
    def unsafe(self) -> bool:
        """Whether the score is 0.5 or more."""
        return self.score >= 0.5


def unsafe_request(text: str) -> Verdict:
    """Judges what a person asks for, in Korean or English.

    Args:
        text: the request. Spaced letters, ㅈㅏㅁㅗ, look-alikes, digits for letters, invisible characters are undone.

    Returns:
        The verdict. ``self_harm`` wants help, not a refusal: the caller should answer with care and a hotline.
    """
    read = folded(text).text
    signals = LEXICON.signals(read)
    parts = [signals] if len(read) <= WHOLE else [inside for _, _, inside in sentences(read, signals)]
    verdicts = [_judged(read, part) for part in parts if part]
    return max(verdicts, key=lambda verdict: verdict.score, default=Verdict("", 0.0, ""))


def _judged(read: str, signals: list[Signal]) -> Verdict:
    present = frozenset().union(*(one.names for one in signals))
    weights: dict[str, list[float]] = {}
    spans: dict[str, tuple[int, int]] = {}
    for rule in RULES:
        span = rule.span(signals, present)
        if span is None:
            continue
        weights.setdefault(rule.kind, []).append(rule.weight)
        if rule.weight > 0:
            start, end = spans.get(rule.kind, span)
            spans[rule.kind] = min(start, span[0]), max(end, span[1])
    scores = {kind: together(weights[kind]) for kind in spans}
    if not scores:
        return Verdict("", 0.0, "")
    kind = max(scores, key=lambda one: (scores[one], one))
    start, end = spans[kind]
    return Verdict(kind, round(scores[kind], 3), read[start:end])
