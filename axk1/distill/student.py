"""``axk1 distill train``: a knowledge cache and shards -> a student, taught by the teacher's distributions.

The control, the same student without a teacher, is the same recipe with ``kl_weight = 0`` and ``ce_weight = 1``: it
sees the same samples in the same order from the same starting weights, and its KL to the teacher is still measured.

Shapes: B rows, T positions, N = B x T.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from axk1.core.config import require
from axk1.core.errors import ArtifactError, TokenizerMismatch
from axk1.data.shards import Shards
from axk1.distill.cache import MADE_BY, KnowledgeCache
from axk1.distill.divergence import Divergence, DivergenceName
from axk1.distill.hidden import HiddenRecords
from axk1.distill.kinds import arrays_of
from axk1.distill.loss import DistillLoss, fused_linear_distillation
from axk1.distill.records import TopKRecords
from axk1.distill.sampled import SampledRecords
from axk1.distill.selection import cached_samples
from axk1.distill.targets import HiddenTargets, SampledTargets, Targets, TopKTargets, require_defined
from axk1.distill.teachers import checkpoint_hash
from axk1.distill.text_records import TextTopKRecords
from axk1.model.transformer import Transformer
from axk1.train.config import TrainConfig
from axk1.train.loss import IGNORE_INDEX, fused_linear_cross_entropy
from axk1.train.material import Material
from axk1.train.objective import Loss, TorchBatch, routing_loss
from axk1.train.stage import run_stage

TARGETS: dict[str, type[Targets]] = {
    TopKRecords.kind: TopKTargets,
    TextTopKRecords.kind: TopKTargets,
    SampledRecords.kind: SampledTargets,
    HiddenRecords.kind: HiddenTargets,
}
"""What a cache of each kind teaches with."""


@dataclass(frozen=True, kw_only=True)
class DistillConfig(TrainConfig):
    """A student's training: ``model`` is the student, ``shards`` the text, ``cache`` what the teacher says of it."""

    cache: Path
    """The knowledge cache; samples of the shards that it does not hold are left out."""
    teacher: Path | None = None
    """The checkpoint that the cache must have been made from; left out, the cache is taken as it is."""
    kl_weight: float = 0.9
    """Weight of the divergence from the teacher; with 0 nothing is learnt from it."""
    ce_weight: float = 0.1
    """Weight of the cross-entropy with the text itself."""
    temperature: float = 1.0
    """What the logits are divided by in the divergence; it must be the cache's."""
    divergence: DivergenceName = "forward_kl"
    """How the distance to the teacher is measured: forward_kl, reverse_kl, jsd, skew_kl or total_variation."""
    beta: float = 0.5
    """The teacher's share of the mixture in ``jsd``; 0 is the forward and 1 the reverse KL, as in TRL."""
    skew: float = 0.1
    """The teacher's share of the mixture in ``skew_kl``; 0 is the forward KL."""
    teach_prompts: bool = True
    """Learn from the teacher also what it expects within prompts, of which the text itself teaches nothing."""
    track_kl: bool = True
    """Measure the divergence from the teacher at logged steps also where ``kl_weight`` is 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.kl_weight >= 0, "kl_weight", self.kl_weight, "0 or more")
        require(self.ce_weight >= 0, "ce_weight", self.ce_weight, "0 or more")
        both = self.kl_weight + self.ce_weight
        require(both > 0, "ce_weight", self.ce_weight, "a number above 0, since kl_weight is 0")
        require(self.temperature > 0, "temperature", self.temperature, "a number above 0")
        self.measure()

    def measure(self) -> Divergence:
        """The divergence. Raises ConfigError where its numbers are out of range."""
        return Divergence(self.divergence, self.beta, self.skew)


def train_student(config: DistillConfig, *, dry_run: bool = False) -> Path:
    """Trains a student, or goes on where a killed run of the same config stood.

    Returns:
        The checkpoint folder.

    Raises:
        ArtifactError: the cache is missing, corrupt, made from another teacher, or holds none of the samples.
        TokenizerMismatch: cache, shards and student were made for different tokenizers.
    """
    teacher_hash = checkpoint_hash(config.teacher) if config.teacher is not None else None
    cache = KnowledgeCache.open(config.cache, teacher_hash=teacher_hash)

    return run_stage(
        config,
        lambda material: Distillation(config, cache, material.shards),
        title="distill train",
        next_command=f"axk1 chat {config.output}",
        narrow=lambda material: narrowed(config, cache, material),
        extra_inputs={"knowledge_cache": cache.manifest.content_hash, "teacher": cache.teacher_hash},
        dry_run=dry_run,
    )


def narrowed(config: DistillConfig, cache: KnowledgeCache, material: Material) -> Material:
    """The inputs with only those samples that the cache holds.

    Raises:
        ArtifactError, TokenizerMismatch: the cache does not fit them, or holds nothing of one of the shards.
    """
    _check_fit(config, cache, material)
    shards = tuple(cached_samples(one, cache) for one in material.shards)
    for source, one in zip(config.shards, shards, strict=True):
        if not len(one):
            what = f"the knowledge cache {str(config.cache)!r} holds no sample of {str(source.folder)!r}"
            raise ArtifactError(what, repair=f"{MADE_BY} RECIPE.toml (with these shards)")
    return dataclasses.replace(material, shards=shards)


class Distillation:
    """The objective: a divergence from the cached teacher, mixed with cross-entropy.

    Args:
        config: weights, temperature, and when to measure.
        cache: the teacher's distributions.
        shards: the shards that ``batch.samples`` counts in, in order.
    """

    def __init__(self, config: DistillConfig, cache: KnowledgeCache, shards: Sequence[Shards]) -> None:
        self.config, self.cache, self.divergence = config, cache, config.measure()
        self._figure = "kl_to_teacher" if config.divergence == "forward_kl" else f"{config.divergence}_to_teacher"
        self._keys = [np.asarray(one.keys) for one in shards]
        require_defined(self.divergence, TARGETS[cache.records.kind])

    def __call__(self, model: Transformer, batch: TorchBatch) -> Loss:
        hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.segments_BT)
        states_NH, targets_N = hidden.states_BTH.flatten(0, 1), batch.targets_BT.flatten()
        routing, metrics = routing_loss(hidden, batch)
        if self._needs_teacher(batch.step):
            teacher = self.teacher_of(batch)
            loss = self._loss(model, states_NH, targets_N, teacher, self.config.ce_weight)
            total, cross_entropy = loss.total, loss.cross_entropy
            metrics[self._figure] = loss.divergence / batch.n_targets
            if self._teaches_prompts:
                total = total + self._loss(model, states_NH, within_prompts(batch), teacher, 0.0).total
        else:
            cross_entropy, _ = fused_linear_cross_entropy(states_NH, model.output_weight, targets_N)
            total = self.config.ce_weight * cross_entropy
        metrics["cross_entropy"] = cross_entropy.detach() / batch.n_targets
        divisor = batch.n_positions if self._teaches_prompts else batch.n_targets
        return Loss(total / divisor + self.config.balance_loss_weight * routing, metrics)

    @property
    def _teaches_prompts(self) -> bool:
        return self.config.teach_prompts and self.config.kl_weight > 0

    def _loss(
        self, model: Transformer, states_NH: torch.Tensor, targets_N: torch.Tensor, teacher: Targets, ce_weight: float
    ) -> DistillLoss:
        return fused_linear_distillation(
            states_NH,
            model.output_weight,
            targets_N,
            teacher,
            kl_weight=self.config.kl_weight,
            ce_weight=ce_weight,
            temperature=self.config.temperature,
            divergence=self.divergence,
        )

    def teacher_of(self, batch: TorchBatch) -> Targets:
        """The teacher's distribution at each of the N positions; rows without a next token in their sample are zero."""
        samples = batch.samples
        keys = np.stack([self._keys[sample["shard"]][sample["sample"]] for sample in samples])
        found = self.cache.lookup(keys)
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

    def _needs_teacher(self, step: int) -> bool:
        """Whether this step (from 0) learns from the teacher or, being logged, measures the distance to it."""
        number = step + 1
        logged = number % self.config.log_steps == 0 or number in (1, self.config.total_steps)
        return self.config.kl_weight > 0 or (self.config.track_kl and logged)


def within_prompts(batch: TorchBatch) -> torch.Tensor:
    """The token that follows each position [N] where it belongs to the same sample and is no target; else -100."""
    next_BT, same_BT = torch.full_like(batch.tokens_BT, IGNORE_INDEX), torch.zeros_like(batch.segments_BT, dtype=bool)
    next_BT[:, :-1] = batch.tokens_BT[:, 1:]
    same_BT[:, :-1] = (batch.segments_BT[:, 1:] == batch.segments_BT[:, :-1]) & (batch.segments_BT[:, :-1] > 0)
    return next_BT.masked_fill(~same_BT | (batch.targets_BT != IGNORE_INDEX), IGNORE_INDEX).flatten()


def _check_fit(config: DistillConfig, cache: KnowledgeCache, material: Material) -> None:
    """Refuses a cache of another tokenizer, or captured at another temperature.

    Its vocabulary may be larger than the student's: both have the tokenizer's tokens, so the rest is padding.
    """
    folder = str(config.cache)
    if cache.tokenizer_hash != material.tokenizer.content_hash:
        raise TokenizerMismatch(
            f"the knowledge cache {folder!r} was made with another tokenizer than {str(config.tokenizer)!r}, so its "
            "token ids mean other tokens",
            repair=f"{MADE_BY} RECIPE.toml --output {folder} (with a teacher and shards of this tokenizer), or teach "
            "across tokenizers: axk1 distill across recipes/nano/across.toml",
        )
    if cache.temperature != config.temperature and cache.records.kind != HiddenRecords.kind:
        raise ArtifactError(
            f"temperature = {config.temperature}, but the knowledge cache {folder!r} was made at {cache.temperature}, "
            "and the tail's mass cannot be carried over",
            repair=f"set temperature = {cache.temperature}, or {MADE_BY} RECIPE.toml --temperature "
            f"{config.temperature} --output {folder}",
        )
