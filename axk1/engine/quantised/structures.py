"""The kernel's structures (``products.h``, ``network.h``) for ctypes, field for field."""

import ctypes

from torch import Tensor

from axk1.engine.quantised.packing import KINDS, PackedMatrix

Pointer, Long, Int, Float = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class Matrix(ctypes.Structure):
    """One packed matrix or bank."""

    _fields_ = (
        ("kind", Int), ("banks", Int), ("out", Long), ("in", Long), ("data", Pointer), ("scales", Pointer),
        ("bias", Pointer),
    )  # fmt: skip

    @classmethod
    def of(cls, packed: PackedMatrix, bias: Tensor | None = None) -> "Matrix":
        """Points into tensors, which the caller keeps alive."""
        banks, out, columns = packed.shape
        return cls(
            KINDS.index(packed.kind), banks, out, columns, packed.data.data_ptr(), packed.scales.data_ptr(), at(bias)
        )


class Layer(ctypes.Structure):
    """One block of the network."""

    _fields_ = (
        ("input_norm", Pointer), ("post_norm", Pointer),
        *((name, Matrix) for name in ("q_a", "q", "k", "v", "o", "k_b")),
        ("q_norm", Pointer), ("k_norm", Pointer),
        *((name, Matrix) for name in ("gate", "up", "down")),
        ("sparse", Long), ("router", Pointer), ("router_bias", Pointer), ("post_mlp_norm", Pointer),
        *((name, Matrix) for name in ("experts_gate", "experts_up", "experts_down")),
        ("cache", Pointer),
    )  # fmt: skip


class Network(ctypes.Structure):
    """Sizes, and pointers to the layers."""

    _fields_ = (
        *((name, Long) for name in ("hidden", "layers", "heads", "kv_heads", "latent")),
        *((name, Long) for name in ("head", "nope", "rope", "value", "rank", "interleave")),
        *((name, Long) for name in ("experts", "chosen", "groups", "chosen_groups", "group_rule", "normalise")),
        *((name, Long) for name in ("block_size", "cache_width")),
        *((name, Float) for name in ("eps", "latent_eps", "scale", "rope_scale", "routed_scale", "unused")),
        ("inv_freq", Pointer), ("norm", Pointer), ("embedding", Matrix), ("layer", ctypes.POINTER(Layer)),
    )  # fmt: skip


class Pass(ctypes.Structure):
    """The rows of one pass."""

    _fields_ = (
        ("rows", Long), *((n, Pointer) for n in ("tokens", "positions", "table_start", "tables", "states")),
    )  # fmt: skip


def at(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers lie; None for none."""
    return None if tensor is None else tensor.data_ptr()
