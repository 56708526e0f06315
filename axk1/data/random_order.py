"""Random orders that depend on nothing but their seeds: not on the library's version, the machine, or what came before.

A random stream of a library may change with its version, and item n needs all items before it. A hash of the index
needs neither, so a training run resumes at any step and gives the same batches years later.
"""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, a bijection of uint64 whose outputs look random; element by element."""
    with np.errstate(over="ignore"):
        values = values.astype(np.uint64) + _GOLDEN
        values = (values ^ (values >> np.uint64(30))) * _M1
        values = (values ^ (values >> np.uint64(27))) * _M2
    return values ^ (values >> np.uint64(31))


def random_keys(count: int, *seeds: int) -> np.ndarray:
    """``count`` uint64 numbers that look random, different for other seeds."""
    state = np.zeros(1, np.uint64)
    for seed in seeds:
        state = mix64(state ^ np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
    with np.errstate(over="ignore"):
        return mix64(state + mix64(np.arange(count, dtype=np.uint64)))


def random_order(count: int, *seeds: int) -> np.ndarray:
    """A permutation of 0 to count - 1, int64, different for other seeds."""
    return np.argsort(random_keys(count, *seeds), kind="stable")
