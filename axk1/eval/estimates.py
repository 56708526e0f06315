"""Means and their standard errors.

A measure is a ratio of sums over units: bits over bytes with documents as units, points over answers with problems as
units. Standard errors come from the jackknife over units: each unit is left out once, and the spread of the results
says how far the sample may be from the whole. For plain means this is the usual ``s / sqrt(n)``; for ratios it counts
that long documents weigh more; for several answers to one problem it counts that they are not independent.

Over training seeds, the standard error is the spread of the seeds' values, ``s / sqrt(k)``. It holds both what
training and what the draw of fresh problems leaves to chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Two-sided 95 % quantiles of Student's t by degrees of freedom; beyond the table, its expansion.
_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """A value and how far chance may have moved it."""

    value: float
    stderr: float | None
    """Standard error; None when there is only one unit."""
    n: int
    """Units that the error was computed from: documents or problems, or seeds."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval by Student's t with n - 1 degrees of freedom; None without a standard error."""
        if self.stderr is None:
            return None
        half = t_95(self.n - 1) * self.stderr
        return self.value - half, self.value + half


def t_95(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t with this many degrees of freedom."""
    if freedom <= len(_T_95):
        return _T_95[freedom - 1]
    z = _NORMAL_95
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def ratio(numerators: ArrayLike, denominators: ArrayLike) -> Estimate:
    """The ratio of two sums over units, such as bits per byte over documents.

    Args:
        numerators, denominators: one number per unit, [n]; the denominators are positive.
    """
    whole, left_out = _leave_one_out(numerators, denominators)
    return _jackknife(whole, left_out)


def difference(first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike]) -> Estimate:
    """The first ratio minus the second over the same units, paired: a unit is left out of both at once.

    Args:
        first, second: numerators and denominators, each [n], units in the same order.
    """
    (a, a_left), (b, b_left) = _leave_one_out(*first), _leave_one_out(*second)
    return _jackknife(a - b, a_left - b_left)


def gap_closed(
    low: tuple[ArrayLike, ArrayLike], high: tuple[ArrayLike, ArrayLike], reached: tuple[ArrayLike, ArrayLike]
) -> Estimate | None:
    """Which share of the way from the ratio ``low`` to ``high`` the ratio ``reached`` has gone, over the same units.

    Returns:
        The share with its jackknife error, or None when low and high do not differ.
    """
    (a, a_left), (b, b_left), (c, c_left) = (_leave_one_out(*pair) for pair in (low, high, reached))
    if b == a or np.any(b_left == a_left):
        return None
    return _jackknife((c - a) / (b - a), (c_left - a_left) / (b_left - a_left))


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one value per seed and the standard error over seeds."""
    k = len(values)
    stderr = float(np.std(values, ddof=1) / math.sqrt(k)) if k > 1 else None
    return Estimate(float(np.mean(values)), stderr, k)


def gap_closed_over_seeds(low: Sequence[float], high: Sequence[float], reached: Sequence[float]) -> Estimate | None:
    """``gap_closed`` of the means over seeds, with the jackknife over seeds (paired by seed) as its error."""
    ones = np.ones(len(low))
    return gap_closed((low, ones), (high, ones), (reached, ones))


def _leave_one_out(numerators: ArrayLike, denominators: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """The ratio over all units, and over all but each one: [n], empty for a single unit."""
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    whole = float(top.sum() / bottom.sum())
    if len(top) < 2:
        return whole, np.empty(0)
    return whole, (top.sum() - top) / (bottom.sum() - bottom)


def _jackknife(whole: float, left_out: NDArray[np.float64]) -> Estimate:
    n = len(left_out)
    if n < 2:
        return Estimate(float(whole), None, 1)
    variance = (n - 1) / n * float(np.sum((left_out - left_out.mean()) ** 2))
    return Estimate(float(whole), math.sqrt(variance), n)
