"""``Pooler``: the hidden states of a prompt -> one vector, chunk by chunk as the prompt goes through the network.

Shapes: T tokens of a chunk, H hidden_size.
"""

from typing import Literal

import torch
from torch import Tensor


class Pooler:
    """Pools the states behind the last norm: their mean over all tokens, or that of the last token."""

    def __init__(self, kind: Literal["mean", "last"], num_tokens: int) -> None:
        """Args: kind: what is made of the states; num_tokens: length of the prompt."""
        self._kind, self._num_tokens = kind, num_tokens
        self._seen = 0
        self._sum_H: Tensor | None = None

    @property
    def needs_all(self) -> bool:
        """Whether states of any token but the last are still missing."""
        return self._kind == "mean" and self._seen < self._num_tokens

    def add(self, first: int, states_TH: Tensor) -> None:
        """Takes the states of the tokens from position ``first``. Those that came before, come again, are skipped."""
        last = self._num_tokens - 1
        start = max(self._seen if self._kind == "mean" else last, first)
        stop = min(first + states_TH.shape[0], self._num_tokens)
        if start < stop:
            part_H = states_TH[start - first : stop - first].sum(0, dtype=torch.float64)
            self._sum_H = part_H if self._sum_H is None else self._sum_H + part_H
            self._seen = stop

    def vector(self) -> Tensor:
        """The pooled state [H] in double precision, once the whole prompt has gone through."""
        assert self._sum_H is not None and self._seen == self._num_tokens, "the prompt has not gone through"
        return self._sum_H / self._num_tokens if self._kind == "mean" else self._sum_H
