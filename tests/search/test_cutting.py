"""Passages are exact, in order, within sections, and hold all the words of a document."""

from hypothesis import given
from hypothesis import strategies as st

from axk1.search.documents.document import SearchDocument, article_headings, markdown_headings
from axk1.search.index.cutting import cut
from axk1.search.index.store import Store

LINES = st.sampled_from(
    ["# 제목", "## Heading two", "문장입니다. 다음 문장은 조금 더 깁니다!", "", "word " * 60, "가" * 700, "   ", "끝."]
)
TEXTS = st.lists(st.one_of(LINES, st.text(max_size=80)), max_size=30).map(lambda lines: "\n".join(lines).strip())


def document_of(text: str) -> SearchDocument:
    return SearchDocument("a.md", text, "a", markdown_headings(text))


@given(TEXTS, st.integers(200, 1200))
def test_spans_hold_every_word_once_and_none_is_too_long(text, most):
    spans = list(cut(document_of(text), most))
    assert all(0 <= start < end <= len(text) and end - start <= most for start, end in spans)
    assert all(text[start:end] == text[start:end].strip() for start, end in spans)
    between = [0, *(place for span in spans for place in span), len(text)]
    gaps = [text[between[i] : between[i + 1]] for i in range(0, len(between), 2)]
    assert all(not gap.strip() for gap in gaps)


@given(TEXTS)
def test_no_passage_reaches_into_the_next_section(text):
    document = document_of(text)
    for start, end in cut(document):
        places = [heading.start for heading in document.headings if start < heading.start < end]
        for before, after in zip([start, *places], places, strict=False):
            assert not "".join(text[before:after].split("\n")[1:]).strip()  # nothing but headings before the last
            assert before == start or text[before] == "#"


@given(texts=st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
def test_the_store_gives_back_the_text_and_the_passages_of_it(tmp_path_factory, texts):
    store = Store(tmp_path_factory.mktemp("store"), writes=True)
    with store:
        for number, text in enumerate(texts):
            document = SearchDocument(f"{number}.md", text, "", markdown_headings(text))
            store.put_document("file", document, document.content_hash, list(cut(document)))
    found = store.passages_after(0, 10_000)
    for _, passage in found:
        text = store.document_text(passage.document)
        assert text == texts[int(passage.document[:-3])]
        assert text[passage.start : passage.end] == passage.text and store.passage(passage.id) == passage
    assert len({passage.id for _, passage in found}) == len(found)


def test_articles_of_korean_rules_are_sections():
    text = "규정\n제1장 총칙\n제1조(목적) 이 규정은 기준을 정한다.\n제2조의2(정의) 뜻은 다음과 같다.\n제1조에 따른다."
    document = SearchDocument("a", text, "", article_headings(text))
    assert document.section(text.index("뜻은")) == "제1장 총칙 > 제2조의2(정의)" == document.section(len(text))
    assert document.section(text.index("기준")) == "제1장 총칙 > 제1조(목적)"


def test_long_sections_are_cut_evenly_at_the_ends_of_sentences():
    text = "# 장\n\n" + "이 조항은 연구개발비의 사용 기준을 정한다. " * 90
    document = document_of(text.strip())
    lengths = [end - start for start, end in cut(document)]
    assert min(lengths) >= 600 and max(lengths) <= 1000
    assert all(document.text[start:end].endswith(".") for start, end in cut(document))
    assert {document.section(start) for start, _ in cut(document)} == {"장"}
