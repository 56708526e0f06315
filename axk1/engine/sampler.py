"""Choosing the next token of each sequence from the logits.

Shapes: B sequences, N positions, V vocab_size, K alternatives.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from axk1.engine.guide import restrict
from axk1.engine.sequence import Sequence, TokenLogprobs

_RANKED = 256
"""Most probable tokens in which top_p is looked for first."""


def sample(
    logits_BV: Tensor, sequences: list[Sequence], vocab_size: int, ahead: list[tuple[int, ...]] | None = None
) -> list[int]:
    """One token id per row, each by the parameters of its sequence.

    A place in a text always has the same random numbers, so a drafted token is right if it is what this draws there;
    with speculation or without, a seed gives the same text.

    Args:
        logits_BV: logits of the next tokens.
        sequences: whose they are; one may stand in several rows.
        vocab_size: entries of the tokenizer; what lies behind in the logits is padding and never chosen.
        ahead: tokens that each row supposes after its sequence's own; nothing means none.
    """
    ahead = ahead or [()] * len(sequences)
    adjusted = any(sequence.params.penalises or sequence.params.logit_bias for sequence in sequences)
    guided = any(sequence.guide is not None for sequence in sequences)
    logits_BV = logits_BV[:, :vocab_size].to(
        torch.promote_types(logits_BV.dtype, torch.float32), copy=adjusted or guided
    )
    if adjusted:
        for logits_V, sequence, supposed in zip(logits_BV, sequences, ahead, strict=True):
            _adjust(logits_V, sequence, supposed)
    if guided:
        restrict(logits_BV, [sequence.guide for sequence in sequences])
    drawing = [row for row, sequence in enumerate(sequences) if sequence.params.temperature > 0]
    if len(drawing) == len(sequences):  # a copy of the logits takes as long as the draw
        return _draw(
            logits_BV, sequences, [s.num_output_tokens + len(a) for s, a in zip(sequences, ahead, strict=True)]
        )
    tokens = logits_BV.argmax(dim=-1).tolist()
    if drawing:
        places = [sequences[row].num_output_tokens + len(ahead[row]) for row in drawing]
        drawn = _draw(logits_BV[drawing], [sequences[row] for row in drawing], places)
        for row, token in zip(drawing, drawn, strict=True):
            tokens[row] = token
    return tokens


def logprobs(logits_NV: Tensor, tokens: list[int], alternatives: int) -> list[TokenLogprobs]:
    """The log-probabilities of tokens and of the ``alternatives`` most probable ones at their positions."""
    logprobs_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32)).log_softmax(dim=-1)
    own_N = logprobs_NV.gather(1, torch.tensor(tokens, device=logits_NV.device)[:, None]).squeeze(1).tolist()
    values_NK, ids_NK = (x.tolist() for x in logprobs_NV.topk(min(alternatives, logprobs_NV.shape[1])))
    pairs = [tuple(zip(ids, values, strict=True)) for ids, values in zip(ids_NK, values_NK, strict=True)]
    return [TokenLogprobs(*each) for each in zip(tokens, own_N, pairs, strict=True)]


def _adjust(logits_V: Tensor, sequence: Sequence, ahead: tuple[int, ...]) -> None:
    """Penalties and bias, in place, in vLLM's order: repetition, frequency, presence, bias."""
    params, device = sequence.params, logits_V.device
    if params.penalises:
        seen = torch.tensor([*sequence.token_ids, *ahead], device=device).unique()
        values = logits_V[seen]
        factor = params.repetition_penalty
        logits_V[seen] = torch.where(values > 0, values / factor, values * factor)
        output = [*sequence.output_token_ids, *ahead]
        written, counts = torch.tensor(output, device=device, dtype=torch.long).unique(return_counts=True)
        logits_V[written] -= params.frequency_penalty * counts + params.presence_penalty
    for token, bias in params.logit_bias.items():
        logits_V[token] += bias


def _draw(logits_BV: Tensor, sequences: list[Sequence], places: list[int]) -> list[int]:
    """Draws by a race: of all tokens the one whose exponential random number, over its probability, is smallest.

    Whoever draws from nearly the same distribution by the same numbers draws the same token most of the time, as a
    draft model does (Gumbel coupling; Daliri et al., arXiv 2408.07978). To need only twice the square root of V
    numbers, the ids stand in a table of R rows and S columns: a column wins by the sum of its probabilities, then a
    row in it.
    """
    temperatures_B1 = logits_BV.new_tensor([[s.params.temperature] for s in sequences])
    # The largest logit becomes 0 before the division, so that tiny temperatures do not overflow.
    probabilities_BV = (logits_BV - logits_BV.amax(1, keepdim=True)).div_(temperatures_B1).softmax(dim=-1)
    filtered = [row for row, sequence in enumerate(sequences) if sequence.params.filters]
    if filtered:
        probabilities_BV[filtered] = _filter(probabilities_BV[filtered], [sequences[row] for row in filtered])
    vocabulary = logits_BV.shape[1]
    side = math.isqrt(vocabulary - 1) + 1
    rows = -(-vocabulary // side)
    numbers = [sequence.noise.at(place, side) for sequence, place in zip(sequences, places, strict=True)]
    noise_B2S = torch.from_numpy(np.stack(numbers)).to(logits_BV.device)
    table_BRS = F.pad(probabilities_BV, (0, rows * side - vocabulary)).unflatten(1, (rows, side))
    columns_B = (table_BRS.sum(1, dtype=torch.float64) / noise_B2S[:, 0]).argmax(1)
    column_BR = table_BRS[torch.arange(len(sequences), device=columns_B.device), :, columns_B]
    rows_B = (column_BR / noise_B2S[:, 1, :rows]).argmax(1)
    return (rows_B * side + columns_B).tolist()


def _filter(probabilities_BV: Tensor, sequences: list[Sequence]) -> Tensor:
    """Zero for all tokens that min_p, top_k or top_p leave out, in this order; the most probable one always stays."""
    params = [sequence.params for sequence in sequences]
    floors_B1 = probabilities_BV.new_tensor([[p.min_p] for p in params]) * probabilities_BV.amax(1, keepdim=True)
    probabilities_BV = probabilities_BV.masked_fill(probabilities_BV < floors_B1, 0)
    ranked = [row for row, p in enumerate(params) if p.top_p < 1 or p.top_k > 0]
    if ranked:
        first = [(params[row].top_k, params[row].top_p) for row in ranked]
        probabilities_BV[ranked] = _first_ranks(probabilities_BV[ranked], first, _RANKED)
    return probabilities_BV


def _first_ranks(probabilities_BV: Tensor, first: list[tuple[int, float]], ranks: int) -> Tensor:
    """Zero for what lies beyond each row's (top_k, top_p), seen in its ``ranks`` most probable tokens or in more.

    Few tokens nearly always hold the whole nucleus, and finding them costs a fraction of sorting the vocabulary.
    """
    vocabulary = probabilities_BV.shape[1]
    top_ks = [min(k, vocabulary) if k > 0 else vocabulary for k, _ in first]
    ranks = min(max([ranks, *(k for k in top_ks if k < vocabulary)]), vocabulary)
    ordered_BK, ids_BK = probabilities_BV.topk(ranks, dim=-1)
    places_K = torch.arange(ranks, device=ordered_BK.device)
    limits_B1 = torch.tensor(top_ks, device=ordered_BK.device)[:, None]
    ordered_BK.masked_fill_(places_K >= limits_B1, 0)
    whole_B1 = probabilities_BV.sum(1, keepdim=True)
    whole_B1 = torch.where(limits_B1 < vocabulary, ordered_BK.sum(1, keepdim=True), whole_B1)
    top_p_B1 = ordered_BK.new_tensor([[p] for _, p in first])
    before_BK = ordered_BK.cumsum(-1) - ordered_BK
    outside_BK = (before_BK >= top_p_B1 * whole_B1) & (places_K > 0) & (top_p_B1 < 1)
    kept_BV = torch.zeros_like(probabilities_BV).scatter_(1, ids_BK, ordered_BK.masked_fill(outside_BK, 0))
    open_B = (limits_B1 > ranks).squeeze(1) & ~outside_BK[:, -1]
    if ranks < vocabulary and open_B.any():
        rows = open_B.nonzero().flatten().tolist()
        kept_BV[rows] = _first_ranks(probabilities_BV[rows], [first[row] for row in rows], 8 * ranks)
    return kept_BV
