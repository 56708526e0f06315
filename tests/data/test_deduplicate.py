"""Near-duplicates are found, distinct documents kept, and held-out text that training has seen is counted exactly."""

import random

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.core.errors import ConfigError
from axk1.data.deduplicate import DeduplicateConfig, HeldoutOverlap, NearDuplicates, shingle_hashes, signature
from axk1.data.document import Document

TEXTS = st.text(alphabet="ab 가나\n", max_size=120)


def shingles(text: str, length: int) -> set[str]:
    even = " ".join(text.split())
    length = max(1, min(length, len(even)))
    return {even[at : at + length] for at in range(len(even) - length + 1)} or {""}


def prose(seed: int, words: int = 150) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("가나다라마바사아자차카타파하", k=draw.randint(2, 5))) for _ in range(words)]


@settings(deadline=None)
@given(TEXTS, st.integers(1, 40))
def test_equal_shingles_have_equal_hashes_and_others_do_not(text, length):
    hashes = shingle_hashes(text, length)
    assert hashes.dtype == numpy.uint64
    assert len(set(hashes.tolist())) == len(shingles(text, length))


@settings(deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 12))
def test_common_shingles_are_those_of_the_texts(first, second, length):
    even = [" ".join(text.split()) for text in (first, second)]
    if min(map(len, even)) >= length:
        common = set(shingle_hashes(first, length).tolist()) & set(shingle_hashes(second, length).tolist())
        assert len(common) == len(shingles(first, length) & shingles(second, length))


@pytest.mark.parametrize("changed", [0, 2, 6, 15, 40])
@pytest.mark.parametrize("words", [30, 150, 3000])
def test_signatures_estimate_the_jaccard_similarity(changed, words):
    errors = []
    for seed in range(8):
        one = prose(seed, words)
        other = list(one)
        for at in random.Random(seed).sample(range(words), min(words, changed * words // 150)):
            other[at] = "바뀜"
        sets = shingles(" ".join(one), 30), shingles(" ".join(other), 30)
        exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        values = [signature(shingle_hashes(" ".join(text), 30)) for text in (one, other)]
        errors.append(float(numpy.mean(values[0] == values[1])) - exact)
    assert abs(sum(errors) / len(errors)) < 0.06  # one estimate has a standard error of at most 0.044


def found(texts: list[str], **fields) -> list[str | None]:
    near = NearDuplicates(DeduplicateConfig(**fields))
    return [near.add(Document(str(n), t, "s", "l", "ko"), shingle_hashes(t, 30)) for n, t in enumerate(texts)]


def test_near_duplicates_are_found_and_the_first_stays():
    one = prose(1)
    edited = [*one[:70], "고침", *one[71:]]
    spaced = "  \n".join(one)
    texts = [" ".join(one), " ".join(prose(2)), " ".join(edited), spaced, " ".join(one), " ".join(edited)]
    assert found(texts) == [None, None, "0", "0", "0", "0"]


def test_distinct_documents_are_kept():
    texts = [" ".join(prose(seed)) for seed in range(300)]
    assert found(texts) == [None] * 300


def test_a_shared_paragraph_makes_no_duplicate():
    common = prose(1, 60)
    texts = [" ".join([*common, *prose(seed, 120)]) for seed in range(2, 12)]
    assert found(texts) == [None] * 10


def test_nearly_all_duplicates_above_the_threshold_are_found():
    hits = 0
    for seed in range(100):
        one = prose(seed)
        other = [*one[:140], *prose(seed + 1000, 10)]  # similarity about 0.87
        hits += found([" ".join(one), " ".join(other)])[1] == "0"
    assert hits >= 97


@settings(deadline=None, max_examples=60)
@given(st.lists(TEXTS, max_size=5), st.lists(TEXTS, max_size=5))
def test_overlap_with_training_is_exact(heldout, training):
    overlap = HeldoutOverlap([shingle_hashes(text, 5) for text in heldout])
    for text in training:
        overlap.see(shingle_hashes(text, 5))
    seen = set().union(*[shingles(text, 5) for text in training])
    for text, share in zip(heldout, overlap.shares(), strict=True):
        even = " ".join(text.split())
        length = max(1, min(5, len(even)))
        windows = [even[at : at + length] for at in range(max(1, len(even) - length + 1))]
        assert share == pytest.approx(sum(window in seen for window in windows) / len(windows))


def test_limits_are_checked():
    with pytest.raises(ConfigError, match="max_heldout_overlap = 0 is not allowed"):
        DeduplicateConfig(max_heldout_overlap=0)
