"""A sentence and the passages that it cites -> whether they carry it.

Four checks need no model: the passage is really in its document, its sentences hold the sentence's words and names,
they hold its numbers, dates and units, and neither denies what the other affirms. They are made against the few
sentences of a passage that are nearest, not against all of it: a number from elsewhere proves nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from axk1.search.answers.alignment import divergence
from axk1.search.answers.answer import Check
from axk1.search.answers.polarity import contradiction
from axk1.search.answers.quantities import missing
from axk1.search.answers.words import Word, content_words, has_hangul, is_within, sentences, squeeze
from axk1.search.passage import Passage

ENOUGH_WORDS = 0.6
"""Share of a sentence's words that its evidence must hold."""
_WINDOW = 3
"""Most neighbouring sentences of a passage that are evidence of one sentence."""

DocumentText = Callable[[str], str]
"""A document's name -> its text. Raises AXK1Error where there is none."""


@dataclass(frozen=True)
class Window:
    """The part of a passage that is nearest to a sentence."""

    passage: Passage
    start: int
    end: int
    """Its place in the document's text."""
    text: str


@dataclass(frozen=True)
class Verdict:
    """What came of checking a sentence against some passages."""

    windows: tuple[Window, ...]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks did."""
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """What failed, in words."""
        return "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.passed)


def check_sentence(text: str, passages: Sequence[Passage], document_text: DocumentText | None = None) -> Verdict:
    """Whether some passages together carry a sentence, as far as words, numbers and negations tell.

    Args:
        text: the sentence.
        passages: what it cites.
        document_text: to see that the passages stand in their documents; None where nobody keeps those.
    """
    if not passages:
        return Verdict((), (Check("span", False, "nothing is cited"),))
    windows = tuple(nearest_window(text, passage) for passage in passages)
    headings = "\n".join(f"{passage.title}\n{passage.section}" for passage in passages)
    evidence = "\n".join(window.text for window in windows)
    checks = (
        _check_span(passages, document_text),
        *_check_words(text, f"{headings}\n{evidence}", across=has_hangul(text) != has_hangul(evidence)),
        _check_numbers(text, f"{headings}\n{evidence}"),
        _check_polarity(text, evidence),
        _check_order(text, evidence),
    )
    return Verdict(windows, checks)


def find_support(
    text: str, cited: Sequence[Passage], others: Sequence[Passage], document_text: DocumentText | None = None
) -> Verdict:
    """The smallest citation that carries a sentence: one of those cited, all of them, or another passage.

    Returns: the verdict of the first that passes; where none does, that of what was cited.
    """
    together = [list(cited)] if len(cited) != 1 else []
    elsewhere = [passage for passage in others if passage not in cited]
    if has_hangul(text):  # across languages nothing but the model's own citation says which passage is meant
        elsewhere = [passage for passage in elsewhere if has_hangul(passage.text)]
    first: Verdict | None = None
    for passages in [[passage] for passage in cited] + together + [[passage] for passage in elsewhere]:
        verdict = check_sentence(text, passages, document_text)
        if verdict.passed:
            return verdict
        first = first or verdict
    return first or check_sentence(text, [])


def nearest_window(text: str, passage: Passage) -> Window:
    """The sentences of a passage, at most three in a row, that hold most of a sentence; the fewest that do."""
    spans = sentences(passage.text) or ((0, len(passage.text)),)
    asked = content_words(text)
    best, best_value = spans[0], -1.0
    for length in range(1, min(_WINDOW, len(spans)) + 1):
        for first in range(len(spans) - length + 1):
            start, end = spans[first][0], spans[first + length - 1][1]
            value = _share(asked, passage.text[start:end]) - 0.05 * length
            if value > best_value + 1e-9:
                best, best_value = (start, end), value
    start, end = best
    return Window(passage, passage.start + start, passage.start + end, passage.text[start:end])


def _share(asked: Sequence[Word], text: str) -> float:
    forms, squeezed = {word.form for word in content_words(text)}, squeeze(text)
    return sum(is_within(word, forms, squeezed) for word in asked) / len(asked) if asked else 0.0


def _check_span(passages: Sequence[Passage], document_text: DocumentText | None) -> Check:
    for passage in passages:
        length = passage.end - passage.start == len(passage.text)
        if document_text is not None:
            length = document_text(passage.document)[passage.start : passage.end] == passage.text
        if not length:
            return Check("span", False, f"{passage.document} has another text at {passage.start}")
    return Check("span", True, "the passage stands in its document")


def _check_words(text: str, evidence: str, *, across: bool) -> list[Check]:
    """Words and names; across languages only what is written in the same letters in both can be compared."""
    asked = content_words(text)
    forms, squeezed = {word.form for word in content_words(evidence)}, squeeze(evidence)
    lost = [word for word in asked if not is_within(word, forms, squeezed)]
    names = [text[word.start : word.end] for word in lost if _is_name(word, text) and not across]
    named = Check("names", not names, f"not in the passage: {', '.join(names)}" if names else "all in the passage")
    if across:
        return [Check("words", True, "the passage is in another language: left to numbers and the judge"), named]
    share = 1 - len(lost) / len(asked) if asked else 0.0
    return [Check("words", share >= ENOUGH_WORDS, f"{share:.0%} of its words are in the passage"), named]


def _is_name(word: Word, text: str) -> bool:
    """A proper noun; in English a capital that does not begin the sentence."""
    if word.tag == "SL":
        return text[word.start].isupper() and text[: word.start].strip(" \"'(") != ""
    return word.is_name


def _check_numbers(text: str, evidence: str) -> Check:
    lost = missing(text, evidence)
    found = f"not in the passage: {', '.join(quantity.text for quantity in lost)}" if lost else "all in the passage"
    return Check("numbers", not lost, found)


def _check_polarity(text: str, evidence: str) -> Check:
    opposed = contradiction(text, evidence) if has_hangul(text) == has_hangul(evidence) else None
    return Check("polarity", opposed is None, opposed or "nothing is denied that the other affirms")


def _check_order(text: str, evidence: str) -> Check:
    apart = divergence(text, evidence) if has_hangul(text) == has_hangul(evidence) else None
    return Check("order", apart is None, apart or "nothing stands in the place of something else")
