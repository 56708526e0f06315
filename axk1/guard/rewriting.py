"""A text rewritten for reading by rules, with the way back: every stretch of it leads to its place in the original."""

import bisect
import re
from collections.abc import Callable


class Rewritten:
    """A text, and where each of its characters came from. Rewriting takes time in proportion to the length."""

    def __init__(self, text: str) -> None:
        """Args: text: the original."""
        self.text = text
        self._stages: list[_Stage] = []

    def rewrite(self, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str]) -> "Rewritten":
        """Replaces every match, as ``pattern.sub`` does, and remembers from where. Changes this object; returns it."""
        stage = _Stage()
        parts: list[str] = []
        at = length = 0
        for match in pattern.finditer(self.text):
            new = replace(match)
            if new == match.group():
                continue
            parts += (self.text[at : match.start()], new)
            length += match.start() - at
            stage.add(length, len(new), match.start(), match.end())
            length += len(new)
            at = match.end()
        if parts:
            parts.append(self.text[at:])
            self.text = "".join(parts)
            self._stages.append(stage)
        return self

    def lower(self) -> "Rewritten":
        """Small letters, one for one. Changes this object; returns it."""
        small = self.text.lower()
        if len(small) != len(self.text):  # some capital letters of other scripts become two
            small = "".join(low if len(low := letter.lower()) == 1 else letter for letter in self.text)
        self.text = small
        return self

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where ``text[start:end]``, of one character at least, lies in the original."""
        for stage in reversed(self._stages):
            start, end = stage.origin(start)[0], stage.origin(end - 1)[1]
        return start, end


class _Stage:
    """What one rewriting replaced, in order of place."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._replaced: list[tuple[int, int, int]] = []

    def add(self, start: int, length: int, old_start: int, old_end: int) -> None:
        self._starts.append(start)
        self._replaced.append((length, old_start, old_end))

    def origin(self, place: int) -> tuple[int, int]:
        """The stretch of the older text that a character came from. (A removed one belongs to its left.)"""
        number = bisect.bisect_right(self._starts, place) - 1
        if number < 0:
            return place, place + 1
        length, old_start, old_end = self._replaced[number]
        offset = place - self._starts[number]
        if offset < length:
            return old_start, old_end
        old = old_end + offset - length
        return old, old + 1
