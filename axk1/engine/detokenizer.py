"""``Detokenizer``: tokens one by one -> text in whole characters, held back where a stop string may begin."""

import codecs
from collections.abc import Sequence

from axk1.tokenizer.tokenizer import Tokenizer


class Detokenizer:
    """The text of one sequence.

    Attributes:
        text: what may be shown: whole characters, never past a stop string.
        stopped_by: the stop string that was met, or None.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = (), *, skip_special: bool = False) -> None:
        """Args: stop: strings that end the text before them; skip_special: whether control tokens leave no text."""
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        self._skipped = tokenizer.control_ids if skip_special else frozenset()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._ids: list[int] = []
        self._decoded = 0
        self._held = ""
        self._pieces: list[str] = []
        self.stopped_by: str | None = None

    @property
    def text(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def add(self, token: int) -> str:
        """Takes a token and returns what may be shown now that could not be before."""
        return self._show(self._decode(token) if token not in self._skipped else "", final=False)

    def finish(self) -> str:
        """Returns what was held back, at the text's end. A cut character becomes U+FFFD."""
        if self.stopped_by is not None:
            return ""
        rest = self._decoder.decode(b"", final=True)
        if not self._tokenizer.is_byte_level:
            rest = self._tokenizer.decode(self._ids)[self._decoded :]
        return self._show(rest, final=True)

    def _decode(self, token: int) -> str:
        if self._tokenizer.is_byte_level:
            return self._decoder.decode(self._tokenizer.token_bytes(token))
        self._ids.append(token)  # the text of a token depends on its neighbours: decode anew
        text = self._tokenizer.decode(self._ids).rstrip("\ufffd")
        start, self._decoded = self._decoded, max(self._decoded, len(text))
        return text[start:]

    def _show(self, new: str, *, final: bool) -> str:
        text = self._held + new
        ends = [(text.index(stop), stop) for stop in self._stop if stop in text]
        if ends:
            place, self.stopped_by = min(ends)
        else:
            place = len(text) - (0 if final else begun(text, self._stop))
        shown, self._held = text[:place], text[place:]
        if shown:
            self._pieces.append(shown)
        return shown


def begun(text: str, marks: Sequence[str]) -> int:
    """Characters at the end of a text with which one of the marks may have begun."""
    longest = max(map(len, marks), default=1) - 1
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if any(mark.startswith(text[-size:]) for mark in marks)), 0)
