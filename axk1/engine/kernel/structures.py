"""The kernel's structures (``lanes.h``, ``products.h``, ``network.h``) for ctypes, field for field."""

import ctypes

import torch
from torch import Tensor

from axk1.engine.kernel.packing import KINDS, PackedMatrix

Pointer, Long, Int, Float = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float
NUMBERS = (torch.float32, torch.bfloat16)
"""Formats in which the kernel reads a network's own tensors and the cache."""
_ROWS, _COLUMNS = len(KINDS), len(KINDS) + len(NUMBERS)


class Vector(ctypes.Structure):
    """Numbers of a network: a norm's weight, a bias, a router."""

    _fields_ = (("data", Pointer), ("narrow", Long))

    @classmethod
    def of(cls, tensor: Tensor | None) -> "Vector":
        """Points into a tensor, which the caller keeps alive; None stands for a missing one."""
        return cls() if tensor is None else cls(tensor.data_ptr(), NUMBERS.index(tensor.dtype))


class Matrix(ctypes.Structure):
    """One matrix, or a bank of them: packed, or a view of a network's own tensor."""

    _fields_ = (
        ("kind", Int), ("banks", Int), ("out", Long), ("in", Long), ("data", Pointer), ("scales", Pointer),
        ("bias", Vector), ("step", Long), ("bank_step", Long),
    )  # fmt: skip

    @classmethod
    def of(cls, packed: PackedMatrix, bias: Tensor | None = None) -> "Matrix":
        """Points into tensors, which the caller keeps alive."""
        banks, out, columns = packed.shape
        place = (packed.data.data_ptr(), packed.scales.data_ptr())
        return cls(KINDS.index(packed.kind), banks, out, columns, *place, Vector.of(bias))

    @classmethod
    def view(cls, weight: Tensor, bias: Tensor | None = None) -> "Matrix":
        """A tensor [out, in] or [banks, out, in] as it lies, where rows or columns are contiguous; no copy."""
        bank = weight if weight.dim() == 3 else weight.unsqueeze(0)
        by_rows = bank.stride(2) == 1
        assert by_rows or bank.stride(1) == 1, "neither rows nor columns are contiguous"
        kind = (_ROWS if by_rows else _COLUMNS) + NUMBERS.index(weight.dtype)
        steps = (bank.stride(1 if by_rows else 2), bank.stride(0))
        return cls(kind, *bank.shape, weight.data_ptr(), None, Vector.of(bias), *steps)


class Layer(ctypes.Structure):
    """One block of the network."""

    _fields_ = (
        ("input_norm", Vector), ("post_norm", Vector),
        *((name, Matrix) for name in ("q_a", "q", "k", "v", "o", "k_b")),
        ("q_norm", Vector), ("k_norm", Vector),
        *((name, Matrix) for name in ("gate", "up", "down")),
        ("sparse", Long), ("router", Vector), ("router_bias", Vector), ("post_mlp_norm", Vector),
        *((name, Matrix) for name in ("experts_gate", "experts_up", "experts_down")),
        ("cache", Pointer),
    )  # fmt: skip


class Network(ctypes.Structure):
    """Sizes, and pointers to the layers."""

    _fields_ = (
        *((name, Long) for name in ("hidden", "layers", "heads", "kv_heads", "latent")),
        *((name, Long) for name in ("head", "nope", "rope", "value", "rank", "interleave")),
        *((name, Long) for name in ("experts", "chosen", "groups", "chosen_groups", "group_rule", "normalise")),
        *((name, Long) for name in ("block_size", "cache_width", "cache_narrow")),
        *((name, Float) for name in ("eps", "latent_eps", "scale", "rope_scale", "routed_scale", "unused")),
        ("inv_freq", Pointer), ("norm", Vector), ("embedding", Matrix), ("layer", ctypes.POINTER(Layer)),
    )  # fmt: skip


class Pass(ctypes.Structure):
    """The rows of one pass."""

    _fields_ = (
        ("rows", Long), *((n, Pointer) for n in ("tokens", "positions", "table_start", "tables", "states")),
    )  # fmt: skip
