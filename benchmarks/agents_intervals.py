"""Shares with their 95 % intervals (Wilson, 1927), which hold also for few questions and for none or all of them."""

from math import sqrt

_Z = 1.959964


def share(count: int, every: int) -> tuple[float | None, str]:
    """A share in per cent, and in words: of how many, and between which shares the true one lies.

    Args:
        count: how many are such.
        every: of how many; none gives no share.
    """
    if not every:
        return None, "of 0"
    low, high = interval(count, every)
    return 100 * count / every, f"{count} of {every}, {100 * low:.0f} to {100 * high:.0f} %"


def interval(count: int, every: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    middle = count + _Z * _Z / 2
    half = _Z * sqrt(count * (every - count) / every + _Z * _Z / 4)
    ends = ((middle + sign * half) / (every + _Z * _Z) for sign in (-1, 1))
    low, high = (min(1.0, max(0.0, end)) for end in ends)
    return low, high
