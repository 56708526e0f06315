"""Rotary position embeddings: frequencies of the plain, linear, YaRN and Llama-3 kinds, and the rotation itself.

Shapes: B batch, T tokens, N heads, D rotary dimensions.
"""

import math
from typing import Any

import torch
from torch import Tensor


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
        """Computes the frequencies (again after the module was moved off the meta device)."""
        frequencies, self.scale = rope_frequencies(*self._arguments)
        self.inv_freq = frequencies.to(self.inv_freq.device)

    def forward(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin of the angles, each [B, T, D/2] in float32."""
        angles = positions_BT[..., None].float() * self.inv_freq.float()
        return angles.cos() * self.scale, angles.sin() * self.scale


def rotate_pairs(x_BTND: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates neighbouring pairs (x0, x1), (x2, x3), ...; the result lists all first, then all second members.

    Query and key are permuted alike, so their product is that of the interleaved order.
    """
    first, second = x_BTND[..., 0::2], x_BTND[..., 1::2]
    return _rotate(first, second, cos, sin)


def rotate_halves(x_BTND: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the pairs (x_i, x_{i + D/2})."""
    first, second = x_BTND.chunk(2, dim=-1)
    return _rotate(first, second, cos, sin)


def _rotate(first: Tensor, second: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    cos, sin = cos.unsqueeze(2).to(first.dtype), sin.unsqueeze(2).to(first.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


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
