"""``axk1 distill across``: a student, taught from the knowledge cache of a teacher with another tokenizer.

    loss = kl_weight * KL(teacher, student | shared tokens and the rest)  +  span_weight * span_divergence
         + ce_weight * cross_entropy

The first part is for tokens that both tokenizers cut alike, the second for spans that they cut differently (see
``meeting.py``), the third for every target. The control is the same recipe with ``kl_weight = 0``,
``span_weight = 0`` and ``ce_weight = 1``: the same samples in the same order from the same starting weights.

Shapes: B rows, T positions, N = B x T, H hidden size; the rest as in ``meeting.py``.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from axk1.core.config import require
from axk1.core.errors import ArtifactError, ConfigError, TokenizerMismatch
from axk1.core.progress import console
from axk1.data.shards import Shards, require_same_tokenizer
from axk1.distill.across.likelihood import span_divergence, token_log_probs
from axk1.distill.across.meeting import Lesson, Meeting
from axk1.distill.cache import MADE_BY, KnowledgeCache
from axk1.distill.divergence import Divergence, DivergenceName
from axk1.distill.loss import fused_linear_distillation
from axk1.distill.records import TopKRecords
from axk1.distill.student import within_prompts
from axk1.distill.targets import TopKTargets
from axk1.distill.teachers import checkpoint_hash
from axk1.distill.text_records import TextTopKRecords
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.train.config import TrainConfig
from axk1.train.loss import IGNORE_INDEX, fused_linear_cross_entropy
from axk1.train.material import Material
from axk1.train.objective import Loss, TorchBatch, routing_loss
from axk1.train.stage import run_stage


@dataclass(frozen=True, kw_only=True)
class AcrossConfig(TrainConfig):
    """A student's training: ``model`` and ``shards`` are the student's, in its own tokens; ``cache`` the teacher's."""

    cache: Path
    """The knowledge cache, of kind ``topk_text``; ``topk`` serves where ``span_weight`` is 0."""
    teacher: Path
    """The checkpoint that the cache was made from, or a folder with its tokenizer alone."""
    teacher_shards: tuple[Path, ...]
    """The shards that the cache was made from: the same texts in the teacher's tokens."""
    kl_weight: float = 0.8
    """Weight of the divergence on tokens that both tokenizers cut alike."""
    span_weight: float = 0.8
    """Weight of the divergence on spans that they cut differently."""
    ce_weight: float = 0.2
    """Weight of the cross-entropy with the text itself."""
    divergence: DivergenceName = "forward_kl"
    """How the distance on shared tokens is measured: forward_kl, reverse_kl, jsd, skew_kl or total_variation."""
    span_temperature: float = 100.0
    """What log-probabilities of spans are divided by; large ones let improbable spans count as others do."""
    max_span_bytes: int = 64
    """Longer spans teach nothing."""
    teach_prompts: bool = True
    """Learn from the teacher also what it expects within prompts, of which the text itself teaches nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kl_weight", "span_weight", "ce_weight"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        weights = self.kl_weight + self.span_weight + self.ce_weight
        require(weights > 0, "ce_weight", self.ce_weight, "a number above 0, since the other weights are 0")
        require(self.span_temperature > 0, "span_temperature", self.span_temperature, "a number above 0")
        require(self.max_span_bytes >= 1, "max_span_bytes", self.max_span_bytes, "1 or more")
        require(bool(self.teacher_shards), "teacher_shards", self.teacher_shards, "at least one folder")
        Divergence(self.divergence)


def train_across(config: AcrossConfig, *, dry_run: bool = False) -> Path:
    """Trains a student, or goes on where a killed run of the same config stood.

    Returns:
        The checkpoint folder.

    Raises:
        ArtifactError: the cache is missing, corrupt, of a kind that cannot teach, or covers none of the samples.
        ConfigError: both tokenizers are the same.
        TokenizerMismatch: cache, teacher and its shards were made for different tokenizers, or so was the student.
    """
    cache = KnowledgeCache.open(config.cache)
    teacher_shards = [Shards.open(folder) for folder in config.teacher_shards]
    _check_teacher(config, cache, teacher_shards)
    opened: list[Meeting] = []

    def narrowed(material: Material) -> Material:
        opened.append(_meet(config, cache, teacher_shards, material))
        return dataclasses.replace(material, shards=tuple(_narrow(config, opened[0])))

    hashes = {f"teacher_shards[{i}]": one.manifest.content_hash for i, one in enumerate(teacher_shards)}
    return run_stage(
        config,
        lambda material: AcrossDistillation(config, opened[0], material.tokenizer.vocab_size),
        title="distill across",
        next_command=f"axk1 chat {config.output}",
        narrow=narrowed,
        extra_inputs={"knowledge_cache": cache.manifest.content_hash, "teacher": cache.teacher_hash, **hashes},
        dry_run=dry_run,
    )


class AcrossDistillation:
    """The objective: what the teacher says of tokens and spans, mixed with cross-entropy.

    Args:
        config: weights, and what is measured.
        meeting: matches a batch with the cache.
        vocab_size: entries of the student's tokenizer.
    """

    def __init__(self, config: AcrossConfig, meeting: Meeting, vocab_size: int) -> None:
        self.config, self.meeting, self.vocab_size = config, meeting, vocab_size
        self.divergence = Divergence(config.divergence)

    def __call__(self, model: Transformer, batch: TorchBatch) -> Loss:
        hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.segments_BT)
        states_NH, targets_N = hidden.states_BTH.flatten(0, 1), batch.targets_BT.flatten()
        routing, metrics = routing_loss(hidden, batch)
        if self.config.kl_weight or self.config.span_weight:
            lesson = self.meeting.lesson(batch.samples, batch.tokens_BT.shape[1])
            total, figures = self._taught(model, states_NH, targets_N, within_prompts(batch), lesson)
            metrics |= {name: value / batch.n_targets for name, value in figures.items()}
            metrics["taught_bytes"] = states_NH.new_tensor(lesson.symbols[0] / max(lesson.symbols[1], 1))
            metrics["taught_bytes"] *= batch.row_share
        else:
            cross_entropy, _ = fused_linear_cross_entropy(states_NH, model.output_weight, targets_N)
            total = self.config.ce_weight * cross_entropy
            metrics["cross_entropy"] = cross_entropy.detach() / batch.n_targets
        taught = (self.config.kl_weight or self.config.span_weight) and self.config.teach_prompts
        divisor = batch.n_positions if taught else batch.n_targets
        return Loss(total / divisor + self.config.balance_loss_weight * routing, metrics)

    def _taught(
        self, model: Transformer, states_NH: Tensor, targets_N: Tensor, prompts_N: Tensor, lesson: Lesson
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum over a batch, and its parts. Each position goes through the output matrix in one part."""
        config, weight_VH, device = self.config, model.output_weight, states_NH.device
        rest_N = targets_N.clone()
        total, figures = states_NH.new_zeros(()), {}
        places_n, targets = self._distributions(lesson, device)
        rest_N[places_n] = IGNORE_INDEX
        divergence, cross_entropy = states_NH.new_zeros(()), states_NH.new_zeros(())
        parts = [(targets_N, config.ce_weight)] + ([(prompts_N, 0.0)] if config.teach_prompts else [])
        for next_N, ce_weight in parts:
            loss = fused_linear_distillation(
                states_NH[places_n], weight_VH, next_N[places_n], targets,
                kl_weight=config.kl_weight, ce_weight=ce_weight, divergence=self.divergence,
            )  # fmt: skip
            total = total + loss.total
            divergence = divergence + loss.divergence
            cross_entropy = cross_entropy + loss.cross_entropy * (ce_weight > 0)
        places_m, spans, own_ce = self._spans(lesson, states_NH, weight_VH, targets_N, prompts_N)
        rest_N[places_m] = IGNORE_INDEX
        others, _ = fused_linear_cross_entropy(states_NH, weight_VH, rest_N)
        total = total + config.span_weight * spans + config.ce_weight * (own_ce + others)
        figures["kl_on_shared_tokens"], figures["span_divergence"] = divergence, spans.detach()
        figures["cross_entropy"] = cross_entropy + own_ce.detach() + others.detach()
        return total, figures

    def _distributions(self, lesson: Lesson, device: torch.device) -> tuple[Tensor, TopKTargets]:
        places_n = torch.from_numpy(lesson.places_n).to(device)
        ids_nK, log_probs_nK, rest_n = (
            torch.from_numpy(part).to(device) for part in (lesson.ids_nK, lesson.log_probs_nK, lesson.log_rest_n)
        )
        drawn_n0 = ids_nK.new_zeros(len(ids_nK), 0)
        return places_n, TopKTargets(ids_nK, log_probs_nK, rest_n, drawn_n0, torch.zeros_like(rest_n), self.vocab_size)

    def _spans(
        self, lesson: Lesson, states_NH: Tensor, weight_VH: Tensor, targets_N: Tensor, prompts_N: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The positions of the spans' tokens, the spans' divergence, and the cross-entropy of their targets."""
        device = states_NH.device
        places_m, owner_m = (torch.from_numpy(part).to(device) for part in (lesson.span_places_m, lesson.spans_m))
        log_p_s = torch.from_numpy(lesson.span_log_probs_s).to(device)
        is_target_m = targets_N[places_m] != IGNORE_INDEX
        next_m = torch.where(is_target_m, targets_N[places_m], prompts_N[places_m])
        log_q_m = token_log_probs(states_NH[places_m], weight_VH, next_m)
        log_q_s = log_q_m.new_zeros(len(log_p_s)).index_add(0, owner_m, log_q_m)
        if not self.config.teach_prompts:
            asked_s = torch.ones_like(log_p_s).index_reduce(0, owner_m, is_target_m.to(log_p_s.dtype), "amin") > 0
            log_p_s, log_q_s = log_p_s[asked_s], log_q_s[asked_s]
        spans = span_divergence(log_p_s.to(log_q_s.dtype), log_q_s, self.config.span_temperature)
        return places_m, spans, -(log_q_m * is_target_m).sum()


def _check_teacher(config: AcrossConfig, cache: KnowledgeCache, teacher_shards: list[Shards]) -> None:
    """Refuses a cache of a kind, a temperature or a tokenizer that cannot teach here."""
    folder = str(config.cache)
    needed = TextTopKRecords if config.span_weight else TopKRecords
    if not isinstance(cache.records, needed):
        why = "which does not say how probable the text's own tokens are" if config.span_weight else "not topk"
        raise ArtifactError(
            f"the knowledge cache {folder!r} is of kind {cache.records.kind!r}, {why}",
            repair=f"{MADE_BY} RECIPE.toml --kind topk_text --output {folder}"
            + (", or set span_weight = 0" if isinstance(cache.records, TopKRecords) else ""),
        )
    if cache.temperature != 1:
        what = f"the knowledge cache {folder!r} was made at temperature {cache.temperature}, where spans need 1"
        raise ArtifactError(what, repair=f"{MADE_BY} RECIPE.toml --temperature 1.0 --output {folder}")
    teacher = Tokenizer.load(config.teacher)
    if teacher.content_hash != cache.tokenizer_hash:
        raise TokenizerMismatch(
            f"teacher = {str(config.teacher)!r} has another tokenizer than that of the knowledge cache {folder!r}",
            repair="set teacher to the checkpoint that the cache was made from",
        )
    if (config.teacher / "config.json").is_file() and checkpoint_hash(config.teacher) != cache.teacher_hash:
        raise ArtifactError(
            f"the knowledge cache {folder!r} was made from another teacher than {str(config.teacher)!r}",
            repair="set teacher to the checkpoint it was made from, or to a folder with its tokenizer alone",
        )
    require_same_tokenizer(teacher_shards, tokenizer_hash=teacher.content_hash)


def _meet(config: AcrossConfig, cache: KnowledgeCache, teacher_shards: list[Shards], material: Material) -> Meeting:
    if material.tokenizer.content_hash == cache.tokenizer_hash:
        raise ConfigError(
            f"the knowledge cache {str(config.cache)!r} was made with the student's own tokenizer",
            repair="axk1 distill train RECIPE.toml, which compares whole distributions",
        )
    teacher = Tokenizer.load(config.teacher)
    return Meeting(
        cache, teacher_shards, material.shards,
        teacher=teacher, student=material.tokenizer, longest=config.max_span_bytes,
    )  # fmt: skip


def _narrow(config: AcrossConfig, meeting: Meeting) -> list[Shards]:
    line, shards = meeting.line, meeting.narrow()
    for source, one in zip(config.shards, shards, strict=True):
        if not len(one):
            raise ArtifactError(
                f"the knowledge cache {str(config.cache)!r} covers no sample of {str(source.folder)!r}: "
                f"{line.texts:,} texts are in both shards, {line.different:,} of the same name differ",
                repair=f"{MADE_BY} RECIPE.toml (with teacher's shards of the same documents)",
            )
    before = sum(len(one) for one in meeting.student.shards)
    console.print(
        f"{line.texts:,} texts in both tokenizers, {line.different:,} left out since they differ; "
        f"{sum(map(len, shards)):,} of {before:,} samples are taught"
    )
    return shards
