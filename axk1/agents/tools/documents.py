"""Documents: DOCX, HWPX, PDF and XLSX are written, opened again and compared with what was to be written; all are read.

PDF is set by Typst from data, so no text is ever taken for markup.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import docx
import openpyxl
import pypdf
import typst
from hwpx import HwpxDocument
from pydantic import BaseModel, ConfigDict, Field

from axk1.agents.tool import Effect, Outcome, Tool, ToolContext, ToolRefusal, tool
from axk1.agents.tools.workspace import inside, put_back, replace_file

_LONGEST = 100_000
_SPACES = re.compile(r"\s+")
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FONTS = ("Noto Sans KR", "Noto Sans CJK KR", "NanumGothic", "NanumBarunGothic", "Malgun Gothic", "Apple SD Gothic Neo")
"""Families with Hangul, the first that is there is taken."""
_TYPST = """
#let data = json("data.json")
#set document(title: data.title)
#set page(paper: "a4", margin: 25mm, numbering: "1")
#set text(font: data.fonts, size: 11pt, lang: data.language)
#set par(leading: 0.9em, spacing: 1.2em)
#set table(stroke: 0.5pt, inset: 6pt)
#text(20pt, weight: "bold", data.title)
#for section in data.sections {
  if section.heading != "" { heading(level: 1, section.heading) }
  for paragraph in section.paragraphs { par(paragraph) }
}
#if data.rows.len() > 0 {
  table(columns: data.rows.first().len(), ..data.rows.flatten())
}
"""


class Section(BaseModel):
    """A heading and what stands under it."""

    model_config = ConfigDict(extra="forbid")
    heading: str = ""
    text: str = Field("", description="Paragraphs, with empty lines between them.")

    @property
    def paragraphs(self) -> list[str]:
        """The text in paragraphs."""
        return [part.strip() for part in re.split(r"\n\s*\n", self.text) if part.strip()]


class Sheet(BaseModel):
    """A sheet of a workbook."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=31, pattern=r"^[^\\/?*\[\]:]+$")]
    rows: list[list[str | float | int | None]]


Table = list[list[str]]


@tool(effect=Effect.WRITE, undo=put_back)
def write_document(
    context: ToolContext,
    path: str,
    format: Literal["docx", "hwpx", "pdf"],
    title: str,
    sections: list[Section],
    table: Table | None = None,
) -> Outcome:
    """Writes a document (Word, Hangul or PDF) with a title, sections and a table into the workspace."""
    rows = _even(table or [])
    texts = [
        title,
        *(part for one in sections for part in (one.heading, one.text)),
        *(cell for row in rows for cell in row),
    ]
    for text in texts:
        if _NO_XML.search(text):
            raise ToolRefusal("the text has control characters, which documents cannot hold")
    place = inside(context, path if path.lower().endswith(f".{format}") else f"{path}.{format}")
    write, read = _WRITERS[format], _READERS[f".{format}"]

    def written(made: Path) -> None:
        write(made, context, title, sections, rows)
        _require_all(texts, read(made), format)

    undo = replace_file(context, place, written)
    return Outcome({"path": undo["path"], "bytes": place.stat().st_size}, files=(undo["path"],), undo=undo)


@tool(effect=Effect.WRITE, undo=put_back)
def write_sheet(context: ToolContext, path: str, sheets: list[Sheet]) -> Outcome:
    """Writes a workbook (XLSX) into the workspace; a cell is a number or a text, formulas are written as text."""
    if not sheets or len({one.name.lower() for one in sheets}) < len(sheets):
        raise ToolRefusal("sheets needs one sheet or more, each with a name of its own")
    for text in (cell for one in sheets for row in one.rows for cell in row if isinstance(cell, str)):
        if _NO_XML.search(text) or len(text) > 32_767:
            raise ToolRefusal("a cell has control characters or more than 32,767 characters")
    place = inside(context, path if path.lower().endswith(".xlsx") else f"{path}.xlsx")
    undo = replace_file(context, place, lambda made: _write_xlsx(made, sheets))
    return Outcome({"path": undo["path"], "bytes": place.stat().st_size}, files=(undo["path"],), undo=undo)


@tool(effect=Effect.READ, untrusted=True)
def read_document(context: ToolContext, path: str) -> Outcome:
    """Reads the text of a document of the workspace: DOCX, HWPX, PDF or XLSX."""
    return Outcome(document_text(inside(context, path, there=True), path))


def document_text(place: Path, path: str) -> str:
    """The text of a document, or its beginning where it is long.

    Args:
        place: the file.
        path: what the person calls it.

    Raises:
        ToolRefusal: it is no document, or damaged.
    """
    read = _READERS.get(place.suffix.lower())
    if read is None:
        raise ToolRefusal(f"path = {path!r} is none of {', '.join(_READERS)}; read_file reads text")
    try:
        text = read(place)
    except Exception as error:  # four parsers, each with errors of its own
        raise ToolRefusal(f"path = {path!r} cannot be read: {error}") from None
    cut = len(text) - _LONGEST
    return text[:_LONGEST] + (f"\n[{cut} more characters]" if cut > 0 else "")


def _write_docx(made: Path, context: ToolContext, title: str, sections: Sequence[Section], rows: Table) -> None:
    document = docx.Document()
    document.core_properties.title = title[:255]
    document.core_properties.created = document.core_properties.modified = context.now.replace(tzinfo=None)
    document.add_heading(title, 0)
    for section in sections:
        if section.heading:
            document.add_heading(section.heading, 1)
        for paragraph in section.paragraphs:
            document.add_paragraph(paragraph)
    if rows:
        grid = document.add_table(len(rows), len(rows[0]), style="Table Grid")
        for row, cells in zip(grid.rows, rows, strict=True):
            for cell, text in zip(row.cells, cells, strict=True):
                cell.text = text
    document.save(str(made))


def _write_hwpx(made: Path, _: ToolContext, title: str, sections: Sequence[Section], rows: Table) -> None:
    document = HwpxDocument.new()
    document.add_heading(title, 1)
    for section in sections:
        if section.heading:
            document.add_heading(section.heading, 2)
        for paragraph in section.paragraphs:
            for line in paragraph.splitlines():
                document.add_paragraph(line)
    if rows:
        grid = document.add_table(len(rows), len(rows[0]))
        for row, cells in enumerate(rows):
            for column, text in enumerate(cells):
                grid.set_cell_text(row, column, text)
    document.save_to_path(str(made))


def _write_pdf(made: Path, context: ToolContext, title: str, sections: Sequence[Section], rows: Table) -> None:
    there = set(typst.Fonts().families())
    fonts = [family for family in _FONTS if family in there]
    if not fonts and any("가" <= letter <= "힣" for letter in title + "".join(one.text for one in sections)):
        raise ToolRefusal("there is no font with Hangul for the PDF; install one, such as fonts-nanum")
    data = {
        "title": title,
        "language": context.language,
        "fonts": fonts,
        "sections": [{"heading": one.heading, "paragraphs": one.paragraphs} for one in sections],
        "rows": rows,
    }
    files = {"main": _TYPST.encode(), "data.json": json.dumps(data, ensure_ascii=False).encode()}
    try:
        typst.compile(files, output=str(made), format="pdf")
    except typst.TypstError as error:
        raise ToolRefusal(f"the PDF could not be set: {error}") from None


def _write_xlsx(made: Path, sheets: Sequence[Sheet]) -> None:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for one in sheets:
        sheet = book.create_sheet(one.name)
        for row, cells in enumerate(one.rows, 1):
            for column, value in enumerate(cells, 1):
                cell = sheet.cell(row, column)
                cell.value = value
                if isinstance(value, str):
                    cell.data_type = "s"  # whatever it begins with
    book.save(made)
    again = openpyxl.load_workbook(made)
    for one in sheets:
        for row, cells in enumerate(one.rows, 1):
            for column, value in enumerate(cells, 1):
                if (again[one.name].cell(row, column).value or None) != (value or None):
                    raise ToolRefusal(f"cell {row}, {column} of {one.name} was not written as it is")


def _read_docx(place: Path) -> str:
    document = docx.Document(str(place))
    cells = (cell.text for table in document.tables for row in table.rows for cell in row.cells)
    return "\n".join([*(paragraph.text for paragraph in document.paragraphs), *cells])


def _read_hwpx(place: Path) -> str:
    return HwpxDocument.open(str(place)).text.plain()


def _read_pdf(place: Path) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(place).pages)


def _read_xlsx(place: Path) -> str:
    book = openpyxl.load_workbook(place, read_only=True, data_only=True)
    lines = []
    for sheet in book.worksheets:
        lines.append(f"# {sheet.title}")
        lines += [
            "\t".join("" if value is None else str(value) for value in row) for row in sheet.iter_rows(values_only=True)
        ]
    return "\n".join(lines)


_WRITERS: dict[str, Callable[..., None]] = {"docx": _write_docx, "hwpx": _write_hwpx, "pdf": _write_pdf}
_READERS: dict[str, Callable[[Path], str]] = {
    ".docx": _read_docx,
    ".hwpx": _read_hwpx,
    ".pdf": _read_pdf,
    ".xlsx": _read_xlsx,
}


def _even(rows: Table) -> Table:
    """Rows of one length."""
    width = max((len(row) for row in rows), default=0)
    return [[*row, *[""] * (width - len(row))] for row in rows] if width else []


def _require_all(texts: Sequence[str], found: str, format: str) -> None:
    """Raises ToolRefusal where the written document does not say what it should: a font without Hangul, say."""
    squeezed = _SPACES.sub("", found)
    for text in texts:
        for line in text.splitlines():
            if _SPACES.sub("", line) not in squeezed:
                raise ToolRefusal(
                    f"the {format} does not hold {line[:60]!r} as it was to be written: a letter that no font has?"
                )


def document_tools() -> list[Tool]:
    """The tools of this file."""
    return [write_document, write_sheet, read_document]
