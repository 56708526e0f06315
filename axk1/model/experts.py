"""Routed experts: tokens sorted by expert, products over each expert's rows, the gradient written out.

There is no loop over tokens. On a GPU the products of all experts are one ``grouped_mm``; on a CPU a thread takes a
whole expert at a time (see ``workers``). An expert's weight is applied before its down projection, so that the
backward pass needs no expert's output.

Shapes: T tokens, K experts per token, M = T * K assignments, E experts, H hidden_size, I moe_intermediate_size.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from axk1.model.mlp import swiglu_backward
from axk1.model.workers import for_each

_CHUNK = 256
"""Tokens that a thread adds up at a time."""


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
    function = _ThreadedExperts if x_TH.device.type == "cpu" else _GroupedExperts
    return function.apply(x_TH, weights_TK.to(x_TH.dtype), experts_TK, gate_up, down)


@dataclass(frozen=True)
class _Order:
    """The assignments sorted by expert."""

    tokens_M: Tensor
    """Token of each sorted row."""
    order_M: Tensor
    """Index of each sorted row among the flattened [T, K] assignments."""
    place_M: Tensor
    """The inverse: sorted row of each assignment."""
    ends_E: Tensor
    """Row behind each expert's last one."""

    @classmethod
    def by_expert(cls, experts_TK: Tensor, experts: int) -> "_Order":
        order_M = experts_TK.flatten().argsort(stable=True)
        place_M = torch.empty_like(order_M)
        place_M[order_M] = torch.arange(order_M.numel(), device=order_M.device)
        ends_E = torch.bincount(experts_TK.flatten(), minlength=experts).cumsum(0)
        return cls(order_M // experts_TK.shape[1], order_M, place_M, ends_E)

    def slices(self) -> list[tuple[int, slice]]:
        """Each expert that has rows, with its rows, the largest first."""
        ends = self.ends_E.tolist()
        rows = [(e, slice(a, b)) for e, (a, b) in enumerate(zip([0, *ends], ends, strict=False)) if a < b]
        return sorted(rows, key=lambda item: item[1].start - item[1].stop)


class _ThreadedExperts(torch.autograd.Function):
    """One expert at a time on one thread."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights_TK: Tensor, experts_TK: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        order = _Order.by_expert(experts_TK, gate_up.shape[0])
        slices, chosen = order.slices(), experts_TK.shape[1]
        scale_M1 = weights_TK.flatten()[order.order_M].unsqueeze(1)
        rows_MH = x.new_empty(order.tokens_M.numel(), x.shape[1])
        gate_up_MI = x.new_empty(rows_MH.shape[0], gate_up.shape[1])
        out_MH = torch.empty_like(rows_MH)

        def one(item: tuple[int, slice]) -> None:
            expert, rows = item
            torch.index_select(x, 0, order.tokens_M[rows], out=rows_MH[rows])
            torch.mm(rows_MH[rows], gate_up[expert].T, out=gate_up_MI[rows])
            gate, up = gate_up_MI[rows].chunk(2, dim=-1)
            torch.mm(F.silu(gate).mul_(up).mul_(scale_M1[rows]), down[expert].T, out=out_MH[rows])

        for_each(one, slices)
        ctx.save_for_backward(rows_MH, gate_up_MI, scale_M1, gate_up, down)
        ctx.order, ctx.slices, ctx.chosen = order, slices, chosen
        return _sum_of_experts(out_MH, order.place_M, chosen)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor, Tensor, None, Tensor, Tensor]:
        rows_MH, gate_up_MI, scale_M1, gate_up, down = ctx.saved_tensors
        order, chosen = ctx.order, ctx.chosen
        whole = len(ctx.slices) == gate_up.shape[0]  # else experts without rows need their zeros
        grad_gate_up = torch.empty_like(gate_up) if whole else torch.zeros_like(gate_up)
        grad_down = torch.empty_like(down) if whole else torch.zeros_like(down)
        grad_MH, grad_scale_M = torch.empty_like(rows_MH), torch.empty_like(scale_M1[:, 0])

        def one(item: tuple[int, slice]) -> None:
            expert, rows = item
            gate, up = gate_up_MI[rows].chunk(2, dim=-1)
            grad = grad_TH.index_select(0, order.tokens_M[rows])
            grad_act = grad @ down[expert]  # of the activation after its weight
            act = F.silu(gate).mul_(up)
            grad_scale_M[rows] = torch.linalg.vecdot(grad_act, act)
            torch.mm(grad.T, act.mul_(scale_M1[rows]), out=grad_down[expert])
            grad_pair = torch.cat(swiglu_backward(grad_act.mul_(scale_M1[rows]), gate, up), dim=-1)
            torch.mm(grad_pair.T, rows_MH[rows], out=grad_gate_up[expert])
            torch.mm(grad_pair, gate_up[expert], out=grad_MH[rows])

        for_each(one, ctx.slices)
        grad_weights_TK = grad_scale_M[order.place_M].view(-1, chosen)
        return _sum_of_experts(grad_MH, order.place_M, chosen), grad_weights_TK, None, grad_gate_up, grad_down


class _GroupedExperts(torch.autograd.Function):
    """All experts in one grouped product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights_TK: Tensor, experts_TK: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        order, chosen = _Order.by_expert(experts_TK, gate_up.shape[0]), experts_TK.shape[1]
        ends = order.ends_E.to(torch.int32)
        rows_MH = x.index_select(0, order.tokens_M)
        gate_up_MI = F.grouped_mm(rows_MH, gate_up.transpose(1, 2), offs=ends)
        scale_M1 = weights_TK.flatten()[order.order_M].unsqueeze(1)
        gate, up = gate_up_MI.chunk(2, dim=-1)
        out_MH = F.grouped_mm(F.silu(gate).mul_(up).mul_(scale_M1), down.transpose(1, 2), offs=ends)
        ctx.save_for_backward(rows_MH, gate_up_MI, scale_M1, gate_up, down)
        ctx.order, ctx.chosen = order, chosen
        return out_MH.index_select(0, order.place_M).unflatten(0, (-1, chosen)).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor, Tensor, None, Tensor, Tensor]:
        rows_MH, gate_up_MI, scale_M1, gate_up, down = ctx.saved_tensors
        order, chosen = ctx.order, ctx.chosen
        ends = order.ends_E.to(torch.int32)
        gate, up = gate_up_MI.chunk(2, dim=-1)
        grad_MH = grad_TH.index_select(0, order.tokens_M)
        grad_act = F.grouped_mm(grad_MH, down, offs=ends)
        act = F.silu(gate).mul_(up)
        grad_scale_M = torch.linalg.vecdot(grad_act, act)
        grad_down = F.grouped_mm(grad_MH.T, act.mul_(scale_M1), offs=ends)
        grad_pair = torch.cat(swiglu_backward(grad_act.mul_(scale_M1), gate, up), dim=-1)
        grad_gate_up = F.grouped_mm(grad_pair.T, rows_MH, offs=ends)
        grad_rows = F.grouped_mm(grad_pair, gate_up, offs=ends).index_select(0, order.place_M)
        grad_x = grad_rows.unflatten(0, (-1, chosen)).sum(1)
        return grad_x, grad_scale_M[order.place_M].view(-1, chosen), None, grad_gate_up, grad_down


def _sum_of_experts(rows_MH: Tensor, place_M: Tensor, chosen: int) -> Tensor:
    """Brings sorted rows back into token order and adds up each token's rows, a stretch of tokens per thread."""
    out_TH = rows_MH.new_empty(rows_MH.shape[0] // chosen, rows_MH.shape[1])

    def one(start: int) -> None:
        places = place_M[start * chosen : (start + _CHUNK) * chosen]
        rows = rows_MH.index_select(0, places).unflatten(0, (-1, chosen))
        torch.sum(rows, dim=1, out=out_TH[start : start + _CHUNK])

    for_each(one, range(0, out_TH.shape[0], _CHUNK))
    return out_TH
