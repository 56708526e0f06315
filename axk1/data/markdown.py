"""Documentation pages in MkDocs' Markdown -> plain Markdown: headings, lists, tables and fenced code stay as they are.

What only a site generator understands goes: front matter, includes, admonition and tab markers (their text stays),
attribute lists, HTML tags, link targets, images, templates and comments.
"""

import html
import re
import textwrap

_FRONT_MATTER = re.compile(r"\A---\n.*?\n(---|\.\.\.)[ \t]*\n", re.S)
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^\n]*)\n(.*?)(?:^[ \t]*\2[`~]*[ \t]*$|\Z)", re.S | re.M)
_INCLUDE = re.compile(r"^[ \t]*(-+8<-+.*|\{!.*!\}|:::highlight.*)[ \t]*$", re.M)
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:[^\n]|\n(?!\s*\n))+?)(?<!`)\1(?!`)")
_HIDDEN = re.compile(r"<!--.*?-->|<(style|script|svg|iframe|video)\b.*?</\1\s*>|<!doctype[^>]*>", re.S | re.I)
_TEMPLATE = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.S)
_CONTAINER = re.compile(r"^([ ]*)(?:!!!|\?\?\?\+?|===!?\+?)[ ]*([^\n\"]*?)[ ]*(?:\"(.*)\")?[ ]*$")
_SLASHES = re.compile(r"^[ ]*///+[ ]*(?:[\w-]+[ ]*)?(?:\|[ ]*(.*))?$")
_TAGS = (
    "a|abbr|b|big|blockquote|br|center|code|dd|del|details|dfn|div|dl|dt|em|figure|figcaption|font|h[1-6]|hr|i|img|ins|"
    "kbd|li|mark|ol|p|picture|pre|q|s|samp|small|source|span|strike|strong|sub|summary|sup|table|tbody|td|tfoot|th|"
    "thead|tr|tt|u|ul|var"
)
_TAG = re.compile(rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>", re.I)
_BREAKING_TAG = re.compile(r"</?(?:br|div|p|li|tr|h[1-6]|table|ul|ol|summary|details|dt|dd|hr)(?:\s[^<>]*)?/?>", re.I)
_LINE_OF_TAG = re.compile(rf"^[ \t]+(?=</?(?:{_TAGS})[\s>])", re.M | re.I)
_ATTRIBUTES = re.compile(r"[ \t]*\{:?[ ]*(?:[.#][\w:\\-]+|[\w-]+=(?:\"[^\"]*\"|[\w-]+))(?:[ ]+[^{}\n]*)?\}")
_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|\[[^\[\]\n]*\])")
_LINK = re.compile(r"(?<!\\)\[((?:[^\[\]]|\[[^\[\]]*\])*)\](?:\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|\[[^\[\]\n]*\])")
_DEFINITION = re.compile(r"^[ ]{0,3}(?:\[[^\]\n]+\]:[ \t]*\S.*|\*\[[^\]\n]+\]:.*|:::[ \t]+\S+.*|\[TOC\])$", re.M)
_AUTOLINK = re.compile(r"<((?:https?|mailto):[^<>\s]+)>")
_TERMINAL = ("", "console", "bash", "sh", "shell", "cmd")


def clean_markdown(text: str) -> str:
    """The page as plain Markdown; code blocks and code spans keep their content."""
    kept: list[str] = []

    def hide(content: str) -> str:
        kept.append(content)
        return f"\x02{len(kept) - 1}\x03"

    text = text.replace("\x02", "").replace("\x03", "")
    text = _FRONT_MATTER.sub("", text.replace("\r\n", "\n").expandtabs(4))
    text = _FENCE.sub(lambda match: _indented(match[1], hide(code)) if (code := _code_block(match)) else "", text)
    text = _CODE_SPAN.sub(lambda match: hide(match[0]), text)
    text = _TEMPLATE.sub("", _HIDDEN.sub("", text))
    text = _INCLUDE.sub("", text)
    text = "\n".join(_containers(text.split("\n")))
    text = tidy(_inline(text))
    for _ in range(3):  # a code span may lie within a code span's HTML, so look again
        text = re.sub(r"([ ]*)\x02(\d+)\x03", lambda match: _indented(match[1], kept[int(match[2])]), text)
    return text


def tidy(text: str) -> str:
    """No spaces at the ends of lines, at most one blank line in a row."""
    text = re.sub(r"[ \t]+$", "", text, flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def _inline(text: str) -> str:
    text = _DEFINITION.sub("", text)
    text = _IMAGE.sub("", text)
    for _ in range(2):  # a link's text may hold brackets
        text = _LINK.sub(r"\1", text)
    text = _LINE_OF_TAG.sub("", text)
    text = _BREAKING_TAG.sub("\n", text)
    text = _TAG.sub("", text)
    text = _ATTRIBUTES.sub("", text)
    text = _AUTOLINK.sub(r"\1", text)
    return html.unescape(text)


def _code_block(match: re.Match) -> str:
    """A fenced block with only the language beside its fence; empty when it held nothing but includes."""
    indent, fence, info, body = match.groups()
    language = re.sub(r"[{}.]", " ", info).split()
    language = language[0].lower() if language and "=" not in language[0] else ""
    body = textwrap.dedent(re.sub(rf"^{indent}", "", _INCLUDE.sub("", body), flags=re.M)).strip("\n")
    if language in _TERMINAL:
        body = html.unescape(_TAG.sub("", body)) if "<" in body else body
    if not body.strip() or language == "mermaid":
        return ""
    return f"{fence}{language}\n{body}\n{fence}"


def _indented(indent: str, block: str) -> str:
    return textwrap.indent(block, indent) if "\n" in block else indent + block


def _containers(lines: list[str]) -> list[str]:
    """Takes off admonition and tab markers, and the indentation of what they hold; a title in quotes stays."""
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if slashes := _SLASHES.match(line):
            out += ["", slashes[1] or ""]
        elif marker := _CONTAINER.match(line):
            start, indent = at, len(marker[1])
            while at < len(lines) and (not lines[at].strip() or _indent(lines[at]) >= indent + 4):
                at += 1
            body = _containers([text[4:] if text[:4].isspace() else text.lstrip() for text in lines[start:at]])
            if any(text.strip() for text in body):
                out += ["", marker[1] + marker[3] if marker[3] else "", "", *body, ""]
        else:
            out.append(line)
    return out


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
