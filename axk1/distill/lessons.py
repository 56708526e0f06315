"""Who teaches what: several teachers' caches, each with its weight in each domain; a domain is a folder of shards.

    [[teachers]]                       # in a recipe with two [[shards]]: texts, then reasoning
    cache = "out/korean/knowledge"
    weights = [1.0, 0.0]               # teaches texts alone

    [[teachers]]
    cache = "out/reasoning/knowledge"
    weights = [0.3, 1.0]               # says a little on texts, too

Where several teach the same domain, a student of the forward KL learns their mixture by weight.

Shapes: N = rows x positions of a batch, V vocabulary, H, J hidden sizes, K tokens of a record, S draws.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from axk1.core.config import require
from axk1.core.errors import ArtifactError
from axk1.data.shards import Shards
from axk1.distill.cache import MADE_BY, KnowledgeCache
from axk1.distill.kinds import arrays_of
from axk1.distill.records import TopKRecords
from axk1.distill.sampled import SampledRecords
from axk1.distill.targets import HiddenTargets, SampledTargets, Targets, TopKTargets
from axk1.train.objective import TorchBatch


@dataclass(frozen=True, kw_only=True)
class TeacherSource:
    """One of several teachers."""

    cache: Path
    """The knowledge cache."""
    teacher: Path | None = None
    """The checkpoint that it must have been made from; left out, the cache is taken as it is."""
    weights: tuple[float, ...] = ()
    """Its weight in each of the shards, in their order, with which ``kl_weight`` is multiplied; 0 where it does not
    teach. Left out, 1 in all."""

    def __post_init__(self) -> None:
        require(all(weight >= 0 for weight in self.weights), "teachers.weights", self.weights, "0 or more each")
        require(not self.weights or any(self.weights), "teachers.weights", self.weights, "one above 0 at least")

    def weight(self, shard: int) -> float:
        """Its weight in a shard, by number."""
        return self.weights[shard] if self.weights else 1.0


@dataclass(frozen=True)
class Lesson:
    """Positions that one teacher teaches with one weight."""

    teacher: int | None
    """Number of the teacher; None where there is none, and the text alone teaches."""
    weight: float
    """What ``kl_weight`` is multiplied with."""
    has_text: bool
    """Whether these positions' cross-entropy is taken here; of several teachers, the first one's lesson does."""
    shards: frozenset[int]
    """Where the positions' samples come from."""


def plan_lessons(sources: Sequence[TeacherSource], shards: int) -> list[Lesson]:
    """The lessons that together teach every position by all of its teachers, and its text once.

    Args:
        sources: the teachers; none stands for a single one, who teaches everything.
        shards: number of shards.
    """
    if not sources:
        return [Lesson(0, 1.0, True, frozenset(range(shards)))]
    grouped: dict[tuple[int | None, float, bool], set[int]] = {}
    for shard in range(shards):
        teachers = [(i, source.weight(shard)) for i, source in enumerate(sources) if source.weight(shard) > 0]
        for place, (number, weight) in enumerate(teachers or [(None, 0.0)]):
            grouped.setdefault((number, weight, place == 0), set()).add(shard)
    return [Lesson(*key, frozenset(taught)) for key, taught in grouped.items()]


class CachedTeacher:
    """A knowledge cache, laid out as batches are.

    Args:
        cache: what the teacher says.
        shards: the shards that ``batch.samples`` counts in, in order.
        taught: numbers of the shards of which it is asked.
    """

    def __init__(self, cache: KnowledgeCache, shards: Sequence[Shards], taught: frozenset[int]) -> None:
        self.cache, self._keys, self._taught = cache, [np.asarray(one.keys) for one in shards], sorted(taught)

    def of(self, batch: TorchBatch) -> Targets:
        """The teacher's distribution at each of the N positions; rows without a next token in their sample are zero."""
        samples = batch.samples[np.isin(batch.samples["shard"], self._taught)]
        keys = [self._keys[sample["shard"]][sample["sample"]] for sample in samples]
        found = self.cache.lookup(np.stack(keys) if keys else self.cache.keys[:0])
        rows = np.diff(found.offsets)
        if not np.array_equal(rows, samples["length"] - 1):
            raise ArtifactError(
                f"the knowledge cache {str(self.cache.folder)!r} does not fit the lengths of the samples",
                repair=f"{MADE_BY} RECIPE.toml",
            )
        width = batch.tokens_BT.shape[1]
        first = samples["row"].astype(np.int64) * width + samples["column"]
        where = np.repeat(first - found.offsets[:-1], rows) + np.arange(found.offsets[-1])
        device = batch.tokens_BT.device

        def spread(values: np.ndarray) -> torch.Tensor:
            spaced = np.zeros((batch.tokens_BT.numel(), *values.shape[1:]), values.dtype)
            spaced[where] = values
            return torch.from_numpy(spaced).to(device)

        return self._as_targets({name: spread(part) for name, part in arrays_of(found.rows).items()})

    def _as_targets(self, parts: dict[str, torch.Tensor]) -> Targets:
        """What the cache holds of N positions, as the loss takes it."""
        records = self.cache.records
        if isinstance(records, TopKRecords):
            parts.pop("text_log_probs_N", None)
            return TopKTargets(**parts, vocab_size=records.vocab_size)
        if isinstance(records, SampledRecords):
            counts_NS = parts["counts_NS"]
            weights_NS = counts_NS / counts_NS.sum(1, keepdim=True).clamp(min=1)
            return SampledTargets(parts["ids_NS"], weights_NS, records.vocab_size, parts["entropy_N"])
        states_NJ = parts["states_NH"].view(torch.bfloat16).float()
        return HiddenTargets(states_NJ, self._output_matrix.to(states_NJ.device))

    @functools.cached_property
    def _output_matrix(self) -> torch.Tensor:
        """The teacher's output matrix of a ``hidden`` cache, [V, J] in fp32."""
        return self.cache.output_matrix().float()


def shard_of_positions(batch: TorchBatch) -> torch.Tensor:
    """The number of the shard that each of the N positions comes from; -1 for padding."""
    shard_BT = np.full(tuple(batch.tokens_BT.shape), -1, np.int64)
    for sample in batch.samples:
        shard_BT[sample["row"], sample["column"] : sample["column"] + sample["length"]] = sample["shard"]
    return torch.from_numpy(shard_BT.reshape(-1)).to(batch.tokens_BT.device)
