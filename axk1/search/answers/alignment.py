"""A sentence laid beside its evidence, word by word: where it puts one name for another, or denies what stands there.

Most sentences of an answer follow the words of a passage closely. Between two stretches that are the same, a name that
is not the passage's name there is wrong even if the passage has it elsewhere, and so is a negation on one side only.
A sentence in words of its own cannot be laid beside anything; then nothing is said here.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

from axk1.search.answers.polarity import is_negation
from axk1.search.answers.words import Word, content_words, words

_CLOSE = 0.6
"""Share of a sentence's words that must stand in the same order in its evidence."""
_SHORT = 3
"""Words of a stretch that one thing may be replaced by; longer ones are other clauses."""


def divergence(text: str, evidence: str) -> str | None:
    """Where a sentence leaves its evidence, in words; None where it does not, or where they are too different."""
    ours, theirs = _marks(text), _marks(evidence)
    matcher = SequenceMatcher(None, [word.form for word in ours], [word.form for word in theirs], autojunk=False)
    codes = _within_matches(matcher.get_opcodes())
    matched = sum(end - start for tag, start, end, _, _ in codes if tag == "equal")
    if not ours or matched / len(ours) < _CLOSE:
        return None
    for tag, a, b, c, d in codes:
        if tag == "equal":
            continue
        said, there = ours[a:b], theirs[c:d]
        if any(map(is_negation, said)) != any(map(is_negation, there)) and max(len(said), len(there)) <= _SHORT:
            return f"denied on one side only: {_written(said, text) or _written(there, evidence)}"
        short = tag == "replace" and max(len(said), len(there)) <= _SHORT
        if short and _is_other_name(said, there, text, evidence) and not _is_listed(said, there, theirs, c, d):
            return f"{_written(said, text)} where the passage says {_written(there, evidence)}"
    return None


def _marks(text: str) -> list[Word]:
    """The words that are laid side by side: those with a meaning, and negations."""
    meaning = set(content_words(text))
    return [word for word in words(text) if word in meaning or is_negation(word)]


def _within_matches(codes: Sequence[tuple[str, int, int, int, int]]) -> list[tuple[str, int, int, int, int]]:
    """The differences that touch something that is the same; what the evidence says before and behind is left out."""
    kept = []
    last = len(codes) - 1
    for place, code in enumerate(codes):
        if code[0] == "delete" or code[0] == "equal" or 0 < place < last:
            kept.append(code)
        elif code[0] == "replace":  # at an end: as many words of the evidence as the sentence has
            tag, a, b, c, d = code
            kept.append((tag, a, b, max(c, d - (b - a)), d) if place == 0 else (tag, a, b, c, min(d, c + b - a)))
        elif code[0] == "insert" and place == last:  # a negation right behind the last word that is the same
            tag, a, b, c, d = code
            kept.append((tag, a, b, c, min(d, c + 1)))
    return kept


def _is_other_name(said: Sequence[Word], there: Sequence[Word], text: str, evidence: str) -> bool:
    ours, theirs = _written(said, text).replace(" ", "").lower(), _written(there, evidence).replace(" ", "").lower()
    if ours in theirs:
        return False  # the same name, shorter
    return any(word.is_name for word in said) and any(word.tag in ("NNP", "NNG", "SL", "SH") for word in there)


def _is_listed(said: Sequence[Word], there: Sequence[Word], theirs: Sequence[Word], c: int, d: int) -> bool:
    """Whether the sentence's name is the neighbour of the passage's: A와 B may stand as B와 A."""
    forms = [word.form for word in said]
    beside = [word.form for word in (*theirs[max(0, c - len(said)) : c], *theirs[d : d + len(said)])]
    return all(form in beside for form in forms)


def _written(found: Sequence[Word], text: str) -> str:
    return text[found[0].start : found[-1].end] if found else ""
