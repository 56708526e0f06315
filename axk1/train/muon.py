"""Muon: momentum, made orthogonal by Newton-Schulz iterations, for hidden matrices and stacked experts.

``torch.optim.Muon`` takes one 2-D matrix at a time. A mixture of experts has hundreds of small ones, in 3-D
parameters [experts, out, in], so here all matrices of one shape, whichever parameter they come from, go through one
batched product: a processor then does a few large calls.

The update is scaled by ``0.2 * sqrt(max(out, in))``, as in "Muon is scalable for LLM training" (arXiv:2502.16982):
its root mean square is then that of an AdamW update, so AdamW's learning rate and weight decay carry over.
It is ``torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`` for matrices, and the same on each slice of a stack.

Shapes: N matrices of a stack, R rows, C columns, R <= C.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from axk1.model.workers import for_each
from axk1.train.parallel.tensors import gathered, local_part, own_part

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, by Keller Jordan: the steepest slope at zero, singular values end within 0.7 to 1.2."""
STACK_ELEMENTS = {"cpu": 2**20, "cuda": 2**26}
"""Most numbers in one batched product, by device: what a processor's cache holds, and small beside a large model."""


class Muon(torch.optim.Optimizer):
    """Muon for parameters of shape [out, in] or [experts, out, in]; the experts of a stack are separate matrices.

    Args:
        params: the parameters or parameter groups. A group's ``matrices_per_slice`` says how many matrices lie one
            above the other in each [out, in] (2 for a gate and an up projection in one); they are updated separately.
        lr: learning rate, of the size that AdamW takes.
        momentum: decay rate of the running mean of the gradient.
        weight_decay: decoupled weight decay.
        steps: Newton-Schulz iterations.
        dtype: arithmetic of the iterations; bf16 is enough where the hardware multiplies it fast.

    A parameter may be a DTensor that is sharded along its first dimension: experts stay where they are, and a
    matrix is gathered for its update.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        steps: int = 5,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps}
        super().__init__(params, {**defaults, "matrices_per_slice": 1})
        self._dtype = dtype
        for group in self.param_groups:
            for param in group["params"]:
                if param.ndim not in (2, 3):
                    raise ValueError(f"Muon takes matrices and stacks of matrices, not shape {tuple(param.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def flops(self) -> float:
        """Floating-point operations of the products of one step."""
        total = 0.0
        for group in self.param_groups:
            for param in group["params"]:
                count, height, width = _slices(param, group["matrices_per_slice"]).shape
                rows, columns = min(height, width), max(height, width)
                total += group["steps"] * count * (4 * rows * rows * columns + 2 * rows**3)
        return total

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for param in params:
            if "momentum_buffer" not in self.state[param]:
                self.state[param]["momentum_buffer"] = torch.zeros_like(param.grad)
        grads = [local_part(p.grad) for p in params]
        means = [local_part(self.state[p]["momentum_buffer"]) for p in params]
        torch._foreach_lerp_(means, grads, 1 - group["momentum"])
        ahead = torch._foreach_lerp(grads, means, group["momentum"])
        whole = [u if u.ndim == 3 else gathered(u, p) for u, p in zip(ahead, params, strict=True)]
        orthogonal = self._orthogonal([_slices(u, group["matrices_per_slice"]) for u in whole], group["steps"])
        updates = [u.view(w.shape) for u, w in zip(orthogonal, whole, strict=True)]
        updates = [u if u.ndim == 3 else own_part(u, p) for u, p in zip(updates, params, strict=True)]
        values = [local_part(p) for p in params]
        torch._foreach_mul_(values, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(values, updates, alpha=-group["lr"])

    def _orthogonal(self, matrices: list[Tensor], steps: int) -> list[Tensor]:
        """The scaled orthogonal update for each stack [N, out, in], in the shapes that came in."""
        results = list(matrices)

        def update(indices: list[int]) -> None:
            wide = [(m.mT if _is_tall(m) else m).to(self._dtype) for m in (matrices[i] for i in indices)]
            stack_NRC = newton_schulz(wide[0] if len(wide) == 1 else torch.cat(wide), steps)
            stack_NRC.mul_(0.2 * math.sqrt(stack_NRC.shape[-1]))
            for i, part in zip(indices, stack_NRC.split([len(w) for w in wide]), strict=True):
                part = part.mT if _is_tall(matrices[i]) else part
                results[i] = part.to(matrices[i].dtype).contiguous()

        stacks = _stacks(matrices)
        if matrices[0].device.type == "cpu":  # a thread for each stack: small products gain little from many threads
            for_each(update, sorted(stacks, key=lambda indices: -sum(matrices[i].numel() for i in indices)))
        else:
            for indices in stacks:
                update(indices)
        return results


def newton_schulz(stack_NRC: Tensor, steps: int) -> Tensor:
    """Brings the singular values of each matrix near 1. Matrices must not be taller than wide (fewer products)."""
    a, b, c = COEFFICIENTS
    norm_N11 = torch.linalg.vector_norm(stack_NRC, dim=(-2, -1), keepdim=True)
    x_NRC = stack_NRC / norm_N11.clamp(min=1e-7)
    for _ in range(steps):
        gram_NRR = torch.bmm(x_NRC, x_NRC.mT)
        poly_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        x_NRC = torch.baddbmm(x_NRC, poly_NRR, x_NRC, beta=a)
    return x_NRC


def _stacks(matrices: list[Tensor]) -> list[list[int]]:
    """Indices of matrices that share a shape once they are laid wide, in stacks of at most STACK_ELEMENTS numbers."""
    limit = STACK_ELEMENTS.get(matrices[0].device.type, STACK_ELEMENTS["cuda"])
    by_shape: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    filled: dict[tuple[int, int], int] = {}
    for index, matrix in enumerate(matrices):
        if matrix.numel() == 0:  # this process holds no expert of a stack that is cut over many
            continue
        shape = (min(matrix.shape[-2:]), max(matrix.shape[-2:]))
        filled[shape] = filled.get(shape, limit) + matrix.numel()
        if filled[shape] > limit:
            by_shape[shape].append([])
            filled[shape] = matrix.numel()
        by_shape[shape][-1].append(index)
    return [stack for stacks in by_shape.values() for stack in stacks]


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[-2] > matrix.shape[-1]


def _slices(update: Tensor, matrices_per_slice: int) -> Tensor:
    """[N, out, in] from [out, in] or [experts, out, in], with the matrices of a slice apart."""
    stack = update if update.ndim == 3 else update.unsqueeze(0)
    return stack.unflatten(1, (matrices_per_slice, -1)).flatten(0, 1)
