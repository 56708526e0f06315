"""The code of the chunks: whatever numbers go in come out, and near as few bytes as their statistics allow."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from axk1.core.errors import ArtifactError
from axk1.distill.coding import _BITS, _FIRST, LARGEST, Layout, Statistics, split, token_order


@hypothesis.given(hnp.arrays(np.int32, st.integers(1, 50), elements=st.integers(0, LARGEST)))
def test_a_number_lies_in_its_class(numbers):
    classes = split(numbers)
    rest = numbers - _FIRST[classes]
    assert ((rest >= 0) & (rest < 1 << _BITS[classes])).all()


def test_classes_follow_each_other_without_gaps():
    assert np.array_equal(_FIRST[1:], _FIRST[:-1] + (1 << _BITS[:-1])) and _FIRST[-1] + (1 << _BITS[-1]) == LARGEST + 1


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    numbers=hnp.arrays(
        np.int32, st.tuples(st.integers(1, 30), st.just(5)),
        elements=st.one_of(st.integers(0, 3), st.integers(0, 500), st.integers(0, LARGEST)),
    ),
    cuts=st.lists(st.integers(0, 30), max_size=4),
)  # fmt: skip
def test_samples_come_back_from_their_own_bytes(numbers, cuts):
    layout = Layout((-1, -1, 1, 2, 1))  # columns 2 and 4 exist where column 1 is not zero, 3 where 2 is not
    for column, after in enumerate(layout.after):
        if after >= 0:
            numbers[:, column] *= numbers[:, after] > 0
    statistics = Statistics.of(layout, numbers)
    again = Statistics.from_bytes(layout, statistics.to_bytes())
    for piece in np.split(numbers, sorted(min(cut, len(numbers)) for cut in cuts)):
        content = statistics.encode(piece)
        assert np.array_equal(again.decode(content, len(piece)), piece)


def test_any_flipped_bit_of_a_head_is_found():
    layout = Layout((-1,))
    head = Statistics.of(layout, np.arange(40, dtype=np.int32)[:, None]).to_bytes()
    for bit in range(8 * len(head)):
        spoilt = bytearray(head)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ArtifactError, match="checksum"):
            Statistics.from_bytes(layout, bytes(spoilt))


def test_bytes_are_near_the_entropy():
    generator = np.random.default_rng(0)
    numbers = generator.geometric(0.2, (20_000, 2)).astype(np.int32) - 1
    probability = 0.2 * 0.8 ** np.arange(200)
    entropy = -(probability * np.log2(probability)).sum()
    bits = 8 * len(Statistics.of(Layout((-1, -1)), numbers).encode(numbers)) / numbers.size
    assert entropy * 0.98 < bits < entropy * 1.03


def test_tokens_are_ordered_by_frequency_then_by_id():
    assert token_order(np.array([0, 5, 2, 5, 0])).tolist() == [1, 3, 2, 0, 4]
