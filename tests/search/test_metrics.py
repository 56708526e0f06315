"""Measures of rankings: cases by hand, what always holds, and intervals beside those of the normal distribution."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.search.metrics import bootstrap_interval, ndcg, recall, reciprocal_rank

RANKINGS = st.permutations(range(15))
RELEVANT = st.sets(st.integers(0, 20), min_size=1)


@pytest.mark.parametrize(
    ("relevant", "rr", "share", "gain"),
    [
        ({"a"}, 1, 1, 1),
        ({"c"}, 1 / 3, 1, 0.5),  # 1 / log2(4)
        ({"x"}, 0, 0, 0),
        ({"b", "d"}, 1 / 2, 1, (0.63093 + 0.43068) / (1 + 0.63093)),
        ({"a", "x", "y"}, 1, 1 / 3, 1 / (1 + 0.63093 + 0.5)),
        ({"e"}, 0, 0, 0),  # at place 5, behind the depth
    ],
)
def test_cases_done_by_hand(relevant, rr, share, gain):
    ranking = ["a", "b", "c", "d", "e"]
    assert reciprocal_rank(ranking, relevant, depth=4) == pytest.approx(rr)
    assert recall(ranking, relevant, depth=4) == pytest.approx(share)
    assert ndcg(ranking, relevant, depth=4) == pytest.approx(gain, abs=1e-5)


@given(RANKINGS, RELEVANT)
def test_the_measures_agree_with_sums_over_matrices(ranking, relevant):
    gains = np.isin(ranking[:10], list(relevant))
    discounts = 1 / np.log2(np.arange(2, 12))
    best = np.sort(np.arange(10) < len(relevant))[::-1] @ discounts
    assert ndcg(ranking, relevant) == pytest.approx(gains @ discounts / best)
    assert recall(ranking, relevant) == pytest.approx(gains.sum() / len(relevant))
    assert reciprocal_rank(ranking, relevant) == pytest.approx(np.max(gains / np.arange(1, 11)))


@given(RANKINGS, RELEVANT, st.integers(0, 13))
def test_a_relevant_key_that_moves_up_never_costs(ranking, relevant, place):
    if ranking[place] in relevant or ranking[place + 1] not in relevant:
        return
    better = list(ranking)
    better[place], better[place + 1] = better[place + 1], better[place]
    for measure in (reciprocal_rank, recall, ndcg):
        assert measure(better, relevant) >= measure(ranking, relevant)


def test_the_interval_of_independent_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(3, 2, 400).tolist()
    low, high = bootstrap_interval(values)
    half = 1.96 * np.std(values, ddof=1) / math.sqrt(len(values))
    assert low == pytest.approx(np.mean(values) - half, abs=0.03)
    assert high == pytest.approx(np.mean(values) + half, abs=0.03)


def test_groups_are_drawn_whole():
    values, groups = [0.0, 1.0] * 50, [0, 1] * 50
    low, high = bootstrap_interval(values, groups)
    assert (low, high) == (0.0, 1.0)  # two groups: each may be drawn twice
    alone = bootstrap_interval(values)
    assert 0.3 < alone[0] < alone[1] < 0.7
