"""The index finds what was indexed, within bounds, and follows what becomes of the files."""

from pathlib import Path

import pytest

from axk1.core.errors import AXK1Error
from axk1.search.build import BuildConfig, build
from axk1.search.documents.sources import Source
from axk1.search.index.index import Index
from axk1.search.retriever import Bounds

PAGES = {
    "법/연구개발혁신법-2021-01-01.md": "# 국가연구개발혁신법\n\n## 연구개발비\n\n연구개발비는 목적에 맞게 사용한다.\n",
    "법/연금법-2024-05-02.md": "# 국민연금법\n\n## 급여\n\n노령연금은 60세가 된 때부터 그가 생존하는 동안 지급한다.\n",
    "guide.txt": "Students learn from cached distributions of their teacher.\n\nPolicies were running for weeks.",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in PAGES.items():
        path = tmp_path / "pages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def config_of(folder: Path, **values: object) -> BuildConfig:
    return BuildConfig(folder / "index", (Source(folder / "pages"),), threads=1, **values)


def names(index: Index, question: str, **options: object) -> list[str]:
    return [hit.passage.document for hit in index.search(question, **options)]


def test_words_of_other_forms_find_a_passage(folder):
    with_index = Index.open(build(config_of(folder)))
    assert names(with_index, "연구비는 어떤 목적으로 사용할 수 있나요?")[0].startswith("pages/법/연구")
    assert names(with_index, "running policy") == ["pages/guide.txt"]
    hit = with_index.search("노령연금을 언제부터 지급하나")[0]
    assert (hit.passage.section, hit.passage.date) == ("국민연금법 > 급여", "2024-05-02")
    assert hit.passage.title == "국민연금법" and hit.ranks == (("bm25", 1),)
    text = with_index.document_text(hit.passage.document)
    assert text[hit.passage.start : hit.passage.end] == hit.passage.text
    assert with_index.passage(hit.passage.id) == hit.passage and with_index.passage("none") is None


def test_bounds_hold(folder):
    index = Index.open(build(config_of(folder)))
    question = "연금 연구개발비 policies 지급 사용"
    assert len(names(index, question)) == 3
    assert names(index, question, bounds=Bounds(since="2024-05-02")) == ["pages/법/연금법-2024-05-02.md"]
    assert names(index, question, bounds=Bounds(until="2024-05-01")) == ["pages/법/연구개발혁신법-2021-01-01.md"]
    assert names(index, question, bounds=Bounds(documents=("pages/gui",))) == ["pages/guide.txt"]
    both = Bounds(documents=("nowhere", "pages/법/연금"))
    assert names(index, question, bounds=both) == ["pages/법/연금법-2024-05-02.md"]
    with pytest.raises(AXK1Error, match="since = 'May'"):
        index.search("연금", bounds=Bounds(since="May"))


def test_a_reader_follows_changes(folder):
    index = Index.open(build(config_of(folder)))
    (folder / "pages/guide.txt").unlink()
    (folder / "pages/법/연금법-2024-05-02.md").write_text("# 국민연금법\n\n장애연금을 지급한다.", encoding="utf-8")
    (folder / "pages/new.md").write_text("# 새 문서\n\n펭귄은 남극에 산다.", encoding="utf-8")
    build(config_of(folder))
    assert names(index, "running policies") == []
    assert names(index, "펭귄이 사는 곳") == ["pages/new.md"]
    assert names(index, "노령연금") != [] and "노령연금" not in index.document_text("pages/법/연금법-2024-05-02.md")
    assert len(list(index.documents())) == 3 == len(index)
