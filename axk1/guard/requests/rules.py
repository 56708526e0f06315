"""Which signals make a request unsafe, and how sure one is then: a thing, what to do with it, and that it is asked for.

The weights were set by hand on the texts in ``tests/guard`` that are marked as seen, and are measured on others.
"""

from axk1.guard.requests import english, korean
from axk1.guard.signals import Lexicon, Rule

LEXICON = Lexicon({
    name: korean.WORDS.get(name, ()) + english.WORDS.get(name, ()) for name in sorted({*korean.WORDS, *english.WORDS})
})  # fmt: skip


def _three(kind: str, thing: str, act: str, near: int = 60) -> tuple[Rule, ...]:
    """A thing and an act are half a reason; asked for, or to be done unseen, they are a whole one."""
    return (
        Rule(kind, (thing, act), 0.3, near),
        Rule(kind, (thing, act, "ask|write"), 0.5, 110, shared=True),
        Rule(kind, (thing, "ask|write"), 0.2, 60),
        Rule(kind, (thing, "evade"), 0.4, 80),
        Rule(kind, (thing, "safe"), -0.6, 90),
        Rule(kind, (thing, "define"), -0.4, 60),
        Rule(kind, (thing, "harmless"), -0.5, 40),
    )


RULES = (
    *_three("weapons", "weapon", "make"),
    *_three("malware", "malware", "deploy"),
    *_three("malware", "target", "hack", 40),
    *_three("fraud", "fraud", "write|ask|make"),
    *_three("drugs", "drug", "trade"),
    *_three("violence", "person", "kill", 30),
    *_three("privacy", "spy", "someone|evade|make"),
    Rule("self_harm", ("die",), 0.5),
    Rule("self_harm", ("suicide",), 0.3),
    Rule("self_harm", ("suicide", "ask|write|evade"), 0.4),
    Rule("self_harm", ("suicide", "crime"), -0.5),
    Rule("self_harm", ("die", "ask|write|make"), 0.4),
    Rule("self_harm", ("hurt_self",), 0.35),
    Rule("self_harm", ("hurt_self", "ask|evade"), 0.4),
    Rule("self_harm", ("die|hurt_self|suicide", "safe"), -0.6),
    Rule("minors", ("minor", "sexual"), 0.5, 50),
    Rule("minors", ("minor", "sexual", "ask|write"), 0.4),
    Rule("minors", ("minor", "sexual", "safe"), -0.6),
    Rule("minors", ("minor", "sexual", "crime"), -0.6),
    Rule("violence", ("person", "kill", "crime"), -0.5),
    Rule("weapons", ("weapon", "make", "crime"), -0.5),
    Rule("drugs", ("drug", "trade", "crime"), -0.5),
    Rule("fraud", ("fraud", "crime"), -0.4),
    Rule("hate", ("group", "despise"), 0.3, 60),
    Rule("hate", ("group|slur", "despise", "ask|write"), 0.45, 110),
    Rule("hate", ("slur",), 0.3),
    Rule("hate", ("slur", "ask|write|group"), 0.3),
    Rule("hate", ("group", "kill", "ask|write"), 0.3, 60),
    Rule("hate", ("group|slur", "despise", "safe"), -0.5),
)
