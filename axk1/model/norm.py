"""Root-mean-square normalisation (arXiv 1910.07467), with its gradient written out.

Autograd would keep and walk about ten intermediate tensors; on a CPU that costs more than the matrix products of a
small block.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class RMSNorm(nn.Module):
    """``x / rms(x) * weight`` over the last dimension, computed in float32 (float64 for float64 input)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return _RMSNorm.apply(x, self.weight, self.eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = _wide(x)
        size = x.shape[-1]
        square_sum = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        inverse = square_sum.div_(size).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        normed = wide * inverse
        return normed.mul_(weight) if normed.dtype == x.dtype == weight.dtype else normed.to(x.dtype) * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        wide, size = _wide(x), x.shape[-1]
        normed = wide * inverse
        # y = n * w with n = x / rms: dw = sum(g * n), dx = (g * w - n * mean(g * w * n)) / rms
        weighted = _wide(grad) * normed
        grad_weight = weighted.reshape(-1, size).sum(0).to(weight.dtype)
        mean = (weighted @ _wide(weight)).unsqueeze_(-1).div_(size)
        grad_x = torch.mul(_wide(grad), _wide(weight), out=weighted).addcmul_(normed, mean, value=-1).mul_(inverse)
        return grad_x.to(x.dtype), grad_weight, None


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
