"""The loss of knowledge transfer: a divergence from the teacher mixed with cross-entropy, in one pass.

    loss = kl_weight * T^2 * D(teacher, softmax(z / T)) + ce_weight * cross_entropy(softmax(z))

A temperature T divides the logits in the divergence, which counts T^2 times, so that its gradient keeps its size
beside the cross-entropy's, which is always taken at T = 1. The targets (``targets.py``) and the divergence
(``divergence.py``) are chosen freely, within what is defined; ``measure.py`` brings the two together.

The student's softmax goes over its whole vocabulary, so mass on columns that the teacher does not have (padding) is
pushed away. The reverse KL would be infinite there: it compares the student as it speaks within the teacher's
vocabulary, and leaves the padding to the cross-entropy.

Shapes: N tokens with a target, C tokens of one chunk (or of one band of it), H hidden size, V the student's vocabulary.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from axk1.distill.divergence import Divergence
from axk1.distill.measure import measure_dense_, measure_sampled_, measure_top_k_
from axk1.distill.targets import NEVER, HiddenTargets, SampledTargets, Targets, require_defined
from axk1.train.loss import IGNORE_INDEX, bands, cross_entropy_, default_chunk, fused_linear, rows_with_target

FORWARD_KL = Divergence("forward_kl")
_DENSE_ROWS = 96
"""At 163,840 tokens and hidden sizes of 256 and 512 a fifth faster than 48 on a CPU, for 63 MB."""


@dataclass(frozen=True)
class DistillLoss:
    """Sums over the positions that have a target, in nats."""

    total: Tensor
    """``kl_weight * T^2 * divergence + ce_weight * cross_entropy``, differentiable."""
    divergence: Tensor
    """Sum of the divergence at temperature T, detached."""
    cross_entropy: Tensor
    """Sum of the cross-entropy with the target tokens, detached."""
    targets: int
    """Number of positions with a target."""


def fused_linear_distillation(
    states_NH: Tensor,
    weight_VH: Tensor,
    targets_N: Tensor,
    teacher: Targets,
    *,
    kl_weight: float,
    ce_weight: float,
    temperature: float = 1.0,
    divergence: Divergence = FORWARD_KL,
    ignore_index: int = IGNORE_INDEX,
    chunk: int | None = None,
) -> DistillLoss:
    """The mixed loss of ``softmax(states @ weight.T)``, without ever holding all logits of student or teacher.

    Args:
        states_NH: the student's states of all positions.
        weight_VH: its output matrix; it may have more rows than the teacher has tokens, or fewer.
        targets_N: the token that follows each position, or ``ignore_index``; such rows are skipped.
        teacher: the teacher's distribution of that same token, one row for each of the N positions.
        kl_weight: weight of the divergence; with 0 it is only measured.
        ce_weight: weight of the cross-entropy.
        temperature: T of the divergence; what is stored of the teacher must have been taken at it.
        divergence: which one.
        ignore_index: marks a position without a target.
        chunk: tokens at a time; chosen by vocabulary and device when left out.

    Raises:
        ConfigError: these targets do not define this divergence.
    """
    require_defined(divergence, type(teacher))
    states_NH, targets_N, rows_N = rows_with_target(states_NH, targets_N, ignore_index)
    teacher = (teacher if len(rows_N) == len(teacher) else teacher[rows_N]).within(len(weight_VH))
    chunk_loss = _Mixture(teacher, targets_N, divergence, kl_weight, ce_weight, temperature)
    chunk = chunk or _chunk(teacher, weight_VH)
    total, sums = fused_linear(states_NH, weight_VH, chunk_loss, sums=3, chunk=chunk)
    return DistillLoss(total, sums[1], sums[2], len(targets_N))


def _chunk(teacher: Targets, weight_VH: Tensor) -> int:
    """Tokens at a time. With a matrix of the teacher's there are twice the products, and those of few rows are slow."""
    least = _DENSE_ROWS if isinstance(teacher, HiddenTargets) else 1
    return max(least, default_chunk(len(weight_VH), weight_VH.device.type))


@dataclass
class _Mixture:
    """The loss of a chunk: a ``ChunkLoss``. Its buffers serve all chunks."""

    teacher: Targets
    targets_N: Tensor
    divergence: Divergence
    kl_weight: float
    ce_weight: float
    temperature: float
    buffers: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, logits_CV: Tensor, rows: slice, *, with_gradient: bool) -> Tensor:
        part, targets_C = self.teacher[rows], self.targets_N[rows]
        if isinstance(part, HiddenTargets):
            teacher_CV = part.logits(self.temperature, out=self._buffer("teacher", logits_CV))
            sums = logits_CV.new_zeros(2)
            for band in bands(logits_CV):
                sums += self._rows_(logits_CV[band], teacher_CV[band], targets_C[band], with_gradient)
        else:
            sums = self._rows_(logits_CV, part, targets_C, with_gradient)
        total = self.kl_weight * self.temperature**2 * sums[0] + self.ce_weight * sums[1]
        return torch.cat((total.view(1), sums))

    def _rows_(self, logits_CV: Tensor, part: Tensor | Targets, targets_C: Tensor, with_gradient: bool) -> Tensor:
        """Divergence and cross-entropy; the logits become the gradient of the mixture."""
        V, T, targets_C1 = self.teacher.vocab_size, self.temperature, targets_C.unsqueeze(1)
        if T == 1 and (logits_CV.shape[1] <= V or self.divergence.kind != "reverse_kl"):
            target_C1 = logits_CV.gather(1, targets_C1)
            distance, lse_C1 = self._measure_(logits_CV, part, self.kl_weight, self.ce_weight, with_gradient)
            if with_gradient:
                logits_CV.scatter_add_(1, targets_C1, torch.full_like(target_C1, -self.ce_weight))
            return torch.stack((distance, (lse_C1 - target_C1).sum()))
        # The two parts see different logits.
        plain_CV = self._buffer("plain", logits_CV).copy_(logits_CV)
        ce = cross_entropy_(plain_CV, targets_C, with_gradient=with_gradient)
        logits_CV.div_(T)
        if self.divergence.kind == "reverse_kl":
            logits_CV[:, V:] = NEVER
        # d(T^2 D(z / T)) / dz is T times the gradient at z / T
        distance, _ = self._measure_(logits_CV, part, self.kl_weight * T, 0.0, with_gradient)
        if with_gradient:
            logits_CV.add_(plain_CV, alpha=self.ce_weight)
        return torch.stack((distance, ce))

    def _measure_(
        self, logits_CV: Tensor, part: Tensor | Targets, kl_weight: float, lse_weight: float, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        weights = (kl_weight, lse_weight)
        if isinstance(part, Tensor):
            spare = self._buffer("p", logits_CV), self._buffer("q", logits_CV)
            return measure_dense_(logits_CV, part, self.divergence, *weights, spare, with_gradient=with_gradient)
        if isinstance(part, SampledTargets):
            return measure_sampled_(logits_CV, part, *weights, with_gradient=with_gradient)
        return measure_top_k_(logits_CV, part, self.divergence, *weights, with_gradient=with_gradient)

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        """A buffer as large as the first tensor it was asked for, which no later one exceeds."""
        if name not in self.buffers:
            self.buffers[name] = torch.empty_like(like)
        return self.buffers[name][: len(like)]
