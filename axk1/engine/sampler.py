"""Choosing the next token from logits."""

import torch
from torch import Tensor


def sample(logits_BV: Tensor, *, temperature: float, top_p: float, generators: list[torch.Generator]) -> Tensor:
    """One token id per sequence, [B].

    Args:
        logits_BV: logits of the next token.
        temperature: 0 takes the most probable token; otherwise the logits are divided by it.
        top_p: keeps the most probable tokens whose probabilities add up to this.
        generators: one per sequence, so that a sequence's text does not depend on its neighbours in the batch.
    """
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    probabilities = (logits_BV.float() / temperature).softmax(dim=-1)
    if top_p < 1:
        ordered, ids = probabilities.sort(dim=-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered > top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter_(1, ids, ordered)
    rows = [torch.multinomial(p, 1, generator=g) for p, g in zip(probabilities, generators, strict=True)]
    return torch.cat(rows)
