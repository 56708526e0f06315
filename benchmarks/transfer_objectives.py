"""Four ways to teach that the package does not have, since each lacks something. They use its cache and its training.

    Text           cross-entropy with the text at every position, prompts included: no teacher
    Hard           cross-entropy with the teacher's best token
    Cut            the teacher's top K tokens renormalised, against the student's whole softmax
    Renormalised   both sides renormalised over the teacher's top K tokens, as ModelOpt, ms-swift and NeMo-RL do

Shapes: B rows, T positions, N positions with a target, H hidden size, V vocabulary, K stored tokens.
"""

import dataclasses

import torch
from torch import Tensor

from axk1.distill.lessons import Lesson
from axk1.distill.loss import DistillLoss
from axk1.distill.student import Distillation
from axk1.distill.targets import Targets, TopKTargets
from axk1.model.transformer import Transformer
from axk1.train.loss import IGNORE_INDEX, fused_linear_cross_entropy
from axk1.train.objective import Loss, TorchBatch


class Text(Distillation):
    """No teacher: cross-entropy with the text at every position, prompts included."""

    def __call__(self, model: Transformer, batch: TorchBatch) -> Loss:
        hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.segments_BT)
        summed, _ = fused_linear_cross_entropy(
            hidden.states_BTH.flatten(0, 1), model.output_weight, next_tokens(batch).flatten()
        )
        return Loss(summed / batch.n_positions, {"cross_entropy": summed.detach() / batch.n_positions})


class Hard(Distillation):
    """The teacher's best token, as if it were certain."""

    def teacher_of(self, batch: TorchBatch, number: int = 0) -> Targets:
        return hard_targets(super().teacher_of(batch, number))


class Cut(Distillation):
    """The teacher's top tokens, renormalised: its tail counts as impossible."""

    def teacher_of(self, batch: TorchBatch, number: int = 0) -> Targets:
        return cut_targets(super().teacher_of(batch, number))


class Renormalised(Distillation):
    """Both sides renormalised over the teacher's top tokens: what lies outside has no teacher at all."""

    def _loss(
        self, model: Transformer, states_NH: Tensor, targets_N: Tensor, teacher: Targets, lesson: Lesson,
        ce_weight: float,
    ) -> DistillLoss:  # fmt: skip
        rows_N = targets_N != IGNORE_INDEX
        logits_NV = states_NH[rows_N] @ model.output_weight.t()
        divergence = renormalised_kl(logits_NV, teacher[rows_N])
        cross_entropy = torch.nn.functional.cross_entropy(logits_NV, targets_N[rows_N], reduction="sum")
        total = self.config.kl_weight * lesson.weight * divergence + ce_weight * cross_entropy
        return DistillLoss(total, divergence.detach(), cross_entropy.detach(), int(rows_N.sum()))


VARIANTS = {"text": Text, "hard": Hard, "cut": Cut, "renormalised": Renormalised}


def next_tokens(batch: TorchBatch) -> Tensor:
    """The token of the same sample that follows each position [B, T], or -100 where none does."""
    tokens_BT, segments_BT = batch.tokens_BT, batch.segments_BT
    next_BT = torch.full_like(tokens_BT, IGNORE_INDEX)
    same_BT = (segments_BT[:, 1:] == segments_BT[:, :-1]) & (segments_BT[:, :-1] > 0)
    next_BT[:, :-1] = tokens_BT[:, 1:].masked_fill(~same_BT, IGNORE_INDEX)
    return next_BT


def hard_targets(teacher: TopKTargets) -> TopKTargets:
    """The most probable token with all mass."""
    best_N1 = teacher.ids_NK.gather(1, teacher.log_probs_NK.argmax(1, keepdim=True))
    return _without_tail(teacher, best_N1, torch.zeros(best_N1.shape))


def cut_targets(teacher: TopKTargets) -> TopKTargets:
    """The stored tokens, whose mass becomes one."""
    return _without_tail(teacher, teacher.ids_NK, torch.log_softmax(teacher.log_probs_NK, 1))


def renormalised_kl(logits_NV: Tensor, teacher: TopKTargets) -> Tensor:
    """Sum over the positions of KL(teacher || student), both renormalised over the stored tokens."""
    log_q_NK = torch.log_softmax(logits_NV.gather(1, teacher.ids_NK), 1)
    log_p_NK = torch.log_softmax(teacher.log_probs_NK, 1)
    return (log_p_NK.exp() * (log_p_NK - log_q_NK)).sum()


def _without_tail(teacher: TopKTargets, ids_NK: Tensor, log_probs_NK: Tensor) -> TopKTargets:
    return dataclasses.replace(
        teacher,
        ids_NK=ids_NK,
        log_probs_NK=log_probs_NK,
        log_tail_N=torch.full((len(ids_NK),), float("-inf")),
        tail_ids_NS=torch.empty(len(ids_NK), 0, dtype=torch.long),
    )
