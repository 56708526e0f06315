"""Files -> documents: one function for each kind of file that a source may hold."""

import ast
import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow
import pyarrow.parquet

from axk1.core.errors import SourceError
from axk1.data.archives import Member
from axk1.data.document import Document
from axk1.data.markdown import clean_markdown
from axk1.data.restructuredtext import clean_restructuredtext
from axk1.data.sources import Source, template_fields

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u2060\ufeff\ud800-\udfff]")


def parse(members: Iterable[Member], source: Source) -> Iterator[Document]:
    """Documents from a source's files, by its parser; raises SourceError naming a file that cannot be read."""
    parser = "jsonl" if source.kind == "jsonl" else source.parser
    return _PARSERS[parser](members, source)


def document_of(source: Source, place: str, text: str, date: Any = None) -> Document:
    """A document of this source, its text in NFC without control characters; ``place`` tells where in it it lies."""
    text = _CONTROL.sub(_replacement, unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")))
    day = re.match(r"\d{4}-\d\d-\d\d", str(date or ""))
    return Document(
        id=f"{source.label}/{place}",
        text=text.strip(),
        source=source.label,
        licence=source.licence,
        language=source.language,
        date=day[0] if day else None,
    )


def _replacement(match: re.Match) -> str:
    return "\ufffd" if "\ud800" <= match[0] <= "\udfff" else ""  # half a surrogate pair is a broken character


def document_of_record(source: Source, record: Mapping[str, Any], place: str) -> Document:
    """A document from a record's fields, by the source's template. Raises SourceError when a field is missing."""
    for field in template_fields(source.template) or []:
        if field not in record:
            raise SourceError(
                f"{source.name}: the record {place} has no field {field!r}; it has {', '.join(map(str, record))}",
                repair='correct the source\'s template, for example template = "{text}"',
            )
    text = source.template.format_map({key: "" if value is None else value for key, value in record.items()})
    return document_of(source, str(record.get(source.id_key) or place), text, record.get(source.date_key))


def _parse_text(members: Iterable[Member], source: Source, clean: Callable[[str], str] = str) -> Iterator[Document]:
    for member in members:
        text = clean(member.file.read().decode("utf-8", "replace"))
        yield document_of(source, member.name, text)


def _parse_markdown(members: Iterable[Member], source: Source) -> Iterator[Document]:
    return _parse_text(members, source, clean_markdown)


def _parse_restructuredtext(members: Iterable[Member], source: Source) -> Iterator[Document]:
    return _parse_text(members, source, clean_restructuredtext)


def _parse_jsonl(members: Iterable[Member], source: Source) -> Iterator[Document]:
    """One JSON object per line, gzipped where the name ends in .gz; made into text by the source's template."""
    for member in members:
        number = 0
        try:
            lines = gzip.GzipFile(fileobj=member.file) if member.name.endswith(".gz") else member.file
            for number, line in enumerate(lines, 1):
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise ValueError(f"line {number} is no JSON object")
                    yield document_of_record(source, record, f"{member.name}#{number}")
        except (ValueError, TypeError, AttributeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(f"{source.name}: {member.name} is corrupt after line {number}: {error}") from None


def _parse_assembly_bills(members: Iterable[Member], source: Source) -> Iterator[Document]:
    """Korean National Assembly bills: the title, then why it is proposed; joined from two Parquet tables."""
    bills, texts = {}, {}
    for member in members:
        if member.name.endswith("bills.parquet"):
            bills = {row["BILL_ID"]: row for row in _rows(member, ["BILL_ID", "BILL_NO", "BILL_NAME", "PROPOSE_DT"])}
        elif member.name.endswith("bill_texts.parquet"):
            texts = {row["BILL_ID"]: row["propose_reason"] for row in _rows(member, ["BILL_ID", "propose_reason"])}
    if not bills or not texts:
        raise SourceError(f"{source.name}: the archive lacks bills.parquet or bill_texts.parquet")
    for key, bill in bills.items():
        if texts.get(key):
            text = f"{bill['BILL_NAME']}\n\n{texts[key]}"
            yield document_of(source, str(bill["BILL_NO"]), text, bill["PROPOSE_DT"])


def _parse_pythonbible(members: Iterable[Member], source: Source) -> Iterator[Document]:
    """A Bible as the pythonbible packages carry it, one document per chapter.

    The module is parsed, never run: ``Bible(version, text, starts, ends, short_titles, long_titles, ...)``, where the
    keys of ``starts`` are book x 1,000,000 + chapter x 1,000 + verse and its values offsets into the text.
    """
    for member in members:
        try:
            calls = [node for node in ast.walk(ast.parse(member.file.read())) if isinstance(node, ast.Call)]
            call = next(node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "Bible")
            text, starts = ast.literal_eval(call.args[1]), ast.literal_eval(call.args[2])
            titles = [ast.literal_eval(title) for title in call.args[5].values]
            chapters: dict[int, int] = {}
            for verse, start in sorted(starts.items()):
                chapters.setdefault(verse // 1000, start)
        except (SyntaxError, ValueError, IndexError, StopIteration, AttributeError, TypeError) as error:
            raise SourceError(f"{source.name}: {member.name} holds no Bible: {error!r}") from None
        ends = [*list(chapters.values())[1:], len(text)]
        for (number, start), end in zip(chapters.items(), ends, strict=True):
            title = f"{titles[number // 1000 - 1]} {number % 1000}"
            yield document_of(source, title, f"{title}\n\n{_clean_verses(text[start:end])}")


def _clean_verses(text: str) -> str:
    text = text.replace("`", "'").replace('""', '" "')
    text = re.sub(r"\[([^\[\]]*)\]", r"\1", text)  # words that the translators supplied
    return re.sub(r"\s+", " ", text).strip()


def _rows(member: Member, columns: list[str]) -> list[dict[str, Any]]:
    try:
        buffer = pyarrow.BufferReader(member.file.read())
        return pyarrow.parquet.read_table(buffer, columns=columns).to_pylist()
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise SourceError(f"{member.name} is not the Parquet table that was expected: {error}") from None


_PARSERS: dict[str, Callable[[Iterable[Member], Source], Iterator[Document]]] = {
    "text": _parse_text,
    "markdown": _parse_markdown,
    "restructuredtext": _parse_restructuredtext,
    "jsonl": _parse_jsonl,
    "assembly-bills": _parse_assembly_bills,
    "pythonbible": _parse_pythonbible,
}
