"""Rotary position embeddings: frequencies of the plain, linear, YaRN and Llama-3 kinds, and the rotation itself.

Shapes: B batch, T tokens, N heads, D rotary dimensions.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def rope_frequencies(parameters: dict[str, Any], dim: int, max_positions: int) -> tuple[Tensor, float]:
    """The angular frequencies of a rotary embedding.

    Args:
        parameters: ``rope_parameters`` of a config.json.
        dim: rotary dimensions D.
        max_positions: ``max_position_embeddings``, from which YaRN takes its factor where none is given.

    Returns:
        Frequencies [D/2] in float32, and the factor on cos and sin (other than 1 only for YaRN).
    """
    inv_freq = parameters["rope_theta"] ** -(torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    kind = parameters.get("rope_type", "default")
    if kind == "linear":
        return inv_freq / parameters["factor"], 1.0
    if kind == "yarn":
        return _yarn(inv_freq, parameters, dim, max_positions)
    if kind == "llama3":
        return _llama3(inv_freq, parameters), 1.0
    return inv_freq, 1.0


def attention_scale(parameters: dict[str, Any], head_dim: int) -> float:
    """The softmax scale of latent attention: head_dim^-0.5, corrected by YaRN's ``mscale_all_dim`` where set."""
    scale = head_dim**-0.5
    if parameters.get("rope_type", "default") != "default" and parameters.get("mscale_all_dim"):
        scale *= _mscale(parameters["factor"], parameters["mscale_all_dim"]) ** 2
    return scale


class RotaryEmbedding(torch.nn.Module):
    """Turns positions into the cosines and sines that ``rotate_pairs`` and ``rotate_halves`` take."""

    inv_freq: Tensor

    def __init__(self, parameters: dict[str, Any], dim: int, max_positions: int) -> None:
        super().__init__()
        self._arguments = (parameters, dim, max_positions)
        self.register_buffer("inv_freq", torch.empty(dim // 2), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Computes the frequencies in float32, on the device where they are."""
        frequencies, self.scale = rope_frequencies(*self._arguments)
        self.inv_freq = frequencies.to(self.inv_freq.device)

    def _apply(self, fn: Any, recurse: bool = True) -> "RotaryEmbedding":
        super()._apply(fn, recurse)
        self.reset_parameters()  # a cast of the model to 16 bits must not round the frequencies
        return self

    def forward(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of the angles, each [B, T, D/2] in float32."""
        angles = positions_BT[..., None].float() * self.inv_freq
        return angles.cos() * self.scale, angles.sin() * self.scale


def rotate_pairs(x_BTND: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates neighbouring pairs (x0, x1), (x2, x3), ... of the last D dimensions; those before them pass through."""
    return _Rotate.apply(x_BTND, cos, sin, _turn_pairs)


def rotate_halves(x_BTND: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the pairs (x_i, x_{i + D/2}) of the last D dimensions; those before them pass through."""
    return _Rotate.apply(x_BTND, cos, sin, _turn_halves)


class _Rotate(torch.autograd.Function):
    """The rotation; its gradient is the rotation by the negative angle. Autograd would fill and copy eight tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, turn: Callable[..., Tensor]) -> Tensor:
        cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
        ctx.save_for_backward(cos, sin)
        ctx.turn = turn
        return turn(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        return ctx.turn(grad, cos, -sin), None, None, None


def _turn_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As complex numbers: one pass where the real and imaginary parts would take four with a stride."""
    plain, turned = x.split((x.shape[-1] - 2 * cos.shape[-1], 2 * cos.shape[-1]), dim=-1)
    wide = turned.to(torch.promote_types(x.dtype, torch.float32)).unflatten(-1, (-1, 2))
    if any(step % 2 for step in (*wide.stride()[:-1], wide.storage_offset())):
        wide = wide.clone(
            memory_format=torch.contiguous_format
        )  # pairs that begin at odd places cannot be viewed as complex numbers
    turned = torch.view_as_real(torch.view_as_complex(wide) * torch.complex(cos, sin)).flatten(-2)
    return torch.cat((plain, turned.to(x.dtype)), dim=-1)


def _turn_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    cos, sin, half = cos.to(x.dtype), sin.to(x.dtype), cos.shape[-1]
    plain, first, second = x.split((x.shape[-1] - 2 * half, half, half), dim=-1)
    turned = (first * cos).addcmul_(second, sin, value=-1), (second * cos).addcmul_(first, sin)
    return torch.cat((plain, *turned), dim=-1)


def _mscale(factor: float, mscale: float = 1.0) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _yarn(inv_freq: Tensor, parameters: dict[str, Any], dim: int, max_positions: int) -> tuple[Tensor, float]:
    """YaRN (arXiv 2309.00071): high frequencies stay, low ones are interpolated, with a ramp between."""
    original = parameters["original_max_position_embeddings"]
    factor = parameters.get("factor") or max_positions / original
    scale = parameters.get("attention_factor")
    if scale is None:
        mscale, all_dim = parameters.get("mscale"), parameters.get("mscale_all_dim")
        scale = _mscale(factor, mscale) / _mscale(factor, all_dim) if mscale and all_dim else _mscale(factor)

    def dimension(rotations: float) -> float:
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(parameters["rope_theta"]))

    low, high = dimension(parameters.get("beta_fast") or 32), dimension(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    high = high + 0.001 if low == high else high
    ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    return inv_freq / factor * ramp + inv_freq * (1 - ramp), float(scale)


def _llama3(inv_freq: Tensor, parameters: dict[str, Any]) -> Tensor:
    """Llama 3.1: long wavelengths are divided by the factor, short ones stay, with a ramp between."""
    factor, original = parameters["factor"], parameters["original_max_position_embeddings"]
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    wavelength = 2 * math.pi / inv_freq
    ramp = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    return inv_freq / factor * (1 - ramp) + inv_freq * ramp
