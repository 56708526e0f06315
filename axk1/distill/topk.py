"""The top K tokens of a distribution and the mass of the rest, or draws from it, without holding all logits.

Shapes: N tokens, C tokens of one chunk, H hidden size, V vocabulary, K tokens kept, G groups of columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from axk1.train.loss import default_chunk, logit_chunks

_NEVER = -1e4
"""A logit, relative to the largest, whose probability is zero; finite, so that zero times it is zero."""
_LOGITS = 64 << 20
"""Logits at a time, at most, where they are only looked at."""
_GROUP = 8
"""Columns in a group of the pre-selection: fewer leave more maxima to search, more leave more candidates."""


@dataclass(frozen=True)
class TopK:
    """Distributions at N positions, in short."""

    ids_NK: Tensor
    """The K most probable tokens, the most probable first."""
    log_probs_NK: Tensor
    """Their natural log-probabilities, fp32."""
    log_tail_N: Tensor
    """Log of the mass of all other tokens, exact also where it is far below rounding; -inf where there is none."""
    tail_ids_NS: Tensor
    """Tokens drawn from the tail."""
    entropy_N: Tensor
    """Entropy of the whole distribution, in nats."""


def scoring_chunk(vocabulary: int, device_type: str) -> int:
    """Tokens at a time where logits are only looked at.

    More than ``default_chunk``: nothing else is held, and on a CPU a product of 48 rows runs at half the rate of one of
    384.
    """
    chunk = default_chunk(vocabulary, device_type)
    return chunk if device_type != "cpu" else max(chunk, min(512, _LOGITS // vocabulary // 16 * 16))


@torch.no_grad()
def top_k_of_states(
    states_NH: Tensor, weight_VH: Tensor | None, k: int, uniform_NS: Tensor, *, temperature: float = 1.0,
    chunk: int | None = None,
) -> TopK:  # fmt: skip
    """The top of ``softmax(states @ weight.T / temperature)``, the mass of its tail, and tokens drawn from the tail.

    Args:
        states_NH: the teacher's states.
        weight_VH: its output matrix; None where the states are themselves the logits [N, V].
        k: tokens to keep.
        uniform_NS: numbers above 0, up to 1, that decide which tokens are drawn; their count is S.
        temperature: what the logits are divided by.
        chunk: tokens at a time; None means ``scoring_chunk``.
    """
    parts, buffer_CV = [], None
    for rows, logits_CV in _scaled_logits(states_NH, weight_VH, temperature, chunk):
        buffer_CV = torch.empty_like(logits_CV) if buffer_CV is None else buffer_CV
        parts.append(_short(logits_CV, k, uniform_NS[rows], buffer_CV[: len(logits_CV)]))
    return TopK(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


@torch.no_grad()
def log_probs_of(
    ids_N: Tensor, states_NH: Tensor, weight_VH: Tensor | None, top: TopK, temperature: float = 1.0
) -> Tensor:
    """Natural log-probabilities of given tokens [N], by their distance from the most probable one of ``top``.

    Args:
        ids_N: the tokens.
        states_NH, weight_VH, temperature: as ``top_k_of_states`` took them.
        top: what it gave.
    """
    best_N = top.ids_NK[:, 0]
    if weight_VH is None:
        above_N = (states_NH.gather(1, ids_N[:, None]) - states_NH.gather(1, best_N[:, None])).squeeze(1).float()
    else:
        above_N = (states_NH.float() * (weight_VH[ids_N].float() - weight_VH[best_N].float())).sum(1)
    return (top.log_probs_NK[:, 0] + above_N / temperature).clamp(max=0)


@torch.no_grad()
def draws_of_states(
    states_NH: Tensor, weight_VH: Tensor | None, uniform_NS: Tensor, *, temperature: float = 1.0,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Tokens drawn from ``softmax(states @ weight.T / temperature)`` [N, S], and its entropy in nats [N].

    Args:
        states_NH: the teacher's states.
        weight_VH: its output matrix; None where the states are themselves the logits [N, V].
        uniform_NS: numbers above 0, up to 1, that decide which tokens are drawn; their count is S.
        temperature: what the logits are divided by.
        chunk: tokens at a time; None means ``scoring_chunk``.
    """
    drawn, entropies, buffer_CV = [], [], None
    for rows, logits_CV in _scaled_logits(states_NH, weight_VH, temperature, chunk):
        buffer_CV = torch.empty_like(logits_CV) if buffer_CV is None else buffer_CV
        logits_CV.sub_(logits_CV.amax(1, keepdim=True)).clamp_(min=_NEVER)
        weights_CV = torch.exp(logits_CV, out=buffer_CV[: len(logits_CV)])
        sum_C, surprise_C = weights_CV.sum(1), logits_CV.mul_(weights_CV).sum(1)
        entropies.append((sum_C.log() - surprise_C / sum_C).clamp_(min=0))
        drawn.append(_draw(weights_CV, logits_CV, uniform_NS[rows]))
    return torch.cat(drawn), torch.cat(entropies)


def _scaled_logits(
    states_NH: Tensor, weight_VH: Tensor | None, temperature: float, chunk: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their logits, which the caller may spoil, some at a time."""
    vocabulary = states_NH.shape[1] if weight_VH is None else len(weight_VH)
    size = chunk or scoring_chunk(vocabulary, states_NH.device.type)
    if weight_VH is None:
        starts = range(0, len(states_NH), size)
        chunks = ((slice(i, i + size), states_NH[i : i + size].float().clamp(min=100 * _NEVER)) for i in starts)
    else:
        chunks = logit_chunks(states_NH, weight_VH, size)
    for rows, logits_CV in chunks:
        yield rows, logits_CV.div_(temperature) if temperature != 1 else logits_CV


def _short(logits_CV: Tensor, k: int, uniform_CS: Tensor, buffer_CV: Tensor) -> tuple[Tensor, ...]:
    """One chunk; the fields of ``TopK`` in order. Spoils the logits, which must be finite."""
    top_CK, ids_CK = top_k(logits_CV, k)
    shift_C1 = top_CK[:, :1].clone()
    logits_CV.sub_(shift_C1).scatter_(1, ids_CK, _NEVER)
    tail_CV = torch.exp(logits_CV, out=buffer_CV)
    tail_sum_C1 = tail_CV.sum(1, keepdim=True)
    surprise_C1 = logits_CV.mul_(tail_CV).sum(1, keepdim=True)
    top_CK = top_CK - shift_C1
    lse_C1 = torch.logsumexp(torch.cat((top_CK, tail_sum_C1.log()), 1), 1, keepdim=True)
    log_probs_CK, log_tail_C1 = top_CK - lse_C1, tail_sum_C1.log() - lse_C1
    # Sum of p log p: over the top tokens as it stands, over the tail from its logits, weighted with exp(logit).
    tail_part_C1 = (surprise_C1 - lse_C1 * tail_sum_C1) * (-lse_C1).exp()
    entropy_C1 = -torch.xlogy(log_probs_CK.exp(), log_probs_CK.exp()).sum(1, keepdim=True) - tail_part_C1
    tail_ids_CS = _draw(tail_CV, logits_CV, uniform_CS)
    return ids_CK, log_probs_CK, log_tail_C1.squeeze(1), tail_ids_CS, entropy_C1.squeeze(1).clamp_(min=0)


def _draw(weights_CV: Tensor, buffer_CV: Tensor, uniform_CS: Tensor) -> Tensor:
    """Draws S columns of each row in proportion to its weights, one from each S-th of their sum.

    Strata keep the counts close to their expectation, which is exact: S x weight / sum.
    """
    S = uniform_CS.shape[1]
    if S == 0:
        return uniform_CS.new_empty(len(uniform_CS), 0, dtype=torch.long)
    cumulative_CV = torch.cumsum(weights_CV, 1, out=buffer_CV)
    place_CS = (torch.arange(S, device=uniform_CS.device) + uniform_CS) / S
    return torch.searchsorted(cumulative_CV, place_CS * cumulative_CV[:, -1:])


def top_k(x_CV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """``x.topk(k, 1)``, twice as fast on a CPU.

    The K largest entries lie in the K groups of columns that have the largest maxima, so only these are searched.
    Column j belongs to group j % G: the maxima are then taken along the slow axis, which is fast.
    """
    groups = x_CV.shape[1] // _GROUP
    if x_CV.device.type != "cpu" or groups <= 2 * k:
        return x_CV.topk(k, 1)
    grouped = x_CV[:, : groups * _GROUP]
    group_CK = _columns_of_largest(grouped.unflatten(1, (_GROUP, groups)).amax(1), k)
    ids_CM = (group_CK.unsqueeze(2) + torch.arange(0, groups * _GROUP, groups)).flatten(1)
    rest = torch.arange(groups * _GROUP, x_CV.shape[1]).expand(len(x_CV), -1)
    ids_CM = torch.cat((ids_CM, rest), 1) if rest.shape[1] else ids_CM
    values_CK, chosen_CK = x_CV.gather(1, ids_CM).topk(k, 1)
    return values_CK, ids_CM.gather(1, chosen_CK)


def _columns_of_largest(x_CG: Tensor, k: int) -> Tensor:
    """The columns of the K largest entries of each row, in any order."""
    values = x_CG.numpy()
    threshold = np.partition(values, -k, axis=1)[:, -k, None]  # vectorised, unlike a search that carries indices
    reaches = values >= threshold
    tied = np.flatnonzero(np.count_nonzero(reaches, axis=1) != k)  # several entries equal the threshold
    if len(tied):
        reaches[tied] = False
        exact = x_CG[tied].topk(k, 1, sorted=False).indices.numpy()
        reaches[tied[:, None], exact] = True
    return torch.from_numpy(np.flatnonzero(reaches).reshape(-1, k) % values.shape[1])
