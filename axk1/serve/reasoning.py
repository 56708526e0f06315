"""Splits an answer that arrives in pieces into what the model thought and what it says."""

from axk1.engine.detokenizer import begun
from axk1.tokenizer.special_tokens import THINK, THINK_END


class ReasoningSplitter:
    """Text before ``</think>`` is reasoning, text behind it content.

    Attributes:
        thinking: whether the next text is reasoning.
    """

    def __init__(self, *, thinking: bool) -> None:
        """Args: thinking: whether the prompt has opened ``<think>`` already; otherwise the text itself may."""
        self.thinking = thinking
        self._may_open = not thinking
        self._held = ""

    def add(self, text: str) -> tuple[str, str]:
        """New text -> (reasoning, content); a mark that may have begun is held back until it is whole."""
        text, self._held = self._held + text, ""
        if self._may_open:
            if len(text) < len(THINK) and THINK.startswith(text):
                self._held = text
                return "", ""
            self._may_open = False
            if text.startswith(THINK):
                self.thinking, text = True, text[len(THINK) :]
        if not self.thinking:
            return "", text
        reasoning, end, content = text.partition(THINK_END)
        if end:
            self.thinking = False
            return reasoning, content
        place = len(text) - begun(text, (THINK_END,))
        self._held = text[place:]
        return text[:place], ""

    def finish(self) -> tuple[str, str]:
        """What was held back, at the end."""
        rest, self._held = self._held, ""
        return (rest, "") if self.thinking else ("", rest)
