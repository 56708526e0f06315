"""Routed experts: tokens sorted by expert, one product per expert and matrix, the gradient written out.

The loop runs over experts, never over tokens. On a GPU the products are ``grouped_mm``; on a CPU, where PyTorch's
``grouped_mm`` is itself a loop over groups, they write straight into their slice of one buffer.

Shapes: T tokens, K experts per token, M = T * K assignments, E experts, H hidden_size, I moe_intermediate_size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from axk1.model.mlp import swiglu_backward


def routed_experts(x_TH: Tensor, weights_TK: Tensor, experts_TK: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """The weighted sum of each token's experts.

    Args:
        x_TH: tokens.
        weights_TK: weight of each chosen expert.
        experts_TK: index of each chosen expert.
        gate_up: [E, 2 I, H], the gate's rows first.
        down: [E, H, I].

    Returns:
        [T, H] in the dtype of x (of autocast where that is on).
    """
    if torch.is_autocast_enabled(x_TH.device.type):
        dtype = torch.get_autocast_dtype(x_TH.device.type)
        x_TH, gate_up, down = x_TH.to(dtype), gate_up.to(dtype), down.to(dtype)
    return _RoutedExperts.apply(x_TH, weights_TK.to(x_TH.dtype), experts_TK, gate_up, down)


class _RoutedExperts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_TH: Tensor, weights_TK: Tensor, experts_TK: Tensor, gate_up: Tensor, down: Tensor
    ) -> Tensor:
        chosen = experts_TK.shape[1]
        order_M = experts_TK.flatten().argsort(stable=True)
        place_M = torch.empty_like(order_M)  # inverse: where in the sorted rows an assignment went
        place_M[order_M] = torch.arange(order_M.numel(), device=order_M.device)
        groups = _Groups(torch.bincount(experts_TK.flatten(), minlength=gate_up.shape[0]))
        rows_MH = x_TH.index_select(0, order_M // chosen)
        gate_up_MI = groups.product(rows_MH, gate_up.transpose(1, 2))
        gate, up = gate_up_MI.chunk(2, dim=-1)
        scale_M1 = weights_TK.flatten()[order_M].unsqueeze(1)
        # The expert's weight is applied before its down projection, so that the backward pass needs no outputs.
        out_MH = groups.product(F.silu(gate).mul_(up).mul_(scale_M1), down.transpose(1, 2))
        ctx.save_for_backward(rows_MH, gate_up_MI, scale_M1, order_M, place_M, gate_up, down)
        ctx.groups = groups
        return _sum_of_experts(out_MH, place_M, chosen)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor, Tensor, None, Tensor, Tensor]:
        rows_MH, gate_up_MI, scale_M1, order_M, place_M, gate_up, down = ctx.saved_tensors
        groups: _Groups = ctx.groups
        chosen = order_M.numel() // grad_TH.shape[0]
        gate, up = gate_up_MI.chunk(2, dim=-1)
        grad_MH = grad_TH.index_select(0, order_M // chosen)
        grad_act = groups.product(grad_MH, down)  # before the expert's weight
        act = F.silu(gate).mul_(up)
        grad_scale_M = torch.linalg.vecdot(grad_act, act)
        grad_down = groups.outer(grad_MH, act.mul_(scale_M1))
        grad_gate_up_MI = torch.cat(swiglu_backward(grad_act.mul_(scale_M1), gate, up), dim=-1)
        grad_gate_up = groups.outer(grad_gate_up_MI, rows_MH)
        grad_x = _sum_of_experts(groups.product(grad_gate_up_MI, gate_up), place_M, chosen)
        grad_weights_TK = grad_scale_M[place_M].view(-1, chosen)
        return grad_x, grad_weights_TK, None, grad_gate_up, grad_down


def _sum_of_experts(rows_MH: Tensor, place_M: Tensor, chosen: int) -> Tensor:
    """Brings the sorted rows back into token order and adds up each token's rows."""
    return rows_MH.index_select(0, place_M).unflatten(0, (-1, chosen)).sum(1)


class _Groups:
    """Matrix products over rows that are sorted by expert."""

    def __init__(self, counts_E: Tensor) -> None:
        self.on_cpu = counts_E.device.type == "cpu"
        if self.on_cpu:
            ends = counts_E.cumsum(0).tolist()
            self.slices = [(e, a, b) for e, (a, b) in enumerate(zip([0, *ends], ends, strict=False)) if a < b]
        else:
            self.ends = counts_E.cumsum(0).to(torch.int32)
        self.experts = counts_E.numel()

    def product(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """rows [M, A] times each row's matrix of [E, A, B] -> [M, B]."""
        if not self.on_cpu:
            return F.grouped_mm(rows, matrices, offs=self.ends)
        out = rows.new_empty(rows.shape[0], matrices.shape[2])
        for expert, begin, end in self.slices:
            torch.mm(rows[begin:end], matrices[expert], out=out[begin:end])
        return out

    def outer(self, left: Tensor, right: Tensor) -> Tensor:
        """Per expert left^T right over its rows: [M, A], [M, B] -> [E, A, B]; zeros where it has no rows."""
        if not self.on_cpu:
            return F.grouped_mm(left.transpose(0, 1), right, offs=self.ends)
        shape = (self.experts, left.shape[1], right.shape[1])
        out = left.new_empty(shape) if len(self.slices) == self.experts else left.new_zeros(shape)
        for expert, begin, end in self.slices:
            torch.mm(left[begin:end].T, right[begin:end], out=out[expert])
        return out
