"""Words -> signals -> rules: how the guard reads a sentence without a model.

A ``Lexicon`` finds words and phrases, each of which gives one or more *signals* ("tells to drop", "orders given
before"). A ``Rule`` wants several signals close together in one sentence, so a single word never decides. Reading takes
one pass over the text, whatever the number of words; rules look only at the few signals that were found.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from axk1.guard.openings import openings

LONGEST_SENTENCE = 320
"""Characters; what has no end by then is cut, so that no text makes a sentence's reading slow."""
REACH = 150
"""Characters within which the signals of a rule must lie, unless the rule says otherwise."""
_STARTS = 12  # signals from which a rule tries to begin, so that a sentence full of them stays cheap
_SENTENCE = re.compile(rf"(?:[^.!?\n]|[.!?](?=[a-z0-9/@_\-])){{1,{LONGEST_SENTENCE}}}[.!?]{{0,3}}")


class Signal(NamedTuple):
    """A word that means something."""

    start: int
    end: int
    names: frozenset[str]


@dataclass(frozen=True)
class Rule:
    """Signals that mean something together."""

    kind: str
    """What they mean."""
    needs: tuple[str, ...]
    """Signals that must all be there; ``"A|B"`` is satisfied by either."""
    weight: float
    """How sure one is then, from 0 to 1; negative where the signals speak against the kind."""
    reach: int = REACH
    """Characters within which they must lie."""
    shared: bool = False
    """Whether one word may satisfy several needs; otherwise each takes a word of its own."""
    alternatives: tuple[frozenset[str], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alternatives", tuple(frozenset(need.split("|")) for need in self.needs))

    def span(self, signals: Sequence[Signal], present: frozenset[str]) -> tuple[int, int] | None:
        """The shortest stretch that satisfies every need, or None."""
        if any(present.isdisjoint(names) for names in self.alternatives):
            return None
        wanted = frozenset().union(*self.alternatives)
        fitting = [one for one in signals if one.names & wanted]
        spans = (self._span_from(fitting[first:]) for first in range(min(len(fitting), _STARTS)))
        near = [span for span in spans if span is not None and span[1] - span[0] <= self.reach]
        return min(near, key=lambda span: span[1] - span[0], default=None)

    def _span_from(self, signals: Sequence[Signal]) -> tuple[int, int] | None:
        missing = list(self.alternatives)
        for signal in signals:
            fitting = [need for need in missing if need & signal.names]
            for need in fitting if self.shared else fitting[:1]:
                missing.remove(need)
            if not missing:
                return signals[0].start, signal.end
        return None


class Lexicon:
    """Words and the signals they give.

    An entry is a regular expression without spaces in its Korean and with ``" "`` between English words, written for
    ``folded`` text; it begins with a letter of its own. English entries match whole words. Where several fit at one
    place their signals are put together.
    """

    def __init__(self, entries: Mapping[str, Sequence[str]]) -> None:
        """Args: entries: expressions by signal; one expression may stand under several."""
        self._signals: dict[str, set[str]] = {}
        for name, expressions in entries.items():
            for expression in expressions:
                self._signals.setdefault(expression, set()).add(name)

    # Compiled when they are first asked for: most programs that import the guard end without reading a text.
    @functools.cached_property
    def _whole(self) -> "_Table":
        return _tried_by_opening(self._signals, whole=True)

    @functools.cached_property
    def _apart(self) -> "_Table":
        apart: dict[str, set[str]] = {}
        for expression, names in self._signals.items():
            apart.setdefault(expression.replace(" ", ""), set()).update(names)
        return _tried_by_opening(apart, whole=False)

    def signals(self, text: str) -> list[Signal]:
        """What the words of a folded text say, in order. Words do not overlap: the first one counts."""
        found = list(self._read(self._whole, _WORD_START, text, 0, len(text)))
        if "\u2063" in text:
            for run in re.finditer("\u2063([^\u2063]{1,500})\u2063", text):
                found += self._read(self._apart, _ANYWHERE, text, *run.span(1))
            found = sorted(set(found), key=lambda one: (one.start, one.end))
        return found

    def _read(self, table: "_Table", places: re.Pattern[str], text: str, start: int, end: int) -> Iterator[Signal]:
        free = start
        for place in places.finditer(text, start, end):
            at = place.start()
            if at < free:
                continue
            names: set[str] = set()
            for pattern, meant in table.get(text[at : at + 2]) or table.get(text[at], ()):
                match = pattern.match(text, at, end)
                if match:
                    names |= meant
                    free = max(free, match.end())
            if names:
                yield Signal(at, free, frozenset(names))


_Table = dict[str, list[tuple[re.Pattern[str], frozenset[str]]]]
_WORD_START = re.compile("(?<![a-z])[a-z]|[^a-z .,\n]")
_ANYWHERE = re.compile(".", re.DOTALL)


def _tried_by_opening(signals: Mapping[str, set[str]], *, whole: bool) -> _Table:
    """For each two letters the expressions that can begin so, and the signals of each."""
    by_opening: dict[str, set[str]] = {}
    for expression in signals:
        begins = openings(expression)
        if "" in begins:
            raise ValueError(f"{expression} begins with anything; a word of a lexicon begins with letters of its own")
        for opening in begins:
            by_opening.setdefault(opening, set()).add(expression)
    for opening in by_opening:  # what begins with one letter and anything may begin with these two also
        by_opening[opening] |= by_opening.get(opening[0], set())
    compiled: dict[tuple[str, str], re.Pattern[str]] = {}
    table: _Table = {}
    for opening, expressions in by_opening.items():
        edge = "(?![a-z])" if whole and re.search("[a-z]", opening) else ""
        for one in sorted(expressions):
            if (one, edge) not in compiled:
                compiled[one, edge] = re.compile(f"(?:{one}){edge}")
            table.setdefault(opening, []).append((compiled[one, edge], frozenset(signals[one])))
    return table


def sentences(text: str, signals: Sequence[Signal]) -> Iterator[tuple[int, int, list[Signal]]]:
    """The sentences of a folded text that have signals: start, end, and the signals in each."""
    at = 0
    for match in _SENTENCE.finditer(text):
        start, end = match.span()
        while at < len(signals) and signals[at].start < start:
            at += 1
        inside = []
        while at < len(signals) and signals[at].start < end:
            inside.append(signals[at])
            at += 1
        if inside:
            yield start, end, inside


def together(weights: Sequence[float]) -> float:
    """How sure several independent reasons make: 1 - (1 - a)(1 - b)...; a negative weight takes its share away."""
    doubt = 1.0
    for weight in weights:
        if weight > 0:
            doubt *= 1 - weight
    sure = 1 - doubt
    for weight in weights:
        if weight < 0:
            sure *= 1 + weight
    return sure
