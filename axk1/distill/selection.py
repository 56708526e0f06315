"""Which samples of which shards go into a knowledge cache, and which samples of shards a cache holds."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache, key_prefixes


@dataclass(frozen=True)
class Selection:
    """Samples in the order of their keys, each content once."""

    keys: np.ndarray
    """[n, 16], uint8."""
    shard: np.ndarray
    """Number of the shards that a sample lies in [n]."""
    sample: np.ndarray
    """Number of the sample in these [n]."""
    lengths: np.ndarray
    """Tokens of the sample [n], int64."""

    def __getitem__(self, part: slice | np.ndarray) -> "Selection":
        """A part of the selection."""
        return Selection(self.keys[part], self.shard[part], self.sample[part], self.lengths[part])


def select_samples(shards: Sequence[Shards], weights: Sequence[float], max_tokens: int | None) -> Selection:
    """Chooses samples until there are ``max_tokens`` tokens, from each shards folder by its weight.

    A sample is chosen by its key, which is a hash of its content: the choice is as good as random, the same every
    time, and a larger ``max_tokens`` only adds to it. Samples of one token predict nothing and are left out.
    """
    parts = []
    for number, (one, weight) in enumerate(zip(shards, weights, strict=True)):
        chosen = _by_key(np.asarray(one.keys), np.flatnonzero(one.lengths >= 2))
        if max_tokens is not None:
            tokens = np.cumsum(one.lengths[chosen], dtype=np.int64)
            chosen = chosen[: np.searchsorted(tokens, max_tokens * weight / sum(weights), side="right")]
        lengths = one.lengths[chosen].astype(np.int64)
        parts.append(Selection(np.asarray(one.keys)[chosen], np.full(len(chosen), number), chosen, lengths))
    names = ("keys", "shard", "sample", "lengths")
    both = Selection(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    return both[_by_key(both.keys, np.arange(len(both.keys)))]


def cached_samples(shards: Shards, cache: KnowledgeCache) -> Shards:
    """The same shards with only those samples that the cache holds, in their order."""
    held = cache.contains(shards.keys)
    return keep_samples(shards, held)


def keep_samples(shards: Shards, held: np.ndarray) -> Shards:
    """The same shards with only some of their samples [n, bool], in their order."""
    if held.all():
        return shards
    narrowed = copy.copy(shards)
    narrowed.offsets, narrowed.lengths, narrowed.keys = shards.offsets[held], shards.lengths[held], shards.keys[held]
    return narrowed


def _by_key(keys: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """The samples in the order of their keys, without those whose key came before."""
    order = samples[np.lexsort((key_prefixes(keys[samples, 8:]), key_prefixes(keys[samples])))]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    return order[new]
