"""``Words``: text -> the terms that an inverted index holds: Korean morphemes by Kiwi, stemmed English.

Kiwi analyses about 50,000 characters a second on a core. Words repeat, so each is analysed once, by itself, and its
terms are remembered: a larger collection is then analysed several times faster than sentence by sentence.
"""

import functools
import re
import threading
from collections.abc import Iterable, Sequence

import kiwipiepy
import tantivy

_RUN = re.compile(r"[^\W_]+(?:[.,·'’][^\W_]+)*")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
_KEPT = ("NNG", "NNP", "NNB", "NR", "VV", "VA", "MM", "MAG", "XR", "XPN", "XSN", "SL", "SH", "SN")
_PREDICATES = ("VV", "VA")
_AFTER_A_MARK = "」"
_LONGEST = 64
_REMEMBERED = 1_000_000
_ONE_AT_A_TIME = threading.Lock()
"""Indices in one process share Kiwi."""


class Words:
    """An analyser that remembers the words it has seen. Not for several threads at once."""

    identity = "kiwi-words-1"
    """Changes whenever the same text gives other terms; an index built with another one is built anew."""

    def __init__(self, threads: int = 1) -> None:
        """Args: threads: of Kiwi, for batches."""
        self._threads = threads
        english = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        english = english.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.stemmer("english"))
        self._english = english.build()
        self._terms: dict[str, tuple[str, ...]] = {}

    def terms(self, text: str) -> list[str]:
        """The terms of one text, in its order, with repetitions; none of them holds white space."""
        return self.batch([text])[0]

    def batch(self, texts: Iterable[str]) -> list[list[str]]:
        """The terms of each text; new Korean words of all texts are analysed together, on all threads."""
        runs = [_runs(text) for text in texts]
        if len(self._terms) > _REMEMBERED:
            self._terms.clear()
        self._learn({run for each in runs for run in each if run not in self._terms})
        return [[term for run in each for term in self._terms[run]] for each in runs]

    def _learn(self, words: set[str]) -> None:
        korean = sorted(word for word in words if _HANGUL.search(word))
        for word in words.difference(korean):
            self._terms[word] = tuple(self._english.analyze(word))
        if korean:
            with _ONE_AT_A_TIME:
                for word, tokens in zip(korean, _kiwi(self._threads).tokenize(korean, z_coda=False), strict=True):
                    self._terms[word] = self._of_tokens(tokens)

    def _of_tokens(self, tokens: Sequence[kiwipiepy.Token]) -> tuple[str, ...]:
        terms: list[str] = []
        for token in tokens:
            tag = token.tag.split("-")[0]
            if tag == "SL":
                terms += self._english.analyze(token.form)
            elif tag in _KEPT or tag[0] in "UW":
                form = "".join(token.form.split())
                terms.append(form + "다" if tag in _PREDICATES else form)
        return tuple(terms)


@functools.cache
def _kiwi(threads: int) -> kiwipiepy.Kiwi:
    """Seconds to load and half a gigabyte, so only when a Korean word is new, and once in a process."""
    return kiwipiepy.Kiwi(num_workers=threads, load_typo_dict=False, load_multi_dict=False)


def _runs(text: str) -> list[str]:
    """Runs of letters and digits. A Korean one that follows a closing mark is marked, so that Kiwi sees a particle."""
    runs = []
    for match in _RUN.finditer(text):
        run, before = match[0][:_LONGEST], text[match.start() - 1 : match.start()]
        joined = bool(before) and not before.isspace() and _HANGUL.match(run)
        runs.append(_AFTER_A_MARK + run if joined else run)
    return runs
