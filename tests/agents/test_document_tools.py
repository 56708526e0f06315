"""Documents are written, opened by other programs and compared; nothing in a text is ever markup."""

import zipfile
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import docx
import openpyxl
import pypdf
import pytest
import typst
from hwpx import HwpxDocument, validate_package
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axk1.agents.tool import ToolContext, ToolRefusal
from axk1.agents.tools.documents import Section, Sheet, read_document, write_document, write_sheet
from axk1.agents.tools.workspace import put_back

NOW = datetime(2026, 11, 23, 9, tzinfo=ZoneInfo("Asia/Seoul"))
HANGUL = any("Nanum" in family or "KR" in family for family in typst.Fonts().families())
FORMATS = ["docx", "hwpx", "pdf"]
# Letters that every Latin font has, and everything that means something to a format.
TEXTS = st.text(st.sampled_from("abc XYZ019#$*_`<>&\"'\\/[]{}()@~^=+-%;:!?,."), min_size=1, max_size=40).filter(
    str.strip
)


def context(folder: Path, call: int = 1) -> ToolContext:
    return ToolContext(folder, f"run:{call}", NOW, "ko")


def write(folder: Path, format: str, call: int = 1, **changes):
    fields = {"path": f"보고/plan.{format}", "format": format, "title": "Plan", "sections": [Section(text="one")]}
    return write_document.function(context(folder, call), **{**fields, **changes})


def text_of(place: Path) -> str:
    """What another program finds in it."""
    if place.suffix == ".docx":
        document = docx.Document(str(place))
        cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
        return "\n".join([*(one.text for one in document.paragraphs), *cells])
    if place.suffix == ".hwpx":
        return HwpxDocument.open(str(place)).text.plain()
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(place).pages)


@pytest.mark.parametrize("format", FORMATS)
def test_korean_documents_with_a_table(tmp_path, format):
    if format == "pdf" and not HANGUL:
        pytest.skip("no font with Hangul is installed (fonts-nanum)")
    sections = [Section(heading="배경", text="첫 문단이다.\n둘째 줄.\n\n둘째 문단."), Section(heading="예산")]
    outcome = write(tmp_path, format, title="2026년 사업 계획", sections=sections, table=[["항목", "금액"], ["인건비"]])
    assert outcome.files == (f"보고/plan.{format}",)
    found = text_of(tmp_path / outcome.files[0])
    for part in ("2026년 사업 계획", "배경", "첫 문단이다.", "둘째 문단.", "예산", "항목", "금액", "인건비"):
        assert part in found
    assert "인건비" in read_document.function(context(tmp_path), path=outcome.files[0]).content
    if format == "hwpx":
        assert not [one for one in validate_package(tmp_path / outcome.files[0]).issues if one.level == "error"]


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=TEXTS, heading=TEXTS, text=TEXTS, cell=TEXTS)
def test_whatever_stands_in_a_text_is_text(tmp_path, format, title, heading, text, cell):
    sections = [Section(heading=heading, text=text)]
    outcome = write(tmp_path, format, title=title, sections=sections, table=[[cell, ""]])
    found = "".join(text_of(tmp_path / outcome.files[0]).split())
    for part in (title, heading, text, cell):
        assert "".join(part.split()) in found


@pytest.mark.parametrize("format", FORMATS)
def test_a_second_writing_is_taken_back(tmp_path, format):
    first = write(tmp_path, format)
    before = (tmp_path / first.files[0]).read_bytes()
    second = write(tmp_path, format, call=2, title="Another plan")
    assert "Another" in text_of(tmp_path / first.files[0])
    put_back(context(tmp_path, 3), second.undo)
    assert (tmp_path / first.files[0]).read_bytes() == before
    put_back(context(tmp_path, 4), first.undo)
    assert not (tmp_path / first.files[0]).exists()


def test_what_somebody_has_changed_since_is_left(tmp_path):
    outcome = write(tmp_path, "docx")
    (tmp_path / outcome.files[0]).write_bytes(b"mine")
    with pytest.raises(ToolRefusal, match="changed since"):
        put_back(context(tmp_path, 2), outcome.undo)


def test_a_workbook_holds_numbers_and_texts_and_runs_no_formula(tmp_path):
    rows = [["항목", 1.5, None], ["=HYPERLINK(1)", -3, "+82-10"]]
    outcome = write_sheet.function(context(tmp_path), path="예산", sheets=[Sheet(name="1월", rows=rows)])
    sheet = openpyxl.load_workbook(tmp_path / "예산.xlsx")["1월"]
    assert [[cell.value for cell in row] for row in sheet.iter_rows()] == rows
    with zipfile.ZipFile(tmp_path / "예산.xlsx") as archive:
        assert b"<f>" not in archive.read("xl/worksheets/sheet1.xml")
    assert "HYPERLINK" in read_document.function(context(tmp_path), path=outcome.files[0]).content


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"title": "a\x07b"}, "control characters"),
        ({"path": "../plan.docx"}, "leads out"),
        ({"path": ".history/plan.docx"}, "kept for the runs"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, changes, said):
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ToolRefusal, match=said):
        write(work, "docx", **changes)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_no_document_says_so(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"no pdf")
    (tmp_path / "a.txt").write_text("text")
    for path, said in [("a.pdf", "cannot be read"), ("a.txt", "none of"), ("b.docx", "does not exist")]:
        with pytest.raises(ToolRefusal, match=said):
            read_document.function(context(tmp_path), path=path)
