"""The letters with which a regular expression can begin, so that a lexicon of hundreds tries only the few that may fit.

Understands what the guard's word lists use: literals, escapes, ``[classes]``, ``(?:groups|of|alternatives)``,
look-aheads, and ``?``, ``*``, ``+``, ``{m,n}`` behind them.
"""

import itertools
import re

_MANY = 100  # letters of a class; a larger one is taken for anything, lest the beginnings be millions
_QUANTIFIER = re.compile(r"[?*+]|\{(\d*)(?:,\d*)?\}")


def openings(expression: str, length: int = 2) -> frozenset[str]:
    """Every beginning of what the expression matches.

    Args:
        expression: a regular expression.
        length: letters of a beginning; shorter ones are whole matches, or stand before what may be anything.
    """
    found: set[str] = set()
    for part in _alternatives(expression):
        found |= _sequence(part, length)
    return frozenset(found)


def _sequence(expression: str, length: int) -> set[str]:
    if not expression or length == 0:
        return {""}
    atom, quantifier, rest = _split(expression)
    heads = _atom(atom, length)
    if heads is None:
        return {""}
    optional = quantifier[:1] in ("?", "*") or quantifier.startswith(("{0", "{,"))
    again = quantifier[:1] in ("*", "+", "{")
    found = _sequence(rest, length) if optional else set()
    for head in heads:
        missing = length - len(head)
        tails = _sequence(rest, missing)
        if again and missing and head:
            tails |= {one[:1] for one in heads if one} if missing == 1 else {""}
        found |= {head + tail for tail in tails}
    return found


def _atom(atom: str, length: int) -> set[str] | None:
    """Beginnings of one piece; None where it may be anything."""
    if atom.startswith(("(?!", "(?=", "(?<")) or atom in "^$":
        return {""}
    if atom.startswith("(?:"):
        return set(openings(atom[3:-1], length))
    if atom.startswith("["):
        return _class(atom[1:-1])
    if atom == ".":
        return None
    return {atom[-1]}


def _class(letters: str) -> set[str] | None:
    if letters.startswith("^"):
        return None
    found: set[str] = set()
    at = 0
    letters = re.sub(r"\\(.)", lambda match: "\0" if match[1] == "-" else match[1], letters)
    while at < len(letters):
        if letters[at + 1 : at + 2] == "-" and at + 2 < len(letters):
            found |= {chr(code) for code in range(ord(letters[at]), ord(letters[at + 2]) + 1)}
            at += 3
        else:
            found.add(letters[at].replace("\0", "-"))
            at += 1
    return found if len(found) <= _MANY else None


def _split(expression: str) -> tuple[str, str, str]:
    """The first piece, what says how often, and the rest."""
    if expression[0] == "\\":
        end = 2
    elif expression[0] == "[":
        end = 1
        while expression[end] != "]":
            end += 2 if expression[end] == "\\" else 1
        end += 1
    elif expression[0] == "(":
        end = _closing(expression) + 1
    else:
        end = 1
    quantifier = _QUANTIFIER.match(expression, end)
    behind = quantifier.end() if quantifier else end
    return expression[:end], quantifier[0] if quantifier else "", expression[behind:]


def _closing(expression: str) -> int:
    return next(at for at, depth in _depths(expression) if depth == 0 and expression[at] == ")")


def _alternatives(expression: str) -> list[str]:
    cuts = [at for at, depth in _depths(expression) if depth == 0 and expression[at] == "|"]
    edges = [-1, *cuts, len(expression)]
    return [expression[left + 1 : right] for left, right in itertools.pairwise(edges)]


def _depths(expression: str) -> list[tuple[int, int]]:
    """Each place that is no escape and in no class, with how many groups are open behind it."""
    found: list[tuple[int, int]] = []
    depth = at = 0
    while at < len(expression):
        letter = expression[at]
        if letter == "\\":
            at += 2
            continue
        if letter == "[":
            at += 1
            while expression[at] != "]":
                at += 2 if expression[at] == "\\" else 1
        depth += {"(": 1, ")": -1}.get(letter, 0)
        found.append((at, depth))
        at += 1
    return found
