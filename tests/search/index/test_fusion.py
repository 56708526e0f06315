"""Fusion of words and meaning: coverage is a share, each side alone keeps its order, noise is left to the vectors."""

import pytest
import tantivy
from hypothesis import given
from hypothesis import strategies as st

from axk1.search.index.fusion import Weights, fuse, most_possible

SCORES = st.dictionaries(st.integers(0, 30), st.floats(0.01, 40), max_size=20)
COSINES = st.dictionaries(st.integers(0, 30), st.floats(-1, 1), max_size=20)
WORDS = st.sampled_from("abcdef")


@given(SCORES, COSINES, st.floats(40, 100))
def test_every_candidate_comes_once_and_the_scores_fall(bm25, cosine, possible):
    found = fuse(bm25, cosine, possible=possible)
    assert {key for key, _ in found} == {*bm25, *cosine} and len(found) == len({*bm25, *cosine})
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)


@given(SCORES.filter(bool), COSINES.filter(bool))
def test_one_side_alone_keeps_its_order(bm25, cosine):
    for scores, found in ((bm25, fuse(bm25, {}, possible=50)), (cosine, fuse({}, cosine, possible=50))):
        assert [scores[key] for key, _ in found] == sorted(scores.values(), reverse=True)


def test_the_less_the_words_cover_the_more_the_vectors_decide():
    cosine = {"meant": 0.6, "worded": 0.2}
    covered = fuse({"worded": 20.0}, cosine, possible=40)
    assert covered[0] == ("worded", pytest.approx(0.85 * 0.5 + 0.15 * 0.2))
    strange = fuse({"worded": 2.0}, cosine, possible=40)
    assert [key for key, _ in strange] == ["meant", "worded"]
    assert strange[1][1] == pytest.approx(0.85 * 0.25 * 0.05 + (1 - 0.85 * 0.25) * 0.2)


def test_a_question_without_words_is_the_vectors_alone():
    assert fuse({}, {"a": 0.5}, possible=0.0) == [("a", 0.5)]
    assert fuse({"a": 1.0}, {"b": 0.5}, possible=10, weights=Weights(dense=0.0, covered=0.0))[0] == ("a", 0.1)


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=8), min_size=1, max_size=8), st.lists(WORDS, min_size=1, max_size=4)
)
def test_no_passage_of_tantivy_exceeds_what_is_possible(passages, question):
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name="whitespace")
    index = tantivy.Index(builder.build())
    writer = index.writer(15_000_000, num_threads=1)
    for words in passages:
        writer.add_document(tantivy.Document(text=[" ".join(words)]))
    writer.commit()
    index.reload()
    searcher = index.searcher()
    terms = [(tantivy.Occur.Should, tantivy.Query.term_query(index.schema, "text", word)) for word in question]
    hits = searcher.search(tantivy.Query.boolean_query(terms), 10).hits
    possible = most_possible([searcher.doc_freq("text", word) for word in question], searcher.num_docs)
    assert all(score < possible * 1.0001 for score, _ in hits)
