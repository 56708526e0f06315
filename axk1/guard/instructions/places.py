"""Where a page or a mail hides words from people but not from a machine: comments, invisible elements, attributes."""

import re
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 2000
"""Characters of a hidden element that are read; an element is looked for no further than that."""


class Place(NamedTuple):
    """A stretch that people do not see."""

    kind: str
    start: int
    end: int


_COMMENT = re.compile(rf"<!--((?:[^-]|-(?!->)){{1,{LONGEST}}})")
_MARKDOWN_COMMENT = re.compile(
    rf"^[ ]{{0,3}}\[(?://|comment|_)[^\]\n]{{0,40}}\]:[ ]*(?:#|<>)?[ ]*([^\n]{{1,{LONGEST}}})", re.M | re.I
)
_HIDING = (
    r"display\s{0,3}:\s{0,3}none|visibility\s{0,3}:\s{0,3}hidden|font-size\s{0,3}:\s{0,3}0*[01]?(?:px|pt|em|rem|%)?\s{0,3}[;\"']"
    r"|(?<![a-z\-])color\s{0,3}:\s{0,3}(?:white|transparent|#fff(?:fff)?\b|rgba?\(\s{0,3}255\s{0,3},\s{0,3}255\s{0,3},\s{0,3}255|rgba\([^)]{0,20},\s{0,3}0\))"
    r"|opacity\s{0,3}:\s{0,3}0(?:\.0{1,3})?\s{0,3}[;\"']|text-indent\s{0,3}:\s{0,3}-\d{3,5}|(?:left|top)\s{0,3}:\s{0,3}-\d{3,5}"
    r"|(?:max-)?(?:height|width)\s{0,3}:\s{0,3}0(?:px)?\s{0,3}[;\"']|clip\s{0,3}:\s{0,3}rect\(0|mso-hide\s{0,3}:\s{0,3}all"
)  # fmt: skip
_ELEMENT = re.compile(
    rf"<[a-z][a-z0-9]{{0,15}}\s(?:[^<>]{{0,300}}(?:{_HIDING})[^<>]{{0,200}}|[^<>]{{0,200}}\bhidden\b[^<>]{{0,200}})>([^<]{{1,{LONGEST}}})",
    re.I,
)
_ATTRIBUTE = re.compile(
    rf"\b(?:alt|title|aria-label|content|placeholder|data-[a-z\-]{{1,20}}|summary)\s{{0,3}}=\s{{0,3}}\"([^\"<>]{{12,{LONGEST}}})\"",
    re.I,
)
_SILENT_TAG = re.compile(
    rf"<(?:template|noscript|script|style|title|desc|metadata)\b[^>]{{0,200}}>([^<]{{12,{LONGEST}}})", re.I
)
_PLACES = (
    ("hidden_comment", _COMMENT),
    ("hidden_comment", _MARKDOWN_COMMENT),
    ("hidden_element", _ELEMENT),
    ("hidden_attribute", _ATTRIBUTE),
    ("hidden_element", _SILENT_TAG),
)


def hidden_places(text: str) -> Iterator[Place]:
    """Comments, invisible elements and attributes of HTML and Markdown, by the text in them."""
    for kind, pattern in _PLACES:
        if kind.startswith("hidden_c") or "<" in text:
            for match in pattern.finditer(text):
                yield Place(kind, *match.span(1))
