"""One-pass fused linear + loss: the gradient is made in the forward pass, so tokens x vocabulary never exists at once.

``fused_linear`` walks over the tokens in chunks. For each chunk it makes the logits in one buffer that all chunks
share, lets a ``ChunkLoss`` turn them in place into their gradient, and multiplies that gradient into the gradients of
the states and of the output matrix. Cross-entropy is here; the divergences of ``distill`` use the same loop.

A chunk is as large as matrix products want it; the passes over its logits go band by band, a band being a few rows
that stay in the cache of one core from the first pass to the last.

Shapes: N tokens with a target, C tokens of one chunk, B tokens of one band, H hidden size, V vocabulary, M sums that
a loss reports.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

IGNORE_INDEX = -100
"""The target of a position that has none."""


class ChunkLoss(Protocol):
    """A loss over logits, evaluated chunk by chunk."""

    def __call__(self, logits_CV: Tensor, rows: slice, *, with_gradient: bool) -> Tensor:
        """Returns sums over the chunk's rows as ``[M]``; the first is the one that is trained.

        Args:
            logits_CV: the logits of ``rows``, in fp32 or wider. The loss may destroy them, and where
                ``with_gradient`` it must leave the gradient of its first sum in them.
            rows: which of the N tokens these are.
            with_gradient: whether the gradient is wanted.
        """
        ...


def fused_linear(
    states_NH: Tensor, weight_VH: Tensor, chunk_loss: ChunkLoss, *, sums: int = 1, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Applies a loss to ``states @ weight.T`` without ever holding all logits.

    Products run in the autocast dtype where autocast is on, else in the dtype of the states; logits, their
    gradient and the sum over chunks are fp32 or wider. Under ``torch.no_grad`` no gradient is computed.
    The backward pass gives the gradients away without a copy; a second one over the same graph makes them anew.

    Args:
        states_NH: the model's last states, only rows that have a target.
        weight_VH: the output matrix.
        chunk_loss: turns logits into sums and into their gradient, in place.
        sums: M, how many sums the loss reports.
        chunk: tokens at a time; chosen by vocabulary and device when left out.

    Returns:
        The first sum, differentiable with respect to states and weight, and all sums ``[M]``, detached.
    """
    chunk = chunk or default_chunk(weight_VH.shape[0], weight_VH.device.type)
    wanted = tuple(torch.is_grad_enabled() and tensor.requires_grad for tensor in (states_NH, weight_VH))
    device_type = states_NH.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else states_NH.dtype
    return _FusedLinear.apply(states_NH, weight_VH, chunk_loss, sums, chunk, wanted, dtype)


def fused_linear_cross_entropy(
    states_NH: Tensor,
    weight_VH: Tensor,
    targets_N: Tensor,
    *,
    ignore_index: int = IGNORE_INDEX,
    chunk: int | None = None,
) -> tuple[Tensor, int]:
    """Cross-entropy of ``softmax(states @ weight.T)`` with the targets, summed.

    Args:
        states_NH: states of all positions, those without a target included.
        weight_VH: the output matrix.
        targets_N: the token to predict at each position, or ``ignore_index``; such rows are skipped, not computed.
        ignore_index: marks a position without a target.
        chunk: tokens at a time; chosen by vocabulary and device when left out.

    Returns:
        The summed loss in nats (divide by the count for the mean), and the number of targets.
    """
    states_NH, targets_N, _ = rows_with_target(states_NH, targets_N, ignore_index)

    def chunk_loss(logits_CV: Tensor, rows: slice, *, with_gradient: bool) -> Tensor:
        return cross_entropy_(logits_CV, targets_N[rows], with_gradient=with_gradient).view(1)

    loss, _ = fused_linear(states_NH, weight_VH, chunk_loss, chunk=chunk)
    return loss, len(targets_N)


def rows_with_target(
    states_NH: Tensor, targets_N: Tensor, ignore_index: int = IGNORE_INDEX
) -> tuple[Tensor, Tensor, Tensor]:
    """The states and targets of those rows that have a target, and the numbers of these rows."""
    rows = (targets_N != ignore_index).nonzero().squeeze(1)
    if len(rows) == len(targets_N):
        return states_NH, targets_N, rows
    return states_NH.index_select(0, rows), targets_N.index_select(0, rows), rows


def cross_entropy_(logits_CV: Tensor, targets_C: Tensor, *, with_gradient: bool) -> Tensor:
    """The summed cross-entropy; overwrites the logits with its gradient (softmax minus one-hot)."""
    targets_C1 = targets_C.unsqueeze(1)
    target_C1 = logits_CV.gather(1, targets_C1)
    # log_softmax is slow on CPU and takes a second buffer; these passes stay in the cache.
    max_C1, sum_C1 = torch.empty_like(target_C1), torch.empty_like(target_C1)
    for band in bands(logits_CV):
        logits_BV = logits_CV[band]
        torch.amax(logits_BV, 1, keepdim=True, out=max_C1[band])
        torch.sum(logits_BV.sub_(max_C1[band]).exp_(), 1, keepdim=True, out=sum_C1[band])
        if with_gradient:
            logits_BV.mul_(sum_C1[band].reciprocal())
    if with_gradient:
        logits_CV.scatter_add_(1, targets_C1, torch.full_like(sum_C1, -1.0))
    return (sum_C1.log() + max_C1 - target_C1).sum()


def default_chunk(vocabulary: int, device_type: str) -> int:
    """Tokens at a time: large enough for fast products, small enough that the logits stay near the processor."""
    if device_type == "cpu":
        budget, least, most, step = 6 << 20, 48, 512, 16
    else:
        budget, least, most, step = 128 << 20, 128, 4096, 128
    return min(most, max(least, budget // vocabulary // step * step))


def bands(x_CV: Tensor) -> Iterator[slice]:
    """Rows of a chunk, so many at a time that several passes over them stay in a core's cache; on a GPU all of them."""
    rows = len(x_CV)
    if x_CV.device.type == "cpu":
        rows = max(1, (torch.get_num_threads() << 17) // x_CV.shape[1])
    return (slice(start, start + rows) for start in range(0, len(x_CV), max(1, rows)))


class _FusedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states_NH, weight_VH, *rest):
        sums, *ctx.gradients = _walk(states_NH, weight_VH, *rest)
        ctx.save_for_backward(states_NH, weight_VH)
        ctx.rest = rest
        total = sums[0].clone()
        ctx.mark_non_differentiable(sums)
        return total, sums

    @staticmethod
    def backward(ctx, grad_total, _):
        leaves, gradients = ctx.saved_tensors, ctx.gradients
        ctx.gradients = None  # no reference stays behind, so that a leaf takes the tensor itself, not a copy
        if gradients is None:
            _, *gradients = _walk(*leaves, *ctx.rest)
        scaled = [
            None if gradient is None else gradient.mul_(grad_total).to(leaf.dtype)
            for gradient, leaf in zip(gradients, leaves, strict=True)
        ]
        return *scaled, None, None, None, None, None


def _walk(
    states_NH: Tensor, weight_VH: Tensor, chunk_loss: ChunkLoss, n_sums: int, chunk: int, wanted: tuple[bool, bool],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """The loop over chunks: the sums, the gradient of the states and the gradient of the weight (None if unwanted)."""
    with torch.no_grad(), torch.autocast(states_NH.device.type, enabled=False):
        states_NH, weight_VH = states_NH.to(dtype), weight_VH.to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        sums = states_NH.new_zeros(n_sums, dtype=wide)
        grad_NH = torch.empty_like(states_NH) if wanted[0] else None
        grad_VH = torch.zeros_like(weight_VH, dtype=wide) if wanted[1] else None
        for rows, logits_CV in logit_chunks(states_NH, weight_VH, chunk):
            sums += chunk_loss(logits_CV, rows, with_gradient=any(wanted))
            gradient_CV = logits_CV.to(dtype) if any(wanted) else None
            if grad_NH is not None:
                torch.mm(gradient_CV, weight_VH, out=grad_NH[rows])
            if grad_VH is not None:
                _accumulate(grad_VH, gradient_CV, states_NH[rows])
        return sums, grad_NH, grad_VH


def logit_chunks(states_NH: Tensor, weight_VH: Tensor, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    """Yields rows and their logits ``[C, V]`` in fp32 or wider; all chunks share one buffer, the caller may spoil it.

    Fresh pages for each chunk would cost more than the arithmetic on them.
    """
    N, V = len(states_NH), len(weight_VH)
    buffer_CV = states_NH.new_empty(min(chunk, N), V, dtype=torch.promote_types(states_NH.dtype, torch.float32))
    for start in range(0, N, chunk):
        rows = slice(start, min(start + chunk, N))
        logits_CV = buffer_CV[: rows.stop - start]
        if states_NH.dtype == logits_CV.dtype:
            torch.mm(states_NH[rows], weight_VH.t(), out=logits_CV)
        else:
            logits_CV.copy_(torch.mm(states_NH[rows], weight_VH.t()))
        yield rows, logits_CV


def _accumulate(grad_VH: Tensor, gradient_CV: Tensor, states_CH: Tensor) -> None:
    if states_CH.dtype == grad_VH.dtype:
        grad_VH.addmm_(gradient_CV.t(), states_CH)
    else:
        grad_VH.add_(torch.mm(gradient_CV.t(), states_CH))
