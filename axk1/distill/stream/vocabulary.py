"""The top of a distribution, the mass of the rest and draws from it, from blocks of columns.

``OnlineTop`` sees each block twice: first it finds the largest entries and the sums, then it draws. It is what
``topk.py`` does with whole rows, for an output matrix that is larger than memory.

Shapes: N rows, C rows of a chunk, W columns of a block, K tokens kept, S tokens drawn.
"""

import torch
from torch import Tensor

from axk1.distill.topk import TopK, top_k

_NEVER = -1e4
"""A logit, relative to the largest, whose probability is zero; finite, so that zero times it is zero."""


class OnlineTop:
    """What is known of N distributions after some of their columns.

    Args:
        k: tokens to keep; 0 keeps none, and draws are from the whole distribution.
        uniform_NS: numbers above 0, up to 1, that decide which tokens are drawn.
        device: where the logits are.
    """

    def __init__(self, k: int, uniform_NS: Tensor, device: torch.device) -> None:
        n, draws = uniform_NS.shape
        self._uniform_NS, self._k = uniform_NS.to(device), k
        self.best_NK = torch.full((n, k), -torch.inf, device=device)
        self.ids_NK = torch.zeros(n, k, dtype=torch.int32, device=device)
        self.max_N1 = torch.full((n, 1), -torch.inf, device=device)
        self.sum_N1, self.surprise_N1, self.carry_N1 = (torch.zeros(n, 1, device=device) for _ in range(3))
        self.drawn_NS = torch.zeros(n, draws, dtype=torch.int32, device=device)

    def see(self, rows: slice, logits_CW: Tensor, first: int) -> None:
        """First pass: logits of columns ``first`` on, which are spoilt."""
        new_C1 = torch.maximum(self.max_N1[rows], logits_CW.amax(1, keepdim=True))
        # The sums are relative to the largest logit, which has become another one: e^(x - new), and that times its log.
        change_C1 = (self.max_N1[rows] - new_C1).clamp_(min=_NEVER)
        self.max_N1[rows] = new_C1
        sum_C1, surprise_C1 = self.sum_N1[rows], self.surprise_N1[rows]
        surprise_C1.add_(change_C1 * sum_C1).mul_(change_C1.exp())
        sum_C1.mul_(change_C1.exp())
        if self._k:
            leaving_CK = self._keep(rows, logits_CW, first)
            self._count(rows, leaving_CK - new_C1)
        self._count(rows, logits_CW.sub_(new_C1))

    def _keep(self, rows: slice, logits_CW: Tensor, first: int) -> Tensor:
        """Updates the best; those of the block leave the logits. What is no longer among the best comes back."""
        values_CK, columns_CK = top_k(logits_CW, min(self._k, logits_CW.shape[1]))
        logits_CW.scatter_(1, columns_CK, -torch.inf)
        both = torch.cat((self.best_NK[rows], values_CK), 1)
        ids = torch.cat((self.ids_NK[rows], columns_CK.int() + first), 1)
        sorted_values, order = both.sort(dim=1, descending=True, stable=True)
        self.best_NK[rows] = sorted_values[:, : self._k]
        self.ids_NK[rows] = ids.gather(1, order[:, : self._k])
        return sorted_values[:, self._k :]

    def _count(self, rows: slice, relative_CW: Tensor) -> None:
        relative_CW.clamp_(min=_NEVER)
        weights_CW = relative_CW.exp()
        self.sum_N1[rows] += weights_CW.sum(1, keepdim=True)
        self.surprise_N1[rows] += weights_CW.mul_(relative_CW).sum(1, keepdim=True)

    def draw(self, rows: slice, logits_CW: Tensor, first: int) -> None:
        """Second pass: the same logits once more, in the same order of blocks."""
        S = self.drawn_NS.shape[1]
        if not S:
            return
        logits_CW.sub_(self.max_N1[rows]).clamp_(min=_NEVER)
        self._hide_best(rows, logits_CW, first)
        cumulative_CW = logits_CW.exp_().cumsum(1)
        carry_C1, total_C1 = self.carry_N1[rows], cumulative_CW[:, -1:].clone()
        place_CS = (torch.arange(S, device=logits_CW.device) + self._uniform_NS[rows]) / S * self.sum_N1[
            rows
        ] - carry_C1
        # A place beyond the block belongs to a later one, or by rounding to the last token that has any mass.
        columns_CS = torch.searchsorted(cumulative_CW, torch.minimum(place_CS, total_C1))
        here_CS = (place_CS > 0) & (total_C1 > 0)
        self.drawn_NS[rows] = torch.where(here_CS, columns_CS.int() + first, self.drawn_NS[rows])
        self.carry_N1[rows] += total_C1

    def _hide_best(self, rows: slice, logits_CW: Tensor, first: int) -> None:
        width = logits_CW.shape[1]
        columns_CK = self.ids_NK[rows].long() - first
        inside_CK = (columns_CK >= 0) & (columns_CK < width)
        row, place = inside_CK.nonzero().unbind(1)
        logits_CW[row, columns_CK[row, place]] = _NEVER

    def top(self, rows: slice) -> TopK:
        """The result of some rows, after both passes."""
        best_CK, tail_C1 = self.best_NK[rows] - self.max_N1[rows], self.sum_N1[rows]
        lse_C1 = torch.logsumexp(torch.cat((best_CK, tail_C1.log()), 1), 1, keepdim=True)
        log_probs_CK = best_CK - lse_C1
        tail_part_C1 = (self.surprise_N1[rows] - lse_C1 * tail_C1) * (-lse_C1).exp()
        entropy_C1 = -torch.xlogy(log_probs_CK.exp(), log_probs_CK.exp()).sum(1, keepdim=True) - tail_part_C1
        log_tail_C = (tail_C1.log() - lse_C1).squeeze(1)
        drawn_CS = self.drawn_NS[rows].long()
        return TopK(self.ids_NK[rows].long(), log_probs_CK, log_tail_C, drawn_CS, entropy_C1.squeeze(1).clamp_(min=0))
