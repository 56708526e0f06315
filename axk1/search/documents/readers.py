"""One function for each kind of file: its bytes -> text, headings, pages, title and date."""

import dataclasses
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import docx
import docx.document
import docx.table
import hwpx
import pypdf
import trafilatura
import yaml
from docx.oxml.ns import qn

from axk1.data.markdown import clean_markdown, tidy
from axk1.search.documents.dates import day_of
from axk1.search.documents.document import Heading, SearchDocument, markdown_headings, plain

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u2060\ufeff\ud800-\udfff]")
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.S)
_OUTLINE = re.compile(r"(?:heading|outline|제목|개요)\s*(\d)", re.I)


class Unreadable(Exception):
    """A file that holds no text which we can read; its message is the reason."""


def read(name: str, content: bytes) -> Iterator[SearchDocument]:
    """The documents in one file: one, or for data shards one for each record.

    Args:
        name: what to call it; its suffix says what it is.
        content: the file's bytes.

    Raises:
        Unreadable: it is damaged, encrypted, without text, or of a kind that nobody here reads.
    """
    reader = READERS.get(suffix(name))
    if reader is None:
        raise Unreadable(f"no reader for {suffix(name) or 'files without suffix'}")
    found = False
    try:
        for document in reader(name, content):
            if document.text:
                found = True
                yield document
    except Unreadable:
        raise
    except Exception as error:  # libraries raise what they like over damaged files; one file never stops a build
        raise Unreadable(f"{type(error).__name__}: {error}"[:300]) from error
    if not found:
        raise Unreadable("no text in it (a scan, or empty)")


def suffix(name: str) -> str:
    """``.jsonl.gz`` for data shards, else the last suffix in lower case."""
    lower = name.lower()
    return ".jsonl.gz" if lower.endswith(".jsonl.gz") else PurePosixPath(lower).suffix


def _document(name: str, text: str, *, title: str = "", date: str = "", markdown: bool = True) -> SearchDocument:
    """A document from Markdown or plain text, with a title and a date if there are any."""
    text = _clean(text)
    headings = markdown_headings(text) if markdown else ()
    first = min(headings, key=lambda heading: (heading.level, heading.start), default=None)
    title = plain(title) or (first.text if first else PurePosixPath(name).stem)
    return SearchDocument(name, text, title, headings, (), date or day_of(PurePosixPath(name).name))


def _clean(text: str) -> str:
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def _decoded(content: bytes) -> str:
    """UTF-8 or UTF-16 by their marks, else the older Korean encoding where it fits, else UTF-8 with gaps."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("utf-8", "replace")


def _read_text(name: str, content: bytes) -> Iterator[SearchDocument]:
    if b"\0" in content[:4096] and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise Unreadable("binary content in a text file")
    yield _document(name, _decoded(content), markdown=False)


def _read_markdown(name: str, content: bytes) -> Iterator[SearchDocument]:
    text = _decoded(content).replace("\r\n", "\n")
    values: object = {}
    if front := _FRONT_MATTER.match(text):
        try:
            values = yaml.safe_load(front[1])
        except yaml.YAMLError:
            values = {}  # the page is text all the same
    values = values if isinstance(values, dict) else {}
    dates = (day_of(values.get(key)) for key in ("date", "updated", "published", "last_updated"))
    title = str(values.get("title") or "")
    yield _document(name, clean_markdown(text), title=title, date=next(filter(None, dates), ""))


def _read_html(name: str, content: bytes) -> Iterator[SearchDocument]:
    page = _decoded(content)
    markdown = trafilatura.extract(page, output_format="markdown", include_tables=True, include_comments=False)
    if not markdown:
        raise Unreadable("no main text in the page")
    about = trafilatura.extract_metadata(page)
    title, date = (about.title or "", about.date or "") if about else ("", "")
    yield _document(name, markdown, title=title, date=day_of(date))


def _read_pdf(name: str, content: bytes) -> Iterator[SearchDocument]:
    reader = pypdf.PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("encrypted with a password")
    texts = [tidy(_clean(page.extract_text() or "")).strip() for page in reader.pages]
    if not any(texts):
        raise Unreadable("no text layer: pages are images; run it through OCR first")
    starts, at = [], 0
    for text in texts:
        starts.append(at)
        at += len(text) + (2 if text else 0)
    text = "\n\n".join(filter(None, texts))
    headings = tuple(_outline(reader, text, starts))
    about = reader.metadata
    title = plain(str((about.title if about else None) or (headings[0].text if headings else "")))
    made = about.creation_date_raw if about else None
    date = day_of(str(made).removeprefix("D:")[:8]) if made else ""
    stem = PurePosixPath(name)
    starts = [min(start, len(text)) for start in starts]
    yield SearchDocument(name, text, title or stem.stem, headings, tuple(starts), day_of(stem.name) or date)


def _outline(reader: pypdf.PdfReader, text: str, starts: list[int]) -> Iterator[Heading]:
    """The bookmarks whose words stand on the page that they point to, in the order of the text."""
    found: list[Heading] = []

    def walk(items: list, level: int) -> None:
        for item in items:
            if isinstance(item, list):
                walk(item, level + 1)
                continue
            title, number = plain(str(item.title or "")), reader.get_destination_page_number(item)
            if not title or number is None or not 0 <= number < len(starts):
                continue
            end = starts[number + 1] if number + 1 < len(starts) else len(text)
            words = r"\s*".join(map(re.escape, title.split()))
            match = re.compile(words).search(text, starts[number], end)
            if match:
                found.append(Heading(match.start(), level, title))

    walk(reader.outline, 1)
    yield from sorted(found, key=lambda heading: heading.start)


def _read_docx(name: str, content: bytes) -> Iterator[SearchDocument]:
    document = docx.Document(io.BytesIO(content))
    lines = [line for line in _blocks(document) if line]
    about = document.core_properties
    date = day_of(about.modified or about.created)
    titled = _document(name, "\n\n".join(lines), title=about.title or "")
    yield dataclasses.replace(titled, date=titled.date or date)


def _blocks(document: docx.document.Document) -> Iterator[str]:
    """Paragraphs and tables in the order of the document, headings and rows as Markdown writes them."""
    for element in document.element.body.iterchildren():
        if element.tag == qn("w:p"):
            paragraph = docx.text.paragraph.Paragraph(element, document)
            text, style = paragraph.text.strip(), paragraph.style.name if paragraph.style else ""
            match = _OUTLINE.match(style or "")
            level = 1 if style == "Title" else int(match[1]) if match else 0
            yield f"{'#' * min(level, 6)} {plain(text)}" if level and text else text
        elif element.tag == qn("w:tbl"):
            table = docx.table.Table(element, document)
            rows = [[plain(cell.text) for cell in row.cells] for row in table.rows]
            yield "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _read_hwpx(name: str, content: bytes) -> Iterator[SearchDocument]:
    document = hwpx.HwpxDocument.open(content)
    try:
        markdown = document.text.markdown(rich=True, detect_headings=True)
    finally:
        document.close()
    yield _document(name, markdown)


def _read_shard(name: str, content: bytes) -> Iterator[SearchDocument]:
    """The documents of ``axk1 data build``, or any JSON lines with a ``text``."""
    raw = gzip.decompress(content) if name.lower().endswith(".gz") else content
    for number, line in enumerate(io.BytesIO(raw), 1):
        if not line.strip():
            continue
        record = json.loads(line)
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise Unreadable(f'line {number} is no JSON object with a "text"')
        place = f"{name}#{record.get('id') or number}"
        text = record["text"]
        title = str(record.get("title") or text.strip().split("\n", 1)[0][:80])
        yield _document(place, text, title=title, date=day_of(record.get("date")))


READERS: dict[str, Callable[[str, bytes], Iterator[SearchDocument]]] = {
    ".docx": _read_docx,
    ".htm": _read_html,
    ".html": _read_html,
    ".hwpx": _read_hwpx,
    ".jsonl": _read_shard,
    ".jsonl.gz": _read_shard,
    ".markdown": _read_markdown,
    ".md": _read_markdown,
    ".pdf": _read_pdf,
    ".txt": _read_text,
}
"""What is read, by suffix."""
