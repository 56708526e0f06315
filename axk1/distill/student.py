"""``axk1 distill train``: a knowledge cache and shards -> a student, taught by the teacher's distributions.

The control, the same student without a teacher, is the same recipe with ``kl_weight = 0`` and ``ce_weight = 1``: it
sees the same samples in the same order from the same starting weights, and its KL to the teacher is still measured.

Shapes: B rows, T positions, N = B x T.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from axk1.core.config import require
from axk1.core.errors import ArtifactError, TokenizerMismatch
from axk1.data.shards import Shards
from axk1.distill.cache import MADE_BY, KnowledgeCache
from axk1.distill.divergence import Divergence, DivergenceName
from axk1.distill.hidden import HiddenRecords
from axk1.distill.lessons import CachedTeacher, Lesson, TeacherSource, plan_lessons, shard_of_positions
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

    cache: Path | None = None
    """The knowledge cache; samples of the shards that it does not hold are left out."""
    teacher: Path | None = None
    """The checkpoint that the cache must have been made from; left out, the cache is taken as it is."""
    teachers: tuple[TeacherSource, ...] = ()
    """Several teachers, each with its cache and its weight in each of the shards, in place of ``cache``."""
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
        self._check_teachers()
        self.measure()

    def _check_teachers(self) -> None:
        one = self.cache is None and self.teacher is None
        require(one or not self.teachers, "teachers", len(self.teachers), "none beside cache and teacher")
        for source in self.teachers:
            fits = len(source.weights) in (0, len(self.shards))
            require(fits, "teachers.weights", source.weights, f"a weight for each of the {len(self.shards)} shards")

    def sources(self) -> tuple[TeacherSource, ...]:
        """The teachers. Raises ConfigError where there is none."""
        if self.teachers:
            return self.teachers
        require(self.cache is not None, "cache", None, "a knowledge cache, or several in [[teachers]]")
        return (TeacherSource(cache=self.cache, teacher=self.teacher),)

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
    sources = config.sources()
    caches = [_open(source) for source in sources]
    inputs = {}
    for number, cache in enumerate(caches):
        place = f"[{number}]" if config.teachers else ""
        inputs |= {f"knowledge_cache{place}": cache.manifest.content_hash, f"teacher{place}": cache.teacher_hash}

    return run_stage(
        config,
        lambda material: Distillation(config, caches, material.shards),
        title="distill train",
        next_command=f"axk1 chat {config.output}",
        narrow=lambda material: narrowed(config, caches, material),
        extra_inputs=inputs,
        dry_run=dry_run,
    )


def _open(source: TeacherSource) -> KnowledgeCache:
    teacher_hash = checkpoint_hash(source.teacher) if source.teacher is not None else None
    return KnowledgeCache.open(source.cache, teacher_hash=teacher_hash)


def narrowed(config: DistillConfig, caches: Sequence[KnowledgeCache], material: Material) -> Material:
    """The inputs with only those samples that the caches of all their teachers hold.

    Raises:
        ArtifactError, TokenizerMismatch: a cache does not fit them, or holds nothing of a shard that it teaches.
    """
    shards = list(material.shards)
    for source, cache in zip(config.sources(), caches, strict=True):
        _check_fit(config, cache, material)
        for number, folder in enumerate(config.shards):
            if source.weight(number) == 0:
                continue
            shards[number] = cached_samples(shards[number], cache)
            if not len(shards[number]):
                what = f"the knowledge cache {str(source.cache)!r} holds no sample of {str(folder.folder)!r}"
                what += " that the other caches hold" if config.teachers else ""
                raise ArtifactError(what, repair=f"{MADE_BY} RECIPE.toml (with these shards)")
    return dataclasses.replace(material, shards=tuple(shards))


class Distillation:
    """The objective: divergences from the cached teachers, mixed with cross-entropy.

    Args:
        config: weights, temperature, and when to measure.
        caches: the teachers' distributions, in the order of ``config.sources()``.
        shards: the shards that ``batch.samples`` counts in, in order.
    """

    def __init__(self, config: DistillConfig, caches: Sequence[KnowledgeCache], shards: Sequence[Shards]) -> None:
        self.config, self.divergence = config, config.measure()
        self._figure = "kl_to_teacher" if config.divergence == "forward_kl" else f"{config.divergence}_to_teacher"
        self.lessons = plan_lessons(config.teachers, len(shards))
        self._teachers = []
        for number, cache in enumerate(caches):
            require_defined(self.divergence, TARGETS[cache.records.kind])
            taught = [lesson.shards for lesson in self.lessons if lesson.teacher == number]
            self._teachers.append(CachedTeacher(cache, shards, frozenset().union(*taught)))

    def __call__(self, model: Transformer, batch: TorchBatch) -> Loss:
        hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.segments_BT)
        states_NH, targets_N = hidden.states_BTH.flatten(0, 1), batch.targets_BT.flatten()
        routing, metrics = routing_loss(hidden, batch)
        if self._needs_teacher(batch.step):
            total, divergence, cross_entropy = self._taught(model, states_NH, batch)
            metrics[self._figure] = divergence / batch.n_targets
        else:
            cross_entropy, _ = fused_linear_cross_entropy(states_NH, model.output_weight, targets_N)
            total = self.config.ce_weight * cross_entropy
        metrics["cross_entropy"] = cross_entropy.detach() / batch.n_targets
        divisor = batch.n_positions if self._teaches_prompts else batch.n_targets
        return Loss(total / divisor + self.config.balance_loss_weight * routing, metrics)

    def _taught(self, model: Transformer, states_NH: torch.Tensor, batch: TorchBatch) -> tuple[torch.Tensor, ...]:
        """Sums over positions: the loss; over targets the divergence (each teacher's by its weight), cross-entropy."""
        config, targets_N = self.config, batch.targets_BT.flatten()
        shard_N = None if len(self.lessons) == 1 else shard_of_positions(batch)
        said = [self.teacher_of(batch, number) for number in range(len(self._teachers))]
        total = divergence = cross_entropy = states_NH.new_zeros(())
        for lesson in self.lessons:
            its_targets_N = _within(lesson, shard_N, targets_N)
            if lesson.teacher is None:
                of_text, _ = fused_linear_cross_entropy(states_NH, model.output_weight, its_targets_N)
                total, cross_entropy = total + config.ce_weight * of_text, cross_entropy + of_text.detach()
                continue
            teacher = said[lesson.teacher]
            loss = self._loss(model, states_NH, its_targets_N, teacher, lesson, config.ce_weight * lesson.has_text)
            total, divergence = total + loss.total, divergence + lesson.weight * loss.divergence
            cross_entropy = cross_entropy + loss.cross_entropy * lesson.has_text
            if self._teaches_prompts:
                prompts_N = _within(lesson, shard_N, within_prompts(batch))
                total = total + self._loss(model, states_NH, prompts_N, teacher, lesson, 0.0).total
        return total, divergence, cross_entropy

    def teacher_of(self, batch: TorchBatch, number: int = 0) -> Targets:
        """A teacher's distribution at each of the N positions; rows of which it says nothing are zero."""
        return self._teachers[number].of(batch)

    @property
    def _teaches_prompts(self) -> bool:
        return self.config.teach_prompts and self.config.kl_weight > 0

    def _loss(
        self, model: Transformer, states_NH: torch.Tensor, targets_N: torch.Tensor, teacher: Targets, lesson: Lesson,
        ce_weight: float,
    ) -> DistillLoss:  # fmt: skip
        return fused_linear_distillation(
            states_NH,
            model.output_weight,
            targets_N,
            teacher,
            kl_weight=self.config.kl_weight * lesson.weight,
            ce_weight=ce_weight,
            temperature=self.config.temperature,
            divergence=self.divergence,
        )

    def _needs_teacher(self, step: int) -> bool:
        """Whether this step (from 0) learns from the teacher or, being logged, measures the distance to it."""
        number = step + 1
        logged = number % self.config.log_steps == 0 or number in (1, self.config.total_steps)
        return self.config.kl_weight > 0 or (self.config.track_kl and logged)


def _within(lesson: Lesson, shard_N: torch.Tensor | None, targets_N: torch.Tensor) -> torch.Tensor:
    """The targets [N] of a lesson; those of others become -100. No shards where there is one lesson for all."""
    if shard_N is None:
        return targets_N
    taught_N = torch.isin(shard_N, torch.tensor(sorted(lesson.shards), device=shard_N.device))
    return targets_N.masked_fill(~taught_N, IGNORE_INDEX)


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
    folder = str(cache.folder)
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
