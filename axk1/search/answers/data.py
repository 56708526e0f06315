"""Passages as data in a prompt: marked, numbered, and without anything that a chat template would take for its own."""

import re
from collections.abc import Sequence

from axk1.search.passage import Passage

_CONTROL = re.compile(
    r"<(?=[|｜/]|\s*/?\s*(?:passage|think|tool_|system|user|assistant|im_|s>|bos|eos|start_of|end_of))", re.I
)
_BRACKETS = re.compile(r"\[(?=/?(?:INST|SYS|TOOL))", re.I)


def as_data(text: str) -> str:
    """A text in which no special token, tag of ours or turn can begin: ``<|im_start|>`` -> ``‹|im_start|>``."""
    return _BRACKETS.sub("［", _CONTROL.sub("‹", text))


def numbered(passages: Sequence[Passage]) -> str:
    """Passages as the prompt has them, from 1."""
    return "\n".join(_one(number, passage) for number, passage in enumerate(passages, 1))


def _one(number: int, passage: Passage) -> str:
    place = " > ".join(part for part in (passage.title, passage.section) if part)
    dated = f" ({passage.date})" if passage.date else ""
    return f'<passage number="{number}">\n{as_data(place)}{dated}\n{as_data(passage.text)}\n</passage>'
