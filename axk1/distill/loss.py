"""Forward KL from a teacher known by its top K tokens and its tail, mixed with cross-entropy, in one pass.

The teacher gives, at each position, the probabilities p_1..p_K of K tokens and the mass r = 1 - sum(p) of all other
tokens of its vocabulary, the tail. What else is known of the tail decides the loss; q is the student's softmax.

**S tokens drawn from the tail**, each standing for r / S of the mass. With the K probabilities they make a target t
whose expectation is the teacher's distribution, so loss and gradient are those of the full KL in expectation:

    KL = sum_i t_i (-log q_i) - entropy of the teacher          d KL / d z_i = q_i - t_i

**Nothing but its mass** (S = 0). The tail is one bucket, with Q the sum of q over it, and the loss is the divergence
between two coarse distributions of K + 1 entries, which never exceeds the full KL. It does not say which of the
tail's tokens is likely; that is left to the cross-entropy.

    KL = sum_k p_k (log p_k - log q_k) + r (log r - log Q)

    d KL / d z_i = q_i - p_i             for one of the K tokens
                 = q_i - r q_i / Q       for a token of the tail: the tail keeps its own shape and moves as a whole
                 = q_i                   for a column that the teacher's vocabulary does not have (padding)

In neither case is anything renormalised over the K tokens: that would hide the tail's mass and give its logits no
teacher. A temperature T divides the student's logits in the KL (the cache holds the teacher at the same T), and the
KL counts T^2 times, so that its gradient keeps its size beside the cross-entropy's, which is always taken at T = 1.

Shapes: N tokens with a target, C tokens of one chunk, H hidden size, V the student's vocabulary, K stored tokens,
S tokens drawn from the tail.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from axk1.train.loss import IGNORE_INDEX, cross_entropy_, fused_linear, rows_with_target


@dataclass(frozen=True)
class TopKTargets:
    """The teacher's distribution at N positions."""

    ids_NK: Tensor
    """Its K most probable tokens, each once."""
    log_probs_NK: Tensor
    """Their natural log-probabilities."""
    log_tail_N: Tensor
    """Log of the mass of all its other tokens; -inf where there is none."""
    tail_ids_NS: Tensor
    """Tokens drawn from these by their probability; one can come several times, and S can be 0."""
    entropy_N: Tensor
    """Entropy of the whole distribution, in nats; read only where S is above 0."""
    vocab_size: int
    """Size of its vocabulary: no tokens beyond it exist for the teacher."""

    def __getitem__(self, rows: slice | Tensor) -> "TopKTargets":
        """The targets of some of the positions."""
        parts = (self.ids_NK, self.log_probs_NK, self.log_tail_N, self.tail_ids_NS, self.entropy_N)
        return TopKTargets(*(part[rows] for part in parts), self.vocab_size)


@dataclass(frozen=True)
class DistillLoss:
    """Sums over the positions that have a target, in nats."""

    total: Tensor
    """``kl_weight * T^2 * kl + ce_weight * cross_entropy``, differentiable."""
    kl: Tensor
    """Sum of KL(teacher || student) at temperature T, detached."""
    cross_entropy: Tensor
    """Sum of the cross-entropy with the target tokens, detached."""
    targets: int
    """Number of positions with a target."""


def fused_linear_distillation(
    states_NH: Tensor,
    weight_VH: Tensor,
    targets_N: Tensor,
    teacher: TopKTargets,
    *,
    kl_weight: float,
    ce_weight: float,
    temperature: float = 1.0,
    ignore_index: int = IGNORE_INDEX,
    chunk: int | None = None,
) -> DistillLoss:
    """The mixed loss of ``softmax(states @ weight.T)``, without ever holding all logits.

    Args:
        states_NH: the student's states of all positions.
        weight_VH: its output matrix; may have more rows than the teacher has tokens.
        targets_N: the token that follows each position, or ``ignore_index``; such rows are skipped.
        teacher: the teacher's distribution of that same token, one row for each of the N positions.
        kl_weight: weight of the divergence; with 0 it is only measured.
        ce_weight: weight of the cross-entropy.
        temperature: T of the divergence, and of the teacher's log-probabilities.
        ignore_index: marks a position without a target.
        chunk: tokens at a time; chosen by vocabulary and device when left out.
    """
    states_NH, targets_N, rows_N = rows_with_target(states_NH, targets_N, ignore_index)
    teacher = teacher if len(rows_N) == len(teacher.ids_NK) else teacher[rows_N]

    def chunk_loss(logits_CV: Tensor, rows: slice, *, with_gradient: bool) -> Tensor:
        part, tokens_C = teacher[rows], targets_N[rows]
        if temperature == 1:
            kl, ce = forward_kl_(logits_CV, part, kl_weight, tokens_C, ce_weight, with_gradient=with_gradient)
        else:
            plain_CV = logits_CV.clone()
            ce = cross_entropy_(plain_CV, tokens_C, with_gradient=with_gradient)
            kl, _ = forward_kl_(logits_CV.div_(temperature), part, kl_weight, with_gradient=with_gradient)
            if with_gradient:  # d(T^2 KL(z / T)) / dz is T times the gradient at z / T
                logits_CV.mul_(temperature).add_(plain_CV, alpha=ce_weight)
        return torch.stack((kl_weight * temperature**2 * kl + ce_weight * ce, kl, ce))

    total, sums = fused_linear(states_NH, weight_VH, chunk_loss, sums=3, chunk=chunk)
    return DistillLoss(total, sums[1], sums[2], len(targets_N))


def forward_kl_(
    logits_CV: Tensor,
    teacher: TopKTargets,
    kl_weight: float,
    targets_C: Tensor | None = None,
    ce_weight: float = 0.0,
    *,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Sums of KL(teacher || softmax(logits)) and cross-entropy; overwrites the logits with their weighted gradient."""
    loss = _kl_to_samples_ if teacher.tail_ids_NS.shape[1] else _kl_to_bucket_
    return loss(logits_CV, teacher, kl_weight, targets_C, ce_weight, with_gradient)


def _kl_to_samples_(
    logits_CV: Tensor, teacher: TopKTargets, kl_weight: float, targets_C: Tensor | None, ce_weight: float,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The tail as tokens drawn from it: a soft target with K + S entries."""
    dtype, S = logits_CV.dtype, teacher.tail_ids_NS.shape[1]
    ids_CM = torch.cat((teacher.ids_NK, teacher.tail_ids_NS), 1)
    each_C1 = teacher.log_tail_N.to(dtype).exp().unsqueeze(1) / S
    t_CM = torch.cat((teacher.log_probs_NK.to(dtype).exp(), each_C1.expand(-1, S)), 1)
    entry_CM = logits_CV.gather(1, ids_CM)
    target_C1 = None if targets_C is None else logits_CV.gather(1, targets_C.unsqueeze(1))

    max_C1 = logits_CV.amax(1, keepdim=True)
    sum_C1 = logits_CV.sub_(max_C1).exp_().sum(1, keepdim=True)
    lse_C1 = sum_C1.log() + max_C1
    surprise_CM = torch.where(t_CM == 0, 0.0, t_CM * (lse_C1 - entry_CM))
    kl = surprise_CM.sum() - teacher.entropy_N.to(dtype).sum()
    ce = kl.new_zeros(()) if target_C1 is None else (lse_C1 - target_C1).sum()
    if with_gradient:
        mass_C1 = kl_weight * t_CM.sum(1, keepdim=True) + ce_weight  # kl_weight + ce_weight, up to rounding
        logits_CV.mul_(mass_C1 / sum_C1).scatter_add_(1, ids_CM, -kl_weight * t_CM)
        if targets_C is not None:
            logits_CV.scatter_add_(1, targets_C.unsqueeze(1), torch.full_like(lse_C1, -ce_weight))
    return kl, ce


def _kl_to_bucket_(
    logits_CV: Tensor, teacher: TopKTargets, kl_weight: float, targets_C: Tensor | None, ce_weight: float,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The tail as one bucket.

    The top tokens are taken out before the softmax and put back after it. The tail is shifted by its own maximum,
    so that its sum is at least one and nothing is lost to rounding or underflow, however small its mass.
    """
    dtype, lowest = logits_CV.dtype, torch.finfo(logits_CV.dtype).min
    log_p_CK, log_r_C1 = teacher.log_probs_NK.to(dtype), teacher.log_tail_N.to(dtype).unsqueeze(1)
    top_CK = logits_CV.gather(1, teacher.ids_NK)
    target_C1 = None if targets_C is None else logits_CV.gather(1, targets_C.unsqueeze(1))

    logits_CV.scatter_(1, teacher.ids_NK, float("-inf"))
    shift_C1 = logits_CV.amax(1, keepdim=True).clamp_(min=lowest)  # finite even where the tail is all -inf
    tail_CV, padding_CV = logits_CV.sub_(shift_C1).exp_().tensor_split((teacher.vocab_size,), dim=1)
    tail_sum_C1 = tail_CV.sum(1, keepdim=True)
    log_rest_C1 = (tail_sum_C1 + padding_CV.sum(1, keepdim=True)).log() + shift_C1
    lse_C1 = torch.logsumexp(torch.cat((top_CK, log_rest_C1), 1), 1, keepdim=True)

    log_q_CK, log_tail_C1 = top_CK - lse_C1, tail_sum_C1.log() + shift_C1 - lse_C1
    kl = _divergence(log_p_CK, log_q_CK) + _divergence(log_r_C1, log_tail_C1)
    ce = kl.new_zeros(()) if target_C1 is None else (lse_C1 - target_C1).sum()
    if with_gradient:
        p_CK, r_C1 = log_p_CK.exp(), log_r_C1.exp()
        mass_C1 = kl_weight * (p_CK.sum(1, keepdim=True) + r_C1) + ce_weight  # kl_weight + ce_weight, up to rounding
        scale_C1 = mass_C1 * (shift_C1 - lse_C1).exp()
        tail_CV.mul_(scale_C1 - kl_weight * r_C1 / tail_sum_C1.clamp(min=torch.finfo(dtype).tiny))
        padding_CV.mul_(scale_C1)
        logits_CV.scatter_(1, teacher.ids_NK, mass_C1 * log_q_CK.exp() - kl_weight * p_CK)
        if targets_C is not None:
            logits_CV.scatter_add_(1, targets_C.unsqueeze(1), torch.full_like(lse_C1, -ce_weight))
    return kl, ce


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Sum of p (log p - log q), where an entry with p = 0 counts nothing whatever q is."""
    return torch.where(log_p == float("-inf"), 0.0, log_p.exp() * (log_p - log_q)).sum()
