"""The student's log-probabilities of given tokens, and the distance between two probabilities of a span.

``span_divergence`` is that of Approximate Likelihood Matching (arXiv 2503.20083): teacher and student are each asked
one question, whether the text goes on with this span, and their answers are compared as two coins are. Both
log-probabilities are first divided by a temperature, which lets also improbable spans count; it is here multiplied
back on, so that its size hardly depends on it:

    D = t * KL(coin(p ** (1/t)) || coin(q ** (1/t)))         as t grows:  D -> a log(a / b) - a + b

with a = -log p and b = -log q. It is zero where both agree and nowhere else.

Shapes: N tokens, C tokens of a chunk, H hidden size, V vocabulary, S spans.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from axk1.train.loss import default_chunk, logit_chunks

_CERTAIN = 1e-6
"""A log-probability is taken as this far below zero at least, so that the other side of the coin has a logarithm."""


def token_log_probs(states_NH: Tensor, weight_VH: Tensor, ids_N: Tensor, *, chunk: int | None = None) -> Tensor:
    """Natural log-probabilities of tokens under ``softmax(states @ weight.T)`` [N], differentiable.

    No more than a chunk of logits exists at once: they are made again for the gradient.

    Args:
        states_NH: a state for each token, that of the position before it.
        weight_VH: the output matrix.
        ids_N: the tokens.
        chunk: tokens at a time; chosen by vocabulary and device when left out.
    """
    device_type = states_NH.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else states_NH.dtype
    return _TokenLogProbs.apply(states_NH, weight_VH, ids_N, chunk or default_chunk(len(weight_VH), device_type), dtype)


def span_divergence(log_p_S: Tensor, log_q_S: Tensor, temperature: float) -> Tensor:
    """How far the student's probabilities of spans are from the teacher's, in nats, summed; see above.

    Args:
        log_p_S: the teacher's log-probabilities.
        log_q_S: the student's; the gradient goes here.
        temperature: what both are divided by; 1 compares the probabilities themselves.
    """
    log_p_S, log_q_S = ((x / temperature).clamp(max=-_CERTAIN) for x in (log_p_S, log_q_S))
    p_S, not_p_S = log_p_S.exp(), -torch.expm1(log_p_S)
    not_q_S = -torch.expm1(log_q_S)
    heads = p_S * (log_p_S - log_q_S)
    return temperature * (heads + not_p_S * (not_p_S / not_q_S).log()).sum()


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states_NH, weight_VH, ids_N, chunk, dtype):
        ctx.chunk, ctx.dtype = chunk, dtype
        ctx.save_for_backward(states_NH, weight_VH, ids_N)
        found = [logits_CV.gather(1, ids_N[rows, None]).squeeze(1) - logits_CV.logsumexp(1)
                 for rows, logits_CV in _logits(states_NH, weight_VH, chunk, dtype)]  # fmt: skip
        wide = torch.promote_types(dtype, torch.float32)
        return torch.cat(found) if found else states_NH.new_zeros(0, dtype=wide)

    @staticmethod
    def backward(ctx, grad_N):
        states_NH, weight_VH, ids_N = ctx.saved_tensors
        wide = torch.promote_types(ctx.dtype, torch.float32)
        grad_NH, grad_VH = torch.zeros_like(states_NH, dtype=wide), torch.zeros_like(weight_VH, dtype=wide)
        for rows, logits_CV in _logits(states_NH, weight_VH, ctx.chunk, ctx.dtype):
            scale_C1 = grad_N[rows, None].to(logits_CV.dtype)
            gradient_CV = torch.softmax(logits_CV, 1).mul_(-scale_C1).scatter_add_(1, ids_N[rows, None], scale_C1)
            gradient_CV = gradient_CV.to(ctx.dtype)
            grad_NH[rows] = torch.mm(gradient_CV, weight_VH.to(ctx.dtype)).to(wide)
            grad_VH += torch.mm(gradient_CV.t(), states_NH[rows].to(ctx.dtype)).to(wide)
        return grad_NH.to(states_NH.dtype), grad_VH.to(weight_VH.dtype), None, None, None


def _logits(states_NH: Tensor, weight_VH: Tensor, chunk: int, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    with torch.no_grad(), torch.autocast(states_NH.device.type, enabled=False):
        yield from logit_chunks(states_NH.to(dtype), weight_VH.to(dtype), chunk)
