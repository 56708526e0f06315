"""Estimates: by hand, against the textbook, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.eval.estimates import difference, gap_closed, gap_closed_over_seeds, over_seeds, ratio, t_95

numbers = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


@given(numbers)
def test_of_a_plain_mean_the_error_is_the_usual_one(values):
    estimate = ratio(values, [1.0] * len(values))
    assert estimate.value == pytest.approx(np.mean(values), abs=1e-9)
    assert estimate.stderr == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), abs=1e-6)


def test_of_a_ratio_by_hand():
    # bits 10, 20, 60 over bytes 10, 10, 20: whole 90/40; left out one by one 80/30, 70/30, 30/20
    left_out = [80 / 30, 70 / 30, 30 / 20]
    mean = sum(left_out) / 3
    expected = math.sqrt(2 / 3 * sum((x - mean) ** 2 for x in left_out))
    estimate = ratio([10, 20, 60], [10, 10, 20])
    assert (estimate.value, estimate.n) == (2.25, 3)
    assert estimate.stderr == pytest.approx(expected)


def test_one_unit_has_no_error():
    estimate = ratio([3], [2])
    assert (estimate.value, estimate.stderr, estimate.interval) == (1.5, None, None)


def test_a_constant_lead_has_no_error_when_paired():
    numerators, sizes = np.array([10.0, 35.0, 12.0, 50.0]), np.array([10.0, 20.0, 10.0, 20.0])
    gain = difference((numerators - 0.1 * sizes, sizes), (numerators, sizes))
    assert gain.value == pytest.approx(-0.1)
    assert gain.stderr == pytest.approx(0, abs=1e-12)
    assert ratio(numerators, sizes).stderr > 0.1


def test_the_gap_closed_by_hand():
    ones = np.ones(4)
    low, high, reached = [0, 0, 1, 0], [1, 1, 1, 1], [1, 0, 1, 0]
    share = gap_closed((low, ones), (high, ones), (reached, ones))
    assert share.value == pytest.approx((2 / 4 - 1 / 4) / (4 / 4 - 1 / 4))
    # left out one by one: (1-1)/(3-1)... reached 1,2,1,2 - low 1,1,0,1 over high 3 - low
    left_out = [(1 - 1) / (3 - 1), (2 - 1) / (3 - 1), (1 - 0) / (3 - 0), (2 - 1) / (3 - 1)]
    expected = math.sqrt(3 / 4 * sum((x - np.mean(left_out)) ** 2 for x in left_out))
    assert share.stderr == pytest.approx(expected)


def test_without_a_gap_nothing_can_be_closed():
    ones = np.ones(3)
    assert gap_closed(([1, 0, 1], ones), ([1, 1, 0], ones), ([1, 1, 1], ones)) is None


def test_over_seeds():
    estimate = over_seeds([1.0, 2.0, 6.0])
    assert estimate.value == 3.0
    assert estimate.stderr == pytest.approx(np.std([1, 2, 6], ddof=1) / math.sqrt(3))
    assert estimate.interval[1] - 3.0 == pytest.approx(4.303 * estimate.stderr)
    assert over_seeds([2.5]).stderr is None
    assert gap_closed_over_seeds([0, 0], [1, 3], [0.5, 1.5]).value == pytest.approx(0.5)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (10, 2.228), (11, 2.201), (30, 2.042), (1000, 1.962)])
def test_quantiles_of_the_table_in_every_textbook(freedom, quantile):
    assert t_95(freedom) == pytest.approx(quantile, abs=6e-3)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Documents of very different lengths with a common rate of 2 bits per byte: 95 % of the intervals hold 2."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        sizes = rng.lognormal(6, 1, 60)
        low, high = ratio(sizes * rng.normal(2, 0.3, 60), sizes).interval
        held += low <= 2 <= high
    assert 0.90 <= held / 400 <= 0.98
