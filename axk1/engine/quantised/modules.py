"""Modules that stand in for the network's linear layers, embedding and experts, with the same calls.

Shapes: M rows, T tokens, K experts per token.
"""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axk1.engine.kernel.compiler import kernel
from axk1.engine.kernel.packing import PackedMatrix, WeightKind, product, unpack
from axk1.engine.kernel.structures import Matrix


class PackedWeight(nn.Module):
    """One packed matrix, or a bank of them, as buffers."""

    data: Tensor
    scales: Tensor

    def __init__(self, packed: PackedMatrix) -> None:
        super().__init__()
        self.kind: WeightKind = packed.kind
        self.shape = packed.shape
        self.register_buffer("data", packed.data)
        self.register_buffer("scales", packed.scales)

    def _apply(self, fn: Any, recurse: bool = True) -> "PackedWeight":
        return self  # a cast of the network to another dtype leaves the packed numbers and their scales alone

    @property
    def packed(self) -> PackedMatrix:
        """The matrix, on the buffers as they are now."""
        return PackedMatrix(self.kind, self.shape, self.data, self.scales)

    def structure(self, bias: Tensor | None = None) -> Matrix:
        """What the kernel takes; it points into the buffers."""
        return Matrix.of(self.packed, bias)


class QuantizedLinear(nn.Module):
    """``nn.Linear`` with a packed weight: x [..., in] -> [..., out] in float32."""

    def __init__(self, packed: PackedWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        self.packed = packed
        _, self.out_features, self.in_features = packed.shape
        self.bias = None if bias is None else nn.Parameter(bias.detach().float())

    @property
    def weight(self) -> Tensor:
        """The weights in float32 [out, in], made anew at every call."""
        return unpack(self.packed.packed)[0]

    def structure(self) -> Matrix:
        """What the kernel takes; it points into weight and bias."""
        return self.packed.structure(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features).float().contiguous()
        compiled = kernel()
        if compiled is None:
            out = product(rows, self.packed.packed)
            out = out if self.bias is None else out + self.bias
        else:
            out = rows.new_empty(rows.shape[0], self.out_features)
            matrix = ctypes.byref(self.structure())
            compiled.axk1_linear(matrix, rows.data_ptr(), len(rows), out.data_ptr(), torch.get_num_threads())
        return out.view(*x.shape[:-1], self.out_features)


class QuantizedEmbedding(nn.Module):
    """``nn.Embedding`` over a packed matrix; ids [...] -> [..., hidden] in float32."""

    def __init__(self, packed: PackedWeight) -> None:
        super().__init__()
        self.packed = packed

    @property
    def weight(self) -> Tensor:
        """The embeddings in float32 [vocabulary, hidden], made anew at every call."""
        return unpack(self.packed.packed)[0]

    def structure(self) -> Matrix:
        """What the kernel takes; it points into the weight."""
        return self.packed.structure()

    def forward(self, ids: Tensor) -> Tensor:
        _, vocabulary, hidden = self.packed.shape
        compiled = kernel()
        if compiled is None:
            return F.embedding(ids, self.weight)
        numbers = ids.flatten().contiguous()
        assert not ((numbers < 0) | (numbers >= vocabulary)).any(), "a token id is out of range"
        out = torch.empty(len(numbers), hidden)
        matrix = ctypes.byref(self.packed.structure())
        compiled.axk1_rows(matrix, numbers.data_ptr(), len(numbers), out.data_ptr())
        return out.view(*ids.shape, hidden)


class QuantizedExperts(nn.Module):
    """``model.moe.Experts`` over three packed banks."""

    def __init__(self, gate: PackedWeight, up: PackedWeight, down: PackedWeight) -> None:
        super().__init__()
        self.gate, self.up, self.down = gate, up, down

    def forward(self, x_TH: Tensor, weights_TK: Tensor, experts_TK: Tensor) -> Tensor:
        compiled = kernel()
        if compiled is None:
            return self._plain(x_TH, weights_TK, experts_TK)
        rows, weights = x_TH.float().contiguous(), weights_TK.float().contiguous()
        chosen, out = experts_TK.to(torch.int32).contiguous(), torch.empty_like(rows)
        banks = [ctypes.byref(bank.structure()) for bank in (self.gate, self.up, self.down)]
        places = (rows.data_ptr(), chosen.data_ptr(), weights.data_ptr())
        compiled.axk1_experts(*banks, *places, *chosen.shape, out.data_ptr(), torch.get_num_threads())
        return out

    def _plain(self, x_TH: Tensor, weights_TK: Tensor, experts_TK: Tensor) -> Tensor:
        out = torch.zeros(x_TH.shape, dtype=torch.float32)
        gate, up, down = (bank.packed for bank in (self.gate, self.up, self.down))
        for expert in experts_TK.unique().tolist():
            tokens, places = (experts_TK == expert).nonzero(as_tuple=True)
            act = F.silu(product(x_TH[tokens], gate, expert)) * product(x_TH[tokens], up, expert)
            out.index_add_(0, tokens, product(act, down, expert) * weights_TK[tokens, places].float().unsqueeze(1))
        return out
