"""Routed experts: tokens sorted by expert, products over each expert's rows, the gradient written out.

There is no loop over tokens. On a GPU the products of all experts are one ``grouped_mm``; on a CPU a thread takes a
whole expert at a time (see ``workers``). An expert's weight is applied before its down projection, so that the
backward pass needs no expert's output.

Shapes: T tokens, K experts per token, M = T * K assignments, E experts, H hidden_size, I moe_intermediate_size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from axk1.model.mlp import swiglu_backward
from axk1.model.workers import for_each


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


@torch.no_grad()
def some_routed_experts(
    x_TH: Tensor, weights_TK: Tensor, experts_TK: Tensor, first: int, gate_up: Tensor, down: Tensor
) -> Tensor:
    """What some of the experts give to the weighted sum; without gradients, and without what these would need.

    Args:
        x_TH, weights_TK, experts_TK: as for ``routed_experts``.
        first: the first expert that is here.
        gate_up, down: theirs and of those that follow; the assignments to others count nothing.

    Returns:
        [T, H] in the dtype of x (of autocast where that is on). Each token's experts are added in one order.
    """
    if torch.is_autocast_enabled(x_TH.device.type):
        dtype = torch.get_autocast_dtype(x_TH.device.type)
        x_TH, gate_up, down = x_TH.to(dtype), gate_up.to(dtype), down.to(dtype)
    here_TK = (experts_TK >= first) & (experts_TK < first + len(down))
    tokens_M, choice_M = here_TK.nonzero().unbind(1)
    experts_M = experts_TK[tokens_M, choice_M].long() - first
    order_M = experts_M.argsort(stable=True)
    sorted_M, counts_E = tokens_M[order_M], torch.bincount(experts_M, minlength=len(down))
    scale_M1 = weights_TK[tokens_M, choice_M][order_M].to(x_TH.dtype).unsqueeze(1)
    products = _threaded_products if x_TH.device.type == "cpu" else _grouped_products
    out_MH = products(x_TH, sorted_M, scale_M1, counts_E, gate_up, down)
    place_M = torch.empty_like(order_M)
    place_M[order_M] = torch.arange(len(order_M), device=order_M.device)
    counts_T = here_TK.sum(1)
    return F.embedding_bag(place_M, out_MH, counts_T.cumsum(0) - counts_T, mode="sum")


def _threaded_products(
    x_TH: Tensor, tokens_M: Tensor, scale_M1: Tensor, counts_E: Tensor, gate_up: Tensor, down: Tensor
) -> Tensor:
    """What each expert makes of its tokens, times their weights [M, H]: one expert at a time on one thread."""
    out_MH = x_TH.new_empty(len(tokens_M), x_TH.shape[1])

    def one(expert: tuple[Tensor, ...]) -> None:
        tokens, scale, gate_up_IH, down_HI, out = expert
        gate, up = torch.mm(x_TH.index_select(0, tokens), gate_up_IH.T).chunk(2, 1)
        torch.mm(F.silu(gate).mul_(up).mul_(scale), down_HI.T, out=out)

    experts = _experts(counts_E, (tokens_M, scale_M1), (gate_up, down), (out_MH,))
    for_each(one, (expert for expert in experts if len(expert[0])))
    return out_MH


def _grouped_products(
    x_TH: Tensor, tokens_M: Tensor, scale_M1: Tensor, counts_E: Tensor, gate_up: Tensor, down: Tensor
) -> Tensor:
    """The same in one grouped product."""
    ends = counts_E.cumsum(0, dtype=torch.int32)
    gate, up = F.grouped_mm(x_TH.index_select(0, tokens_M), gate_up.transpose(1, 2), offs=ends).chunk(2, dim=-1)
    return F.grouped_mm(F.silu(gate).mul_(up).mul_(scale_M1), down.transpose(1, 2), offs=ends)


@dataclass(frozen=True)
class _Order:
    """The assignments sorted by expert."""

    tokens_M: Tensor
    """Token of each sorted row."""
    order_M: Tensor
    """Index of each sorted row among the flattened [T, K] assignments."""
    place_TK: Tensor
    """The inverse: sorted row of each assignment."""
    counts_E: Tensor
    """Rows of each expert."""

    @classmethod
    def by_expert(cls, experts_TK: Tensor, experts: int) -> "_Order":
        order_M = experts_TK.flatten().argsort(stable=True)
        place_M = torch.empty_like(order_M)
        place_M[order_M] = torch.arange(order_M.numel(), device=order_M.device)
        counts_E = torch.bincount(experts_TK.flatten(), minlength=experts)
        return cls(order_M // experts_TK.shape[1], order_M, place_M.view_as(experts_TK), counts_E)


class _ThreadedExperts(torch.autograd.Function):
    """One expert at a time on one thread."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights_TK: Tensor, experts_TK: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        order, inner = _Order.by_expert(experts_TK, gate_up.shape[0]), down.shape[2]
        scale_M1 = weights_TK.flatten()[order.order_M].unsqueeze(1)
        gate_up_MI = x.new_empty(scale_M1.shape[0], 2 * inner)
        out_MH = x.new_empty(scale_M1.shape[0], x.shape[1])

        def one(expert: tuple[Tensor, ...]) -> None:
            tokens, scale, gate_up_IH, down_HI, pair, out = expert
            torch.mm(x.index_select(0, tokens), gate_up_IH.T, out=pair)
            act = F.silu(pair[:, :inner]).mul_(pair[:, inner:]).mul_(scale)
            torch.mm(act, down_HI.T, out=out)

        experts = _experts(order.counts_E, (order.tokens_M, scale_M1), (gate_up, down), (gate_up_MI, out_MH))
        for_each(one, (expert for expert in experts if len(expert[0])))
        ctx.save_for_backward(x, gate_up_MI, scale_M1, gate_up, down)
        ctx.order = order
        return _sum_of_experts(out_MH, order.place_TK)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor, Tensor, None, Tensor, Tensor]:
        x, gate_up_MI, scale_M1, gate_up, down = ctx.saved_tensors
        order, inner = ctx.order, down.shape[2]
        grad_gate_up, grad_down = torch.empty_like(gate_up), torch.empty_like(down)
        grad_MH, grad_scale_M = x.new_empty(scale_M1.shape[0], x.shape[1]), torch.empty_like(scale_M1[:, 0])

        def one(expert: tuple[Tensor, ...]) -> None:
            tokens, scale, pair, gate_up_IH, down_HI, to_gate_up, to_down, to_x, to_scale = expert
            gate, up = pair.chunk(2, dim=1)
            grad = grad_TH.index_select(0, tokens)
            grad_act = torch.mm(grad, down_HI)  # of the activation after its weight
            silu = F.silu(gate)
            act = silu * up
            torch.linalg.vecdot(grad_act, act, out=to_scale)
            torch.mm(grad.T, act.mul_(scale), out=to_down)
            grad_pair = torch.empty_like(pair)
            torch.mul(grad_act.mul_(scale), silu, out=grad_pair[:, inner:])
            torch.ops.aten.silu_backward.grad_input(grad_act.mul_(up), gate, grad_input=grad_pair[:, :inner])
            torch.mm(grad_pair.T, x.index_select(0, tokens), out=to_gate_up)
            torch.mm(grad_pair, gate_up_IH, out=to_x)

        weights = (gate_up, down, grad_gate_up, grad_down)
        rows = (order.tokens_M, scale_M1, gate_up_MI)
        for_each(one, _experts(order.counts_E, rows, weights, (grad_MH, grad_scale_M)))
        grad_weights_TK = grad_scale_M[order.place_TK]
        return _sum_of_experts(grad_MH, order.place_TK), grad_weights_TK, None, grad_gate_up, grad_down


def _experts(
    counts_E: Tensor, rows: Sequence[Tensor], weights: Sequence[Tensor], more_rows: Sequence[Tensor]
) -> list[tuple[Tensor, ...]]:
    """For each expert its part of every tensor, those with the most rows first."""
    counts = counts_E.tolist()
    parts = [*(t.split(counts) for t in rows), *(t.unbind() for t in weights), *(t.split(counts) for t in more_rows)]
    return sorted(zip(*parts, strict=True), key=lambda part: -len(part[0]))


class _GroupedExperts(torch.autograd.Function):
    """All experts in one grouped product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights_TK: Tensor, experts_TK: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        order = _Order.by_expert(experts_TK, gate_up.shape[0])
        ends = order.counts_E.cumsum(0, dtype=torch.int32)
        rows_MH = x.index_select(0, order.tokens_M)
        gate_up_MI = F.grouped_mm(rows_MH, gate_up.transpose(1, 2), offs=ends)
        scale_M1 = weights_TK.flatten()[order.order_M].unsqueeze(1)
        gate, up = gate_up_MI.chunk(2, dim=-1)
        out_MH = F.grouped_mm(F.silu(gate).mul_(up).mul_(scale_M1), down.transpose(1, 2), offs=ends)
        ctx.save_for_backward(rows_MH, gate_up_MI, scale_M1, gate_up, down)
        ctx.order = order
        return _sum_of_experts(out_MH, order.place_TK)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor, Tensor, None, Tensor, Tensor]:
        rows_MH, gate_up_MI, scale_M1, gate_up, down = ctx.saved_tensors
        order = ctx.order
        ends = order.counts_E.cumsum(0, dtype=torch.int32)
        gate, up = gate_up_MI.chunk(2, dim=-1)
        grad_MH = grad_TH.index_select(0, order.tokens_M)
        grad_act = F.grouped_mm(grad_MH, down, offs=ends)
        act = F.silu(gate).mul_(up)
        grad_scale_M = torch.linalg.vecdot(grad_act, act)
        grad_down = F.grouped_mm(grad_MH.T, act.mul_(scale_M1), offs=ends)
        grad_pair = torch.cat(swiglu_backward(grad_act.mul_(scale_M1), gate, up), dim=-1)
        grad_gate_up = F.grouped_mm(grad_pair.T, rows_MH, offs=ends)
        grad_x = _sum_of_experts(F.grouped_mm(grad_pair, gate_up, offs=ends), order.place_TK)
        return grad_x, grad_scale_M[order.place_TK], None, grad_gate_up, grad_down


def _sum_of_experts(rows_MH: Tensor, place_TK: Tensor) -> Tensor:
    """Adds up the sorted rows of each token."""
    return F.embedding_bag(place_TK, rows_MH, mode="sum")
