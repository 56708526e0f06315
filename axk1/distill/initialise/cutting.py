"""Parts of tensors: the best of something, and a module's weights cut to them."""

import torch
from torch import Tensor, nn

from axk1.model.norm import RMSNorm

Index = Tensor | None
"""Which entries stay, in order; None is all."""


def best(scores: Tensor, count: int) -> Tensor:
    """The indices of the largest scores, in their own order; of equal ones the first."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def taken(source: Tensor, *indices: Index) -> Tensor:
    """The entries of a tensor that stay, dimension by dimension."""
    for dimension, index in enumerate(indices):
        if index is not None:
            source = source.index_select(dimension, index)
    return source


def cut_linear(target: nn.Linear, source: nn.Linear, rows: Index = None, columns: Index = None) -> None:
    """Copies the outputs ``rows`` and the inputs ``columns`` of a linear layer."""
    target.weight.copy_(taken(source.weight, rows, columns))
    if source.bias is not None:
        target.bias.copy_(taken(source.bias, rows))


def cut_norm(target: RMSNorm, source: RMSNorm, kept: Index = None, square: Tensor | None = None) -> None:
    """Copies the channels of a norm that stay.

    Args:
        target, source: the norms.
        kept: the channels.
        square: mean square of each channel that the source reads. What stays is seldom of average size, so that the
            norm over it alone would scale otherwise; the weight makes up for this, on average.
    """
    weight = taken(source.weight, kept)
    if kept is not None and square is not None:
        weight = weight * (square[kept].mean() / square.mean()).sqrt().to(weight.dtype)
    target.weight.copy_(weight)


def blocks_of(index: Tensor, size: int) -> Tensor:
    """The rows of heads, each of ``size`` rows: [heads] -> [heads * size]."""
    return (index.unsqueeze(1) * size + torch.arange(size, device=index.device)).flatten()
