"""Files become documents."""

import gzip
import io
import json
import unicodedata

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.core.errors import SourceError
from axk1.data.archives import Member
from axk1.data.document import Document
from axk1.data.parsers import document_of, document_of_record, parse
from axk1.data.sources import Source

PINNED = {"kind": "sdist", "version": "1", "sha256": "0" * 64, "licence": "MIT", "attribution": "nobody"}


def source(parser: str, language: str = "en", **fields) -> Source:
    return Source(**PINNED | {"name": "demo", "parser": parser, "language": language} | fields)


def documents(members: dict[str, bytes], of: Source) -> list[Document]:
    return list(parse((Member(name, io.BytesIO(content)) for name, content in members.items()), of))


def parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


BILLS = [
    {"BILL_ID": "A", "BILL_NO": 7, "BILL_NAME": "국회법 일부개정법률안", "PROPOSE_DT": "2026-01-05", "COMMITTEE": "x"},
    {"BILL_ID": "B", "BILL_NO": 8, "BILL_NAME": "없는 글", "PROPOSE_DT": "2020-01-05", "COMMITTEE": None},
]
TEXTS = [{"BILL_ID": "B", "propose_reason": None}, {"BILL_ID": "A", "propose_reason": "제안이유\n현행법은 그러함."}]


def test_bills_join_title_reason_and_date():
    members = {"data/bills.parquet": parquet(BILLS), "data/bill_texts.parquet": parquet(TEXTS)}
    assert documents(members, source("assembly-bills", "ko")) == [
        Document("demo/7", "국회법 일부개정법률안\n\n제안이유\n현행법은 그러함.", "demo", "MIT", "ko", "2026-01-05")
    ]


@pytest.mark.parametrize(
    "members",
    [
        {"data/bills.parquet": parquet(BILLS)},
        {"data/bills.parquet": parquet(BILLS), "data/bill_texts.parquet": b"PAR1 no table"},
        {"data/bills.parquet": parquet(BILLS), "data/bill_texts.parquet": parquet([{"other": 1}])},
    ],
)
def test_bills_without_their_tables_are_an_error(members):
    with pytest.raises(SourceError, match=r"bill_texts\.parquet"):
        documents(members, source("assembly-bills", "ko"))


VERSES = 'In the beginning God`s [own] light. "Be holy still.""Behold!" Then more. Second book.'
STARTS = {1001001: 0, 1001002: VERSES.index("Be holy"), 1002001: VERSES.index("Then"), 2001001: VERSES.index("Second")}
BIBLE = f'''# generated
raise SystemExit("this module was run")
bible = Bible(
    Version.DEMO,
    """{VERSES}""",
    {STARTS},
    {{1001001: 1}},
    {{Book.GENESIS: "Gen", Book.EXODUS: "Exo"}},
    {{Book.GENESIS: "Genesis", Book.EXODUS: "Exodus"}},
    False,
)
'''


def test_a_bible_is_parsed_by_chapter_and_never_run():
    found = documents({"web/plain.py": BIBLE.encode()}, source("pythonbible"))
    assert [(document.id, document.text) for document in found] == [
        ("demo/Genesis 1", 'Genesis 1\n\nIn the beginning God\'s own light. "Be holy still." "Behold!"'),
        ("demo/Genesis 2", "Genesis 2\n\nThen more."),
        ("demo/Exodus 1", "Exodus 1\n\nSecond book."),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["print(1)", "Bible()", 'Bible(1, "a", {}, {})', "x = (", 'Bible(1, f"{y}", {1: z})']) | st.text()
)
def test_a_module_without_a_bible_is_an_error(module):
    with pytest.raises(SourceError, match="holds no Bible"):
        documents({"web/plain.py": module.encode("utf-8", "replace")}, source("pythonbible"))


def test_records_become_text_by_a_template():
    lines = b'{"q": "How?", "a": "So.", "id": "x1", "date": "2024-05-06T07:08"}\n\n{"q": null, "a": 3}\n'
    of = source("jsonl", template="{q}\n{a}")
    expected = [("demo/x1", "How?\nSo.", "2024-05-06"), ("demo/d/a.jsonl#3", "3", None)]
    for name, content in (("d/a.jsonl", lines), ("d/a.jsonl.gz", gzip.compress(lines))):
        found = [
            (document.id.removesuffix(".gz"), document.text, document.date)
            for document in documents({name: content}, of)
        ]
        assert [(i.replace(".gz", ""), t, d) for i, t, d in found] == expected


def test_a_missing_field_names_those_that_there_are():
    with pytest.raises(SourceError, match="has no field 'text'; it has body, id"):
        document_of_record(source("jsonl"), {"body": "x", "id": 1}, "a#1")


@pytest.mark.parametrize(
    "content", [b'{"text": "a"}\n{"text": ', b'{"text": "a"}\n[1]', b'{"text": "a"}\n\xff\xfe', b"\x1f"]
)
def test_corrupt_json_lines_name_file_and_line(content):
    with pytest.raises(SourceError, match=r"a\.jsonl is corrupt after line"):
        documents({"a.jsonl": content}, source("jsonl"))


def test_truncated_gzip_inside_an_archive_is_an_error():
    whole = gzip.compress(b'{"text": "some longer text that does not fit"}\n' * 50)
    with pytest.raises(SourceError, match=r"a\.jsonl\.gz is corrupt"):
        documents({"a.jsonl.gz": whole[:-20]}, source("jsonl"))


def test_undecodable_bytes_are_marked_not_dropped():
    (found,) = documents({"a.txt": b"ab\xffcd"}, source("text"))
    assert found.text == "ab\ufffdcd"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=200))
def test_any_text_is_normalised_and_can_be_written(text):
    found = document_of(source("text"), "x", text)
    assert found.bytes == len(found.text.encode("utf-8"))  # no half of a surrogate pair
    assert unicodedata.is_normalized("NFC", found.text)
    assert "\r" not in found.text
    assert document_of(source("text"), "x", found.text) == found


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(max_size=20) | st.integers() | st.none(), min_size=1
    )
)
def test_json_lines_round_trip_through_a_template_of_all_fields(record):
    of = source("jsonl", template="|".join(f"{{{key}}}" for key in record), id_key="ID", date_key="DATE")
    (found,) = documents({"a.jsonl": json.dumps(record).encode()}, of)
    plain = "|".join("" if value is None else str(value) for value in record.values())
    assert found == document_of(of, "a.jsonl#1", plain)
