"""The paged cache: what attention keeps of each token, in blocks that sequences own through their block tables.

A layer keeps one entry of W values per token: latent and rotary key, or keys and values.

Shapes: T tokens of a pass, B sequences of a group, S entries that a sequence sees, N heads, D head dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from axk1.engine.scheduler import Scheduled
from axk1.model.attention import Attend, Mask
from axk1.model.config import ModelConfig

_FEW = 16
"""Most tokens of a sequence that shares a call with others: what is written and drafted, not chunks of prompts."""


@dataclass(frozen=True)
class _Group:
    """Tokens that stand together in the pass and attend in one call: B sequences with as many tokens each."""

    tokens: slice
    sequences: int
    block_table_BM: Tensor | None
    """Blocks to read; None where the tokens themselves are all that they see."""
    mask: Mask

    def held(self, blocks: Tensor, entries_TW: Tensor) -> Tensor:
        """The entries [B, S, W] that the group sees."""
        if self.block_table_BM is None:
            return entries_TW[self.tokens].unsqueeze(0)
        shape = (*self.block_table_BM.shape, *blocks.shape[1:])
        return blocks.index_select(0, self.block_table_BM.flatten()).view(shape).flatten(1, 2)


class PagedCache:
    """Entries of all layers, and who sees which of them in the pass that runs.

    ``plan`` comes before a pass of the network; ``attend`` is what each layer then calls.

    Attributes:
        layers: each layer's entries [blocks, block_size, W].
        block_size: tokens in a block.
    """

    def __init__(self, config: ModelConfig, num_blocks: int, block_size: int, like: Tensor, *, num_layers: int) -> None:
        """Args: num_blocks, block_size, num_layers: size of the cache; like: a tensor with its dtype and device."""
        shape = (num_blocks, block_size, config.cache_width)
        # Zeros, since masked entries still meet a weight of zero, and zero times what lay in memory may be NaN.
        self.layers = [like.new_zeros(shape) for _ in range(num_layers)]
        self.block_size, self._like = block_size, like
        self._groups: list[_Group] = []
        self._slots_T: Tensor | None = None

    def plan(self, scheduled: list[Scheduled]) -> None:
        """Prepares a pass over these sequences, whose tokens follow each other as ``order`` has put them."""
        self._groups, slots, start = [], [], 0
        for parts in _grouped(scheduled, self.block_size):
            stop = start + sum(part.num_tokens for part in parts)
            self._groups.append(self._group(parts, slice(start, stop)))
            slots += [slot for part in parts for slot in self._slots(part)]
            start = stop
        self._slots_T = torch.tensor(slots, device=self._like.device)

    def attend(self, layer: int, query: Tensor, entries: Tensor, attend: Attend) -> Tensor:
        """Stores entries [1, T, W] and returns the attention [1, T, N, D] of all groups."""
        blocks, entries_TW = self.layers[layer], entries[0]
        blocks.flatten(0, 1).index_copy_(0, self._slots_T, entries_TW)
        parts = []
        for group in self._groups:
            query_BTND = query[0, group.tokens].unflatten(0, (group.sequences, -1))
            parts.append(attend(query_BTND, group.held(blocks, entries_TW), group.mask).flatten(0, 1))
        return torch.cat(parts).unsqueeze(0)

    def _group(self, parts: list[Scheduled], tokens: slice) -> _Group:
        first = parts[0].sequence
        if len(parts) == 1 and first.num_computed_tokens == 0:
            return _Group(tokens, 1, None, None)
        width = max(_num_blocks(part, self.block_size) for part in parts)
        tables = [part.sequence.block_table[:width] for part in parts]
        table_BM = torch.tensor([table + [0] * (width - len(table)) for table in tables], device=self._like.device)
        return _Group(tokens, len(parts), table_BM, self._mask(parts, width * self.block_size))

    def _mask(self, parts: list[Scheduled], entries: int) -> Tensor:
        """[B, 1, T, S]: a token sees those up to its own position, never what lies in a block behind them."""
        computed_B = torch.tensor([part.sequence.num_computed_tokens for part in parts], device=self._like.device)
        positions_BT = computed_B[:, None] + torch.arange(parts[0].num_tokens, device=self._like.device)
        hidden_BTS = torch.arange(entries, device=self._like.device) > positions_BT[:, :, None]
        mask = self._like.new_zeros(hidden_BTS.shape)
        return mask.masked_fill_(hidden_BTS, torch.finfo(mask.dtype).min).unsqueeze(1)

    def _slots(self, part: Scheduled) -> list[int]:
        """Where the entries of a sequence's new tokens go, counted in tokens from the start of the cache."""
        table, size, start = part.sequence.block_table, self.block_size, part.sequence.num_computed_tokens
        return [table[place // size] * size + place % size for place in range(start, start + part.num_tokens)]


def order(scheduled: list[Scheduled]) -> list[Scheduled]:
    """Sequences with few tokens first, as many together, the longest before the shorter; then the chunks."""
    return sorted(scheduled, key=lambda part: (min(part.num_tokens, _FEW + 1), -part.sequence.num_tokens))


def _grouped(scheduled: list[Scheduled], block_size: int) -> list[list[Scheduled]]:
    """Sequences with as few tokens share a call while the longest holds at most twice the blocks of the shortest."""
    groups: list[list[Scheduled]] = []
    for part in scheduled:
        longest = groups[-1][0] if groups else None
        if (
            longest is not None
            and part.num_tokens == longest.num_tokens <= _FEW
            and 2 * _num_blocks(part, block_size) >= _num_blocks(longest, block_size)
        ):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _num_blocks(part: Scheduled, block_size: int) -> int:
    return -(-(part.sequence.num_computed_tokens + part.num_tokens) // block_size)
