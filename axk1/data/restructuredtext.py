"""Sphinx documentation pages in reStructuredText -> plain Markdown.

Titles become ``#`` headings, literal blocks become fenced code, described objects (``.. method::`` and the like) become
a line of code, admonitions keep their text behind a word such as "Note:", roles and references keep what a reader sees.
What only Sphinx understands goes: targets, comments, indexes, tables of contents, includes. Wrapped lines are joined.
"""

import re
import textwrap

from axk1.data.markdown import tidy

_DIRECTIVE = re.compile(r"^( *)\.\. (?:\|[^|]+\| )?([A-Za-z][\w:+.-]*?):: *(.*)$")
_EXPLICIT = re.compile(r"^( *)\.\.(?: (.*))?$")
_FOOTNOTE = re.compile(r"^\[(?:#\w*|\*|\d+|[\w-]+)\] +(.*)$")
_UNDERLINE = re.compile(r"^([=\-`:.'\"~^_*+#<>])\1+$")
_OPTION = re.compile(r"^:[\w-]+:(?: .*)?$")
_ITEM = re.compile(r"^( *)((?:[*+•-]|#\.|\d+[.)]|\(?[a-zA-Z][.)])  *)(?=\S)")
_TABLE = re.compile(r"^ *(?:=+(?: +=+)+|[+][-=+]+[+]) *$")
_ANONYMOUS_TARGET = re.compile(r"^ *__ .+$", re.M)
_HIDDEN = re.compile(r"^( *)\x02(\d+)\x03$", re.M)

# fmt: off
_CODE = {"code-block", "code", "sourcecode", "console", "parsed-literal", "highlight-block"}
_DROPPED = {
    "toctree", "index", "image", "figure", "module", "currentmodule", "contents", "highlight", "raw", "include",
    "literalinclude", "meta", "program", "default-domain", "default-role", "tabularcolumns", "sectionauthor",
    "codeauthor", "replace", "unicode", "graphviz", "role",
}
# fmt: on
_ADMONITIONS = {
    "note": "Note",
    "warning": "Warning",
    "tip": "Tip",
    "hint": "Hint",
    "important": "Important",
    "caution": "Caution",
    "danger": "Danger",
    "attention": "Attention",
    "error": "Error",
    "seealso": "See also",
}
_VERSIONS = {
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
}
# fmt: off
_OBJECTS = {
    "class", "method", "attribute", "function", "data", "exception", "classmethod", "staticmethod", "decorator",
    "property", "setting", "django-admin", "fieldlookup", "templatefilter", "templatetag", "django-admin-option",
    "envvar", "option", "cmdoption", "describe", "object",
}
_CODE_ROLES = {
    "class", "meth", "attr", "func", "mod", "exc", "data", "setting", "djadmin", "ttag", "tfilter", "lookup",
    "option", "file", "envvar", "keyword", "const", "obj", "program", "source", "samp", "command", "kbd",
    "mimetype", "model", "template", "tag", "view", "filter", "macro", "type",
}
# fmt: on
_NUMBERED_ROLES = {"ticket": "#", "pep": "PEP ", "rfc": "RFC ", "cve": "CVE-", "bpo": "bpo-"}

_ROLE = re.compile(r"(?<![\w`]):(?:[a-z]+:)?([a-z-]+):`([^`]+)`")
_LITERAL = re.compile(r"(?<![\w`])``(?!`)(.+?)(?<!`)``(?!`)", re.S)
_REFERENCE = re.compile(r"`([^`<>]+?)\s*(?:<[^`<>]*>)?`__?(?!\w)")
_FOOTNOTE_MARK = re.compile(r"\s?\[(?:#\w*|\*|\d+)\]_(?!\w)")
_WORD_REFERENCE = re.compile(r"(?<![\w`*_./-])([A-Za-z][\w.-]*[A-Za-z0-9])__?(?=[\s.,;:!?)\]'\"]|$)")


def clean_restructuredtext(text: str) -> str:
    """The page as plain Markdown; code keeps its content."""
    text = text.replace("\x02", "").replace("\x03", "").replace("\r\n", "\n").expandtabs(8)
    page = _Page()
    text = "\n".join(page.convert(text.split("\n")))
    text = tidy(_unwrap(_inline(text, page)))
    for _ in range(3):  # a hidden piece may hold another
        text = _HIDDEN.sub(lambda match: textwrap.indent(page.hidden[int(match[2])], match[1]), text)
        text = re.sub(r"\x02(\d+)\x03", lambda match: page.hidden[int(match[1])], text)
    return text


class _Page:
    """What a page's conversion remembers: its title styles, and code that inline rules must not touch."""

    def __init__(self) -> None:
        self.styles: list[str] = []
        self.hidden: list[str] = []

    def hide(self, content: str) -> str:
        self.hidden.append(content)
        return f"\x02{len(self.hidden) - 1}\x03"

    def convert(self, lines: list[str]) -> list[str]:
        """Block structure; inline markup is left for later."""
        out: list[str] = []
        at = 0
        while at < len(lines):
            line = lines[at]
            if match := _DIRECTIVE.match(line):
                body, at = _body(lines, at + 1, len(match[1]))
                out += ["", *_indent(self.directive(match[2].lower(), match[3], body), len(match[1])), ""]
            elif match := _EXPLICIT.match(line):
                body, at = _body(lines, at + 1, len(match[1]))
                note = _FOOTNOTE.match(match[2] or "")
                out += [match[1] + note[1], *_indent(body, len(match[1]))] if note else []
            elif title := self.title(lines, at):
                out += ["", title[0], ""]
                at += title[1]
            elif line.lstrip().startswith(">>> "):  # a doctest, up to the next blank line
                code, _ = _paragraph(lines[at:])
                at += len(code)
                out += ["", *_indent([self.hide(_fenced("pycon", code))], _margin(line)), ""]
            elif line.rstrip().endswith("::"):
                out, at = self.literal(lines, at, out)
            else:
                out.append(line)
                at += 1
        return out

    def title(self, lines: list[str], at: int) -> tuple[str, int] | None:
        """A section title at this line as a heading, and how many lines it took."""
        line, following = lines[at], lines[at + 1 : at + 3]
        over = _UNDERLINE.match(line)
        if over and len(following) == 2 and following[0].strip() and following[1] == line and len(line) > 2:
            return self.heading(line[0] * 2, following[0].strip()), 3
        under = _UNDERLINE.match(following[0]) if following and line[:1].strip() and not over else None
        if under and len(following[0]) >= max(3, len(line.rstrip()) - 2):
            return self.heading(following[0][0], line.strip()), 2
        return None

    def heading(self, style: str, text: str) -> str:
        if style not in self.styles:
            self.styles.append(style)
        return "#" * min(self.styles.index(style) + 1, 6) + " " + text

    def literal(self, lines: list[str], at: int, out: list[str]) -> tuple[list[str], int]:
        """A paragraph that ends in ``::`` and the literal block after it."""
        line = lines[at].rstrip()
        text = line[:-2].rstrip()
        body, after = _body(lines, at + 1, _text_column(line))
        if not any(part.strip() for part in body):
            return [*out, line[:-1] if text.strip() else ""], at + 1
        lead = [text + ("" if text.endswith((":", ".")) else ":")] if text.strip() else []
        column = _text_column(line)
        return [*out, *lead, "", *_indent([self.hide(_fenced("", body))], column), ""], after

    def directive(self, name: str, argument: str, body: list[str]) -> list[str]:
        name = name.rpartition(":")[2] or name
        if name in _DROPPED:
            return []
        if name in _CODE:
            language = argument.strip().lower() or ("console" if name == "console" else "")
            return [self.hide(_fenced(language, _without_options(body)))] if any(map(str.strip, body)) else []
        if name in _OBJECTS:
            more, rest = _paragraph(body)
            signatures = [text for part in [argument, *more] if (text := part.rstrip("\\ ").strip())]
            shown = [self.hide(f"`{text}`") for text in signatures if not _OPTION.match(text)]
            code = [line for text in shown for line in (text, "")]
            return [*code, *self.convert(rest)]
        body = _without_options(body)
        if name == "admonition":
            return [argument, "", *self.convert(body)]
        if name in _VERSIONS:
            return _lead(f"{_VERSIONS[name]} {argument.split()[0] if argument.split() else ''}:", self.convert(body))
        lead = [argument, *body] if argument and (not body or body[0].strip()) else [argument, "", *body]
        if name in _ADMONITIONS:
            return _lead(f"{_ADMONITIONS[name]}:", self.convert(lead))
        return self.convert(lead)


def _body(lines: list[str], at: int, indent: int) -> tuple[list[str], int]:
    """The lines from ``at`` that are blank or indented deeper, without their indentation, and where they end."""
    end = at
    while end < len(lines) and (not lines[end].strip() or _margin(lines[end]) > indent):
        end += 1
    while end > at and not lines[end - 1].strip():
        end -= 1
    return textwrap.dedent("\n".join(lines[at:end])).split("\n"), end


def _paragraph(body: list[str]) -> tuple[list[str], list[str]]:
    """The lines up to the first blank one, and the rest."""
    blank = next((at for at, line in enumerate(body) if not line.strip()), len(body))
    return body[:blank], body[blank:]


def _without_options(body: list[str]) -> list[str]:
    at = 0
    while at < len(body) and _OPTION.match(body[at]):
        at += 1
    return body[at:]


def _lead(words: str, body: list[str]) -> list[str]:
    """The block with a few words before its first line."""
    text = "\n".join(body).strip("\n")
    if not text.strip():
        return [words.rstrip(":").rstrip() + "."]
    first = text.split("\n", 1)[0]
    joins = not first.startswith(("\x02", " ", "#", "|")) and not _ITEM.match(first)
    return (f"{words} {text}" if joins else f"{words}\n\n{text}").split("\n")


def _fenced(language: str, body: list[str]) -> str:
    code = textwrap.dedent("\n".join(body)).strip("\n")
    fence = "````" if "```" in code else "```"
    return f"{fence}{'' if language in ('none', 'text') else language}\n{code}\n{fence}"


def _indent(lines: list[str], width: int) -> list[str]:
    return [" " * width + line if line.strip() else "" for line in lines]


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _text_column(line: str) -> int:
    """Where the text of a line begins: after a list item's mark."""
    item = _ITEM.match(line)
    return len(item[0]) if item else _margin(line)


def _inline(text: str, page: _Page) -> str:
    text = _ANONYMOUS_TARGET.sub("", text)
    text = _LITERAL.sub(lambda match: page.hide(_code(match[1])), text)
    text = _ROLE.sub(lambda match: _role(match, page), text)
    text = _FOOTNOTE_MARK.sub("", text)
    text = _REFERENCE.sub(r"\1", text)
    text = _WORD_REFERENCE.sub(r"\1", text)
    text = re.sub(r"(?<!\w)\|(\w[^|\n]*\w)\|(?!\w)", r"\1", text)
    text = re.sub(r"(?<!`)`([^`\n]+)`(?!`)", lambda match: page.hide(_code(match[1])), text)
    return re.sub(r"\\(?:[ \n]|(.))", lambda match: match[1] or "", text)


def _role(match: re.Match, page: _Page) -> str:
    role, content = match[1], " ".join(match[2].split())
    title = re.fullmatch(r"(.*?)\s*<[^<>]*>", content)
    if title and title[1]:
        return title[1]
    if role in _NUMBERED_ROLES:
        return _NUMBERED_ROLES[role] + content
    if role in _CODE_ROLES:
        return page.hide(_code(content.rpartition(".")[2] if content.startswith("~") else content.lstrip("!.")))
    if role in ("ref", "doc"):  # a label without a title: its words
        return re.sub(r"[-_/]+", " ", content.lstrip("!")).strip()
    return content.lstrip("!~")


def _code(content: str) -> str:
    content = " ".join(content.split())
    return f"`` {content} ``" if "`" in content else f"`{content}`"


def _unwrap(text: str) -> str:
    """Joins the lines of each paragraph and list item; tables, headings, code and line blocks keep theirs."""
    out: list[str] = []
    in_table = False
    column = -1  # where a line must begin to belong to the paragraph before it; -1: to none
    for line in text.split("\n"):
        if _TABLE.match(line):
            in_table = line.lstrip().startswith("=") or in_table
            column = -1
            continue  # the rows stay, the rules go
        alone = not line.strip() or line.startswith("#") or _HIDDEN.match(line) or line.lstrip().startswith(("|", "+-"))
        if not line.strip():
            in_table = False
        item = _ITEM.match(line)
        if not alone and not in_table and not item and out and column == _margin(line):
            out[-1] = f"{out[-1].rstrip()} {line.strip()}"
            continue
        column = -1 if alone or in_table else len(item[0]) if item else _margin(line)
        out.append(line.rstrip())
    return "\n".join(out)
