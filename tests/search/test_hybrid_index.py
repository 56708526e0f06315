"""Vectors: made once, forgotten with their passages, compared within bounds; an index knows whose they are."""

import numpy as np
import pytest
from small_encoder import Triples

from axk1.core.errors import ArtifactError
from axk1.search.build import BuildConfig, build
from axk1.search.documents.sources import Source
from axk1.search.index.deriving import searchable
from axk1.search.index.fusion import Weights
from axk1.search.index.index import Index
from axk1.search.index.store import Store
from axk1.search.retriever import Bounds

NAMES = [f"{2000 + number % 20}-01-01 letter {number:03}.txt" for number in range(300)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hybrid")
    (folder / "pages").mkdir()
    words = np.random.default_rng(0).integers(0, 200, (300, 12))
    for name, row in zip(NAMES, words, strict=True):
        (folder / "pages" / name).write_text(" ".join(f"term{word:03}x" for word in row))
    return folder


def config_of(folder, **values):
    return BuildConfig(folder / "index", (Source(folder / "pages"),), threads=1, **values)


def by_hand(folder, encoder: Triples, question: str, bounds: Bounds) -> list[str]:
    """Documents by exact cosine, best first."""
    passages = [passage for _, passage in Store(folder).passages_after(0, 1000) if inside(passage, bounds)]
    cosines = encoder.encode([searchable(passage) for passage in passages]) @ encoder.encode([question])[0]
    return [passages[place].document for place in np.argsort(-cosines, kind="stable")]


def inside(passage, bounds: Bounds) -> bool:
    days = (bounds.since or "0") <= passage.date <= (bounds.until or "9")
    return days and (not bounds.documents or passage.document.startswith(bounds.documents))


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(),
        Bounds(since="2003-01-01", until="2011-06-01"),
        Bounds(documents=("pages/2005", "pages/2007")),
        Bounds(since="2005-01-01", documents=("pages/2005-01-01 letter 005",)),
    ],
)
@pytest.mark.parametrize("precision", ["f16", "i8"])
def test_dense_search_is_that_of_exact_cosines(pages, bounds, precision):
    encoder = Triples()
    build(config_of(pages, precision=precision), encoder=encoder)
    alone = Index.open(pages / "index", encoder=encoder, weights=Weights(dense=1.0))
    question = "term005x term007x term150x"
    found = [hit.passage.document for hit in alone.search(question, bounds=bounds)]
    wanted = by_hand(pages / "index", encoder, question, bounds)[:10]
    assert len(set(found) & set(wanted)) >= len(wanted) - (precision == "i8") and found[0] == wanted[0]


def test_an_unchanged_passage_is_encoded_once_and_a_gone_one_is_not_found(pages):
    encoder = Triples()
    build(config_of(pages), encoder=encoder)
    encoder.encoded = 0
    gone = pages / "pages" / NAMES[7]
    text = gone.read_text()
    gone.unlink()
    (pages / "pages" / "2020-01-01 new.txt").write_text("quite another letter")
    index = Index.open(build(config_of(pages), encoder=encoder), encoder=encoder)
    assert encoder.encoded == 1
    assert f"pages/{NAMES[7]}" not in {hit.passage.document for hit in index.search(text, limit=400)}
    assert index.search("another letter")[0].passage.document == "pages/2020-01-01 new.txt"
    gone.write_text(text)
    build(config_of(pages), encoder=encoder)
    assert index.search(text)[0].passage.document == f"pages/{NAMES[7]}"


def test_an_index_refuses_another_encoder_and_can_do_without(pages):
    build(config_of(pages), encoder=Triples())
    with pytest.raises(ArtifactError, match=r"triples.*not of other"):
        Index.open(pages / "index", encoder=Triples("other"))
    with pytest.raises(ArtifactError, match="holds vectors of triples"):
        Index.open(pages / "index")
    hit = Index.open(pages / "index", vectors=False).search("term005x")[0]
    assert [name for name, _ in hit.ranks] == ["bm25"]
