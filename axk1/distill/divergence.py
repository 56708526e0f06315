"""How far a student's distribution q is from its teacher's p: five divergences and their gradients.

    forward_kl        KL(p || q)                                    covers all that the teacher finds likely
    reverse_kl        KL(q || p)                                    stays where the teacher finds something likely
    jsd               b KL(p || m) + (1 - b) KL(q || m)             with m = b p + (1 - b) q
    skew_kl           KL(p || m)                                    with m = s p + (1 - s) q
    total_variation   sum |p - q| / 2

``jsd`` is the generalised Jensen-Shannon divergence of arXiv 2306.13649 in TRL's convention: ``beta`` weighs the
teacher, and since the formula vanishes at both ends, 0 stands for the forward and 1 for the reverse KL. ``skew_kl`` is
that of DistiLLM (arXiv 2402.03898); with a skew of 0 it is the forward KL.

For a divergence D with derivatives f_i = dD / dq_i, the gradient of the logits behind q is

    dD / dz_i = q_i (f_i - sum_j q_j f_j)

    forward_kl        q_i sum(p) - p_i
    reverse_kl        q_i (log(q_i / p_i) - D)
    jsd               (1 - b) q_i (log(q_i / m_i) - KL(q || m))
    skew_kl           (1 - s) q_i (sum_j q_j p_j / m_j - p_i / m_i)
    total_variation   q_i (s_i - sum_j q_j s_j) / 2                 with s_i = sign(q_i - p_i)

Shapes: B rows, M entries of a distribution: the whole vocabulary, or the top tokens and the tail.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from axk1.core.config import require

DivergenceName = Literal["forward_kl", "reverse_kl", "jsd", "skew_kl", "total_variation"]
NAMES: tuple[str, ...] = get_args(DivergenceName)


@dataclass(frozen=True)
class Divergence:
    """Which divergence.

    Raises:
        ConfigError: an unknown name, or a number out of range.
    """

    name: DivergenceName = "forward_kl"
    """One of ``NAMES``."""
    beta: float = 0.5
    """The teacher's share of the mixture in ``jsd``; 0 is the forward and 1 the reverse KL."""
    skew: float = 0.1
    """The teacher's share of the mixture in ``skew_kl``; 0 is the forward KL."""

    def __post_init__(self) -> None:
        require(self.name in NAMES, "divergence", self.name, f"one of {', '.join(NAMES)}")
        require(0 <= self.beta <= 1, "beta", self.beta, "a number from 0 to 1")
        require(0 <= self.skew < 1, "skew", self.skew, "a number from 0 up to, but not including, 1")

    @property
    def kind(self) -> DivergenceName:
        """The name, with the ends of ``beta`` and ``skew`` called what they are."""
        if self.name == "jsd" and self.beta in (0, 1):
            return "reverse_kl" if self.beta else "forward_kl"
        return "forward_kl" if self.name == "skew_kl" and self.skew == 0 else self.name

    def between_(
        self, log_p_BM: Tensor, p_BM: Tensor, log_q_BM: Tensor, q_BM: Tensor, *, with_gradient: bool
    ) -> Tensor:
        """The divergence of each row, ``[B, 1]``.

        All tensors must be finite (a large negative logarithm stands for a probability of zero). ``log_q_BM``
        becomes the gradient of the logits where it is wanted; ``log_p_BM`` and ``p_BM`` are spoilt.
        """
        tensors = (log_p_BM, p_BM, log_q_BM, q_BM)
        match self.kind:
            case "forward_kl":
                return _forward_kl_(*tensors, with_gradient)
            case "reverse_kl":
                return _reverse_kl_(*tensors, with_gradient)
            case "jsd":
                return _jsd_(*tensors, with_gradient, self.beta)
            case "skew_kl":
                return _skew_kl_(*tensors, with_gradient, self.skew)
        return _total_variation_(*tensors, with_gradient)


def _forward_kl_(log_p: Tensor, p: Tensor, log_q: Tensor, q: Tensor, with_gradient: bool) -> Tensor:
    distance = log_p.sub_(log_q).mul_(p).sum(1, keepdim=True)
    if with_gradient:  # a stored distribution sums to one only up to rounding, hence the sum
        torch.mul(q, p.sum(1, keepdim=True), out=log_q).sub_(p)
    return distance


def _reverse_kl_(log_p: Tensor, p: Tensor, log_q: Tensor, q: Tensor, with_gradient: bool) -> Tensor:
    ratio = log_q.sub_(log_p)
    distance = torch.mul(ratio, q, out=p).sum(1, keepdim=True)
    if with_gradient:
        ratio.sub_(distance).mul_(q)
    return distance


def _jsd_(log_p: Tensor, p: Tensor, log_q: Tensor, q: Tensor, with_gradient: bool, beta: float) -> Tensor:
    from_teacher = torch.mul(p, log_p, out=log_p).sum(1, keepdim=True)
    log_m = _log_mixture(p, q, beta, out=log_p)
    ratio = log_q.sub_(log_m)
    from_teacher -= p.mul_(log_m).sum(1, keepdim=True)
    from_student = torch.mul(ratio, q, out=p).sum(1, keepdim=True)
    if with_gradient:
        ratio.sub_(from_student).mul_(q).mul_(1 - beta)
    return beta * from_teacher + (1 - beta) * from_student


def _skew_kl_(log_p: Tensor, p: Tensor, log_q: Tensor, q: Tensor, with_gradient: bool, skew: float) -> Tensor:
    mixture = _mixture(p, q, skew, out=log_q)
    ratio = torch.div(p, mixture, out=log_q)
    log_ratio = log_p
    # log(p / m) from the quotient, which never exceeds 1 / s; where p is zero it counts nothing.
    distance = torch.clamp(ratio, min=torch.finfo(p.dtype).tiny, out=log_ratio).log_().mul_(p).sum(1, keepdim=True)
    if with_gradient:
        expected = torch.mul(ratio, q, out=p).sum(1, keepdim=True)
        ratio.neg_().add_(expected).mul_(q).mul_(1 - skew)
    return distance


def _total_variation_(log_p: Tensor, p: Tensor, log_q: Tensor, q: Tensor, with_gradient: bool) -> Tensor:
    gap = torch.sub(q, p, out=p)
    sign = torch.sign(gap, out=log_q)
    distance = gap.mul_(sign).sum(1, keepdim=True) / 2
    if with_gradient:
        expected = torch.mul(sign, q, out=log_p).sum(1, keepdim=True)
        sign.sub_(expected).mul_(q).mul_(0.5)
    return distance


def _mixture(p: Tensor, q: Tensor, share: float, *, out: Tensor) -> Tensor:
    """``share * p + (1 - share) * q``, above zero also where both are zero."""
    return torch.mul(p, share, out=out).add_(q, alpha=1 - share).clamp_(min=torch.finfo(p.dtype).tiny)


def _log_mixture(p: Tensor, q: Tensor, share: float, *, out: Tensor) -> Tensor:
    return _mixture(p, q, share, out=out).log_()
