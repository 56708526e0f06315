"""Bin packing by lengths: everything is packed once, nothing overflows, little is wasted."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from axk1.data.best_fit import count_rows, pack


@given(st.integers(1, 300).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(1, w), max_size=400))))
def test_every_sample_once_and_no_row_too_full(case: tuple[int, list[int]]) -> None:
    width, lengths = case
    pattern = pack(np.array(lengths, np.int32), width)
    assert sorted(pattern.lengths.tolist()) == sorted(lengths)
    assert pattern.rows == count_rows(np.array(lengths, np.int32), width)
    assert pattern.begins[0] == 0 and pattern.begins[-1] == len(lengths)
    sums = [int(pattern.lengths[a:b].sum()) for a, b in zip(pattern.begins, pattern.begins[1:], strict=False)]
    assert all(0 < total <= width for total in sums)
    # No two rows would fit into one, as in every packing that opens a row only when it must.
    assert sum(total <= width // 2 for total in sums) <= 1


@given(st.permutations([1, 1, 2, 3, 5, 8, 13, 21]))
def test_the_order_does_not_matter(lengths: list[int]) -> None:
    first, second = pack(np.array(lengths), 21), pack(np.array([1, 1, 2, 3, 5, 8, 13, 21]), 21)
    assert first.lengths.tolist() == second.lengths.tolist() and first.begins.tolist() == second.begins.tolist()


def test_exact_fits() -> None:
    pattern = pack(np.array([6, 4, 7, 3, 2, 8, 10]), 10)
    assert pattern.rows == 4


@pytest.mark.parametrize("width", [512, 4096])
def test_fill_rate_of_texts(width: int) -> None:
    lengths = np.minimum(width, np.random.default_rng(0).lognormal(6, 1.2, 20_000).astype(int) + 2)
    pattern = pack(lengths, width)
    assert lengths.sum() / (pattern.rows * width) > 0.99


def test_nothing() -> None:
    assert pack(np.zeros(0, np.int32), 8).rows == 0
