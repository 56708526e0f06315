"""The divergence of a band of logits from each kind of target, in place.

Each function returns the sum of the divergences and the logits' log-sum-exp, and where a gradient is wanted, leaves in
the logits ``kl_weight`` times the divergence's gradient plus ``lse_weight`` times the log-sum-exp's (the softmax),
which is all of the cross-entropy's but the target's own entry.

**Whole distributions** are compared entry by entry.

**The top K tokens and a bucket.** What is known of the tail is its mass r, and Q is what the student gives to the
tail's tokens. The divergence is that of two coarse distributions of K + 1 entries, (p_1..p_K, r) and (q_1..q_K, Q);
columns that the teacher does not have are one entry more, with p = 0. A coarse divergence never exceeds the full one.
It does not say which of the tail's tokens is likely: the tail keeps its own shape and moves as a whole, each of its
tokens taking the share q_i / Q of the bucket's gradient. Nothing is renormalised over the K tokens: that would hide the
tail's mass and give its logits no teacher.

**Soft targets.** Weights t on some tokens whose expectation is the teacher's distribution: tokens drawn from it, or
its top tokens and draws from its tail, each standing for r / S. The forward KL is linear in them, and so without bias:

    KL = sum_i t_i (-log q_i) - entropy of the teacher          d KL / d z_i = q_i sum(t) - t_i

The big passes go band by band (``axk1.train.loss``), the small ones over all rows that are given at once.

Shapes: B rows of a chunk or of a band, V vocabulary, P parts of it, K stored tokens, S drawn tokens, M = K + S.
"""

import torch
from torch import Tensor

from axk1.distill.divergence import Divergence
from axk1.distill.targets import ABSENT, NEVER, SampledTargets, TopKTargets
from axk1.train.loss import bands

_LOWEST_LOG_PROB = -100.0
"""What a stored probability of zero counts as, so that the reverse KL stays finite."""


def measure_dense_(
    logits_BV: Tensor, teacher_BV: Tensor, divergence: Divergence, kl_weight: float, lse_weight: float,
    spare: tuple[Tensor, Tensor], *, with_gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Against the teacher's logits, which are spoilt as the two spare tensors of the same shape are."""
    p_BV, q_BV = spare
    _log_softmax_(teacher_BV, p_BV)
    lse_B1 = _log_softmax_(logits_BV, q_BV)
    distance_B1 = divergence.between_(teacher_BV, p_BV, logits_BV, q_BV, with_gradient=with_gradient)
    if with_gradient:
        if kl_weight != 1:
            logits_BV.mul_(kl_weight)
        if lse_weight:
            logits_BV.add_(q_BV, alpha=lse_weight)
    return distance_B1.sum(), lse_B1


def measure_top_k_(
    logits_BV: Tensor, teacher: TopKTargets, divergence: Divergence, kl_weight: float, lse_weight: float, *,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Against top tokens and a tail: its drawn tokens for the forward KL, where there are any, else its bucket."""
    S = teacher.tail_ids_NS.shape[1]
    if divergence.kind != "forward_kl" or not S:
        return _to_bucket_(logits_BV, teacher, divergence, kl_weight, lse_weight, with_gradient)
    dtype, drawn_BS = logits_BV.dtype, teacher.tail_ids_NS != ABSENT
    each_B1 = teacher.log_tail_N.to(dtype).exp().unsqueeze(1) / drawn_BS.sum(1, keepdim=True).clamp(min=1)
    t_BM = torch.cat((teacher.log_probs_NK.to(dtype).exp(), each_B1 * drawn_BS), 1)
    ids_BM = torch.cat((teacher.ids_NK, teacher.tail_ids_NS), 1)
    surprise, lse_B1 = _to_soft_(logits_BV, ids_BM, t_BM, kl_weight, lse_weight, with_gradient)
    return surprise - teacher.entropy_N.to(dtype).sum(), lse_B1


def measure_sampled_(
    logits_BV: Tensor, teacher: SampledTargets, kl_weight: float, lse_weight: float, *, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """The forward KL, or where the teacher's entropy is not known the cross-entropy, against drawn tokens."""
    weights_BS = teacher.weights_NS.to(logits_BV.dtype)
    surprise, lse_B1 = _to_soft_(logits_BV, teacher.ids_NS, weights_BS, kl_weight, lse_weight, with_gradient)
    entropy_N = teacher.entropy_N
    return surprise if entropy_N is None else surprise - entropy_N.to(logits_BV.dtype).sum(), lse_B1


def _log_softmax_(logits_BV: Tensor, probs_BV: Tensor) -> Tensor:
    """Turns logits into log-probabilities, and the other tensor into probabilities. Returns the log-sum-exp."""
    max_B1 = logits_BV.amax(1, keepdim=True)
    sum_B1 = torch.exp(logits_BV.sub_(max_B1), out=probs_BV).sum(1, keepdim=True)
    log_sum_B1 = sum_B1.log()
    probs_BV.mul_(sum_B1.reciprocal())
    logits_BV.sub_(log_sum_B1)
    return max_B1 + log_sum_B1


def _exponentials_(logits_BV: Tensor, *splits: int) -> tuple[Tensor, Tensor]:
    """Subtracts every row's maximum and exponentiates. Returns the maxima, and the sums of the parts between splits."""
    max_B1 = logits_BV.new_empty(len(logits_BV), 1)
    sums_BP = logits_BV.new_empty(len(logits_BV), len(splits) + 1)
    for band in bands(logits_BV):
        rows, row_max = logits_BV[band], max_B1[band]
        torch.amax(rows, 1, keepdim=True, out=row_max)
        row_max.clamp_(min=torch.finfo(row_max.dtype).min)  # finite even where all is -inf
        rows.sub_(row_max).exp_()
        for number, part in enumerate(rows.tensor_split(splits, dim=1)):
            torch.sum(part, 1, out=sums_BP[band, number])
    return max_B1, sums_BP


def _to_soft_(
    logits_BV: Tensor, ids_BM: Tensor, t_BM: Tensor, kl_weight: float, lse_weight: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    ids_BM = ids_BM.clamp(min=0)  # what is absent has the weight 0
    entry_BM = logits_BV.gather(1, ids_BM)
    max_B1, sum_B1 = _exponentials_(logits_BV)
    lse_B1 = sum_B1.log() + max_B1
    surprise = torch.where(t_BM == 0, 0.0, t_BM * (lse_B1 - entry_BM)).sum()
    if with_gradient:
        mass_B1 = kl_weight * t_BM.sum(1, keepdim=True) + lse_weight
        logits_BV.mul_(mass_B1 / sum_B1).scatter_add_(1, ids_BM, -kl_weight * t_BM)
    return surprise, lse_B1


def _to_bucket_(
    logits_BV: Tensor, teacher: TopKTargets, divergence: Divergence, kl_weight: float, lse_weight: float,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The top tokens are taken out before the softmax and put back after it.

    The tail is shifted by its own maximum, so that its sum is at least one and nothing is lost to rounding or
    underflow, however small its mass.
    """
    dtype, V = logits_BV.dtype, teacher.vocab_size
    ids_BK, present_BK = _distinct(teacher)
    top_BK = torch.where(present_BK, logits_BV.gather(1, ids_BK), float("-inf"))
    logits_BV.scatter_(1, ids_BK, float("-inf"))
    shift_B1, sums_B2 = _exponentials_(logits_BV, V)
    log_q_BM = torch.cat((top_BK, sums_B2.log() + shift_B1), 1)
    lse_B1 = torch.logsumexp(log_q_BM, 1, keepdim=True)

    log_q_BM = log_q_BM.sub_(lse_B1).clamp_(min=NEVER)
    log_p_BM = torch.cat((teacher.log_probs_NK, teacher.log_tail_N.unsqueeze(1)), 1).to(dtype)
    log_p_BM = torch.nn.functional.pad(log_p_BM, (0, 1), value=float("-inf"))
    p_BM, q_BM = log_p_BM.exp(), log_q_BM.exp()
    distance_B1 = divergence.between_(
        log_p_BM.clamp_(min=_LOWEST_LOG_PROB), p_BM, log_q_BM, q_BM, with_gradient=with_gradient
    )
    if with_gradient:
        gradient_BM = log_q_BM.mul_(kl_weight).add_(q_BM, alpha=lse_weight)
        scale_B2 = gradient_BM[:, -2:] / sums_B2.clamp(min=torch.finfo(dtype).tiny)
        logits_BV[:, :V].mul_(scale_B2[:, :1])
        logits_BV[:, V:].mul_(scale_B2[:, 1:])
        # What is absent shares its place with another entry, and adds nothing to it.
        logits_BV.scatter_(1, ids_BK, 0.0).scatter_add_(1, ids_BK, gradient_BM[:, :-2] * present_BK)
    return distance_B1.sum(), lse_B1


def _distinct(teacher: TopKTargets) -> tuple[Tensor, Tensor]:
    """The ids, those that are absent replaced by the row's most probable one, and which are present."""
    present_BK = teacher.ids_NK != ABSENT
    best_B1 = teacher.log_probs_NK.masked_fill(~present_BK, float("-inf")).argmax(1, keepdim=True)
    return torch.where(present_BK, teacher.ids_NK, teacher.ids_NK.gather(1, best_B1)), present_BK
