"""``StructuredOutputsParams``: the form that a text must have. Names as in vLLM."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher, grammar_from

from axk1.core.config import require
from axk1.core.errors import ConfigError

_MAX_CHARACTERS = 131_072
"""Longest form as text; what is compiled grows faster than this does."""
WHITESPACE = r"\x20|\x0A\x20{0,32}"
"""Between the tokens of JSON: nothing, one space, or a new line and its indentation. Were there no bound, a model could
write white space until its tokens are spent."""


class GrammarError(ConfigError):
    """A grammar cannot be used.

    Args:
        field: the field that holds it.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} cannot be used: {reason}")
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class StructuredOutputsParams:
    """What a text must be. Exactly one of the fields is set."""

    json: str | bool | Mapping[str, Any] | None = None
    """JSON that fits this JSON schema, which is given as an object or as text."""
    regex: str | None = None
    """A text that this regular expression of Rust's matches from its first to its last character."""
    choice: Sequence[str] | None = None
    """One of these texts."""
    grammar: str | None = None
    """A text that this context-free grammar derives: llguidance's Lark or llama.cpp's GBNF."""
    json_object: bool = False
    """Any JSON object."""

    def __post_init__(self) -> None:
        names = [name for name in ("json", "regex", "choice", "grammar") if getattr(self, name) is not None]
        names += ["json_object"] * bool(self.json_object)
        require(
            len(names) == 1, "structured_outputs", names, "exactly one of json, regex, choice, grammar, json_object"
        )
        texts = self.choice is None or (bool(self.choice) and all(isinstance(each, str) for each in self.choice))
        require(texts, "structured_outputs.choice", self.choice, "at least one text")

    @property
    def kind(self) -> str:
        """Name of the field that is set."""
        return next(
            (name for name in ("json", "regex", "choice", "grammar") if getattr(self, name) is not None), "json_object"
        )

    @property
    def field(self) -> str:
        """The field's name in messages."""
        return f"structured_outputs.{self.kind}"

    def source(self) -> str:
        """The form in llguidance's notation, not yet checked. Raises GrammarError for what is no JSON, or too long."""
        size = len(self._text())
        if size > _MAX_CHARACTERS:
            raise GrammarError(self.field, f"it has {size} characters; allowed: at most {_MAX_CHARACTERS}")
        try:
            if self.kind in ("json", "json_object"):
                return LLMatcher.grammar_from_json_schema(self._text(), overrides={"whitespace_pattern": WHITESPACE})
            if self.kind == "choice":  # one lexeme, since as many rules they would be too many
                return LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {self._text()}")
            return grammar_from(self.kind, self._text())
        except (ValueError, RecursionError) as error:
            raise GrammarError(self.field, str(error)) from None

    def _text(self) -> str:
        value = {"type": "object"} if self.kind == "json_object" else getattr(self, self.kind)
        if isinstance(value, str):
            return value
        try:
            if self.kind == "choice":
                return " | ".join(json.dumps(each) for each in value)
            return json.dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise GrammarError(self.field, f"it is no JSON: {error}") from None
