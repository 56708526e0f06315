"""Samples drawn by hash: uniform, within their limits, and the same in any order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from axk1.data.document import Document
from axk1.data.sampling import Sample, draw

SIZES = st.lists(st.integers(0, 50), max_size=40)


def make(sizes: list[int]) -> list[Document]:
    return [Document(f"d/{n}", "x" * size, "d", "l", "en") for n, size in enumerate(sizes)]


def sample(documents: list[Document], **limits) -> Sample:
    chosen = Sample(**limits)
    for document in documents:
        chosen.add(document, draw(document, "sample", 0))
    return chosen


@given(SIZES, st.integers(0, 600) | st.none(), st.integers(0, 30) | st.none(), st.randoms())
def test_it_is_the_longest_beginning_in_the_order_of_draws_whatever_the_order(sizes, max_bytes, max_documents, random):
    documents = make(sizes)
    expected, total = [], 0
    for document in sorted(documents, key=lambda d: draw(d, "sample", 0)):
        total += document.bytes
        over = max_bytes is not None and total > max_bytes
        if over or (max_documents is not None and len(expected) == max_documents):
            break
        expected.append(document)
    random.shuffle(documents)
    chosen = sample(documents, max_bytes=max_bytes, max_documents=max_documents)
    assert chosen.documents() == expected
    assert chosen.left_out_documents == len(documents) - len(expected)
    assert chosen.left_out_bytes == sum(sizes) - sum(document.bytes for document in expected)


def test_the_cap_takes_a_uniform_part():
    documents = make([10] * 20_000)
    taken = [int(document.id[2:]) for document in sample(documents, max_bytes=50_000).documents()]
    assert len(taken) == 5000
    assert abs(sum(taken) / len(taken) - 10_000) < 4 * 20_000 / 12**0.5 / len(taken) ** 0.5  # four standard errors
    assert sum(number < 10_000 for number in taken) in range(2300, 2700)


def test_draws_depend_on_id_purpose_and_seed_only():
    one = Document("a", "text", "s", "l", "en")
    same = Document("a", "other text", "t", "m", "ko", "2020-01-01")
    assert draw(one, "sample", 0) == draw(same, "sample", 0)
    others = {draw(one, "heldout", 0), draw(one, "sample", 1), draw(Document("b", "", "", "", ""), "sample", 0)}
    assert len(others | {draw(one, "sample", 0)}) == 4
    assert draw(one, "sample", 0) == 0.8692954338202801  # pinned: another value would change every corpus


def test_draws_are_uniform():
    numbers = sorted(draw(document, "heldout", random.Random(3).getrandbits(9)) for document in make([1] * 4000))
    assert max(abs(number - rank / 4000) for rank, number in enumerate(numbers)) < 0.04  # Kolmogorov-Smirnov
