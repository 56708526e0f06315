"""Each kind of file gives its text, headings, pages, title and date; damaged ones give a reason."""

import datetime
import gzip
import io
import json
import zipfile

import docx
import hwpx
import pypdf
import pytest
import typst
from hypothesis import given
from hypothesis import strategies as st

from axk1.data.document import Document, write_documents
from axk1.guard import find_personal, redact
from axk1.search.documents.dates import day_of
from axk1.search.documents.document import SearchDocument, markdown_headings
from axk1.search.documents.masked import masked
from axk1.search.documents.readers import READERS, Unreadable, read


def only(name: str, content: bytes):
    (document,) = read(name, content)
    return document


def pdf(source: str) -> bytes:
    return typst.compile(source.encode())


@given(st.lists(st.sampled_from(["# A\n", "010-1234-5678", " kim@example.kr ", "words ", "# 010-9999-8888\n", "\n"])))
def test_masking_leaves_headings_and_pages_where_their_text_is(parts):
    text = "".join(parts)
    starts = [sum(map(len, parts[:number])) for number in range(len(parts))]
    document = SearchDocument("a.md", text, headings=markdown_headings(text), pages=tuple(starts))
    hidden = masked(document)
    assert not find_personal(hidden.text) and len(hidden.headings) == len(document.headings)
    for before, after in zip(document.headings, hidden.headings, strict=True):
        assert hidden.text[after.start :].startswith("# ") and redact(before.text)[0] == after.text
    assert list(hidden.pages) == sorted(hidden.pages) and all(0 <= page <= len(hidden.text) for page in hidden.pages)


def test_pdf_has_pages_bookmarks_and_its_own_title(tmp_path):
    path = tmp_path / "a.typ"
    path.write_text(
        '#set document(title: "Annual report", date: datetime(year: 2025, month: 3, day: 4))\n'
        "= Money\nThe budget grew by seven percent.\n#pagebreak()\n== People\nForty researchers joined.\n",
        encoding="utf-8",
    )
    document = only("report.pdf", typst.compile(str(path)))
    assert (document.title, document.date, len(document.pages)) == ("Annual report", "2025-03-04", 2)
    assert document.page(document.text.index("budget")) == 1 and document.page(document.text.index("Forty")) == 2
    assert document.section(document.text.index("Forty")) == "Money > People"


def test_pdf_without_text_or_with_a_password_says_so():
    writer = pypdf.PdfWriter()
    writer.add_blank_page(100, 100)
    blank = io.BytesIO()
    writer.write(blank)
    with pytest.raises(Unreadable, match="OCR"):
        only("scan.pdf", blank.getvalue())
    writer.encrypt("secret", algorithm="RC4-128")
    locked = io.BytesIO()
    writer.write(locked)
    with pytest.raises(Unreadable, match="password"):
        only("locked.pdf", locked.getvalue())


def test_docx_keeps_headings_tables_and_their_order():
    made = docx.Document()
    made.core_properties.title, made.core_properties.modified = "규정집", datetime.datetime(2024, 5, 6)
    made.add_heading("제1장 총칙", 1)
    made.add_paragraph("이 규정은 연구개발비를 정한다.")
    table = made.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "인건비", "100"
    made.add_heading("제1조 목적", 2)
    made.add_paragraph("끝 문장.")
    content = io.BytesIO()
    made.save(content)
    document = only("a/규정.docx", content.getvalue())
    assert (document.title, document.date) == ("규정집", "2024-05-06")
    assert document.text.index("정한다") < document.text.index("| 인건비 | 100 |") < document.text.index("끝 문장")
    assert document.section(document.text.index("끝")) == "제1장 총칙 > 제1조 목적"


def test_hwpx_gives_paragraphs_headings_and_tables():
    made = hwpx.HwpxDocument.new()
    made.add_heading("제1장 총칙", level=1)
    made.add_paragraph("이 규정은 연구개발비의 사용에 관한 사항을 정한다.")
    made.add_table(1, 2).set_cell_text(0, 0, "인건비")
    document = only("2023-02-01 규정.hwpx", made.to_bytes())
    assert "사항을 정한다." in document.text and "인건비" in document.text
    assert document.section(document.text.index("사항")) == "제1장 총칙" and document.date == "2023-02-01"


def test_html_loses_its_menu_and_keeps_its_headings():
    words = "<p>" + "The archive keeps letters of the botanist for a hundred years. " * 4 + "</p>"
    page = (
        "<html><head><title>Archive</title><meta property='article:published_time' content='2022-07-08'></head><body>"
        f"<nav><a href='/x'>Menu item</a></nav><article><h1>Archive</h1>{words}<h2>Letters</h2>{words}</article></body>"
    )
    document = only("page.html", page.encode())
    assert "botanist" in document.text and "Menu item" not in document.text
    assert document.section(len(document.text) - 5) == "Archive > Letters" and document.date == "2022-07-08"


def test_markdown_front_matter_text_and_old_korean_files():
    page = only("a.md", "---\ntitle: 안내서\ndate: 2026-01-02\n---\n# 첫째\n\n```\n# no heading\n```\n".encode())
    assert (page.title, page.date, [heading.text for heading in page.headings]) == ("안내서", "2026-01-02", ["첫째"])
    assert only("옛글_20210304.txt", "한글 문서".encode("cp949")).text == "한글 문서"
    assert only("옛글_20210304.txt", "한글 문서".encode("cp949")).date == "2021-03-04"
    with pytest.raises(Unreadable, match="binary"):
        only("a.txt", b"\x00\x01\x02")


def test_shards_of_data_build_are_many_documents(tmp_path):
    write_documents(
        tmp_path / "t.gz", [Document(f"s/{n}", f"글 {n}", "s", "MIT", "ko", "2020-01-01") for n in range(3)]
    )
    documents = list(read("d/train.jsonl.gz", (tmp_path / "t.gz").read_bytes()))
    assert [(each.name, each.text, each.date) for each in documents][2] == (
        "d/train.jsonl.gz#s/2",
        "글 2",
        "2020-01-01",
    )
    with pytest.raises(Unreadable, match="line 1"):
        list(read("a.jsonl", json.dumps({"words": "no text"}).encode()))


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=300))
def test_damaged_files_give_a_reason_and_nothing_else(kind, content):
    for damaged in (content, b"PK\x03\x04" + content, b"%PDF-1.7\n" + content, gzip.compress(content)[:-3]):
        try:
            assert all(document.text for document in read(f"a{kind}", damaged))
        except Unreadable as error:
            assert str(error)


def test_a_zip_that_is_no_document_gives_a_reason():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("word/document.xml", "<broken")
    for kind in (".docx", ".hwpx"):
        with pytest.raises(Unreadable):
            only(f"a{kind}", content.getvalue())


@given(st.dates(min_value=datetime.date(1900, 1, 1), max_value=datetime.date(2099, 12, 31)))
def test_days_are_found_as_people_write_them(day):
    for form in ("%Y-%m-%d", "%Y%m%d", "%Y.%m.%d", "%Y_%m_%d", "report %Y-%m-%d final", "%Y년 %m월 %d일"):
        assert day_of(day.strftime(form)) == day.isoformat()
    assert day_of(day) == day.isoformat() and day_of("20241399") == "" and day_of(f"1{day:%Y%m%d}9") == ""
