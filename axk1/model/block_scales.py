"""Weights in 8-bit floating point with a scale per block, as checkpoints of DeepSeek-V3's kind are published.

    X.weight            float8_e4m3fn [R, C]
    X.weight_scale_inv  float32 [ceil(R / 128), ceil(C / 128)]: what the numbers of a block are multiplied by
    config.json         quantization_config: {"quant_method": "fp8", "weight_block_size": [128, 128], ...}

Sizes need be no multiples of the block's: the blocks at the edges are smaller. (``inv``: the inverse of what
the weights were multiplied by when they were rounded.)

Shapes: R rows, C columns, P row blocks, Q column blocks.
"""

from typing import Any

import torch
from torch import Tensor

from axk1.core.errors import CheckpointError

KEY, METHOD, SCALE = "quantization_config", "fp8", "_scale_inv"
BLOCK = (128, 128)
"""Rows and columns of a block in the released checkpoints."""
_MOST = torch.finfo(torch.float8_e4m3fn).max


def block_size(form: Any) -> tuple[int, int]:
    """Rows and columns of a block by a config's ``quantization_config`` of the method fp8.

    Raises:
        CheckpointError: ``weight_block_size`` is missing or no two positive numbers.
    """
    size = form.get("weight_block_size")
    good = isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)
    if not good:
        raise CheckpointError(f"{KEY}.weight_block_size = {size!r} is not allowed; allowed: two positive whole numbers")
    return size[0], size[1]


def scales_shape(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, int]:
    """[P, Q] for a weight [R, C]."""
    return -(-shape[0] // block[0]), -(-shape[1] // block[1])


def dequantise_blocks(weight_RC: Tensor, scale_PQ: Tensor, block: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Weight times scale, in float32, rounded to ``dtype`` once: [R, C]."""
    out_RC = torch.empty(weight_RC.shape, dtype=dtype, device=weight_RC.device)
    scale_PC = scale_PQ.float().repeat_interleave(block[1], dim=1)[:, : weight_RC.shape[1]]
    rows = (each.split(block[0]) for each in (weight_RC, out_RC))
    for weight, out, scale_C in zip(*rows, scale_PC, strict=True):  # a row of blocks at a time stays in the cache
        torch.mul(weight.float(), scale_C, out=out)
    return out_RC


def quantise_blocks(weight_RC: Tensor, block: tuple[int, int] = BLOCK) -> tuple[Tensor, Tensor]:
    """The inverse: float8_e4m3fn [R, C] and float32 scales [P, Q], by which each block's largest weight becomes 448."""
    scale_PQ = torch.stack(
        [
            torch.stack([part.abs().amax() for part in rows.split(block[1], dim=1)])
            for rows in weight_RC.float().split(block[0])
        ]
    )
    scale_PQ = torch.where(scale_PQ > 0, scale_PQ / _MOST, 1.0)
    wide_RC = scale_PQ.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    scaled = weight_RC.float() / wide_RC[: weight_RC.shape[0], : weight_RC.shape[1]]
    return scaled.clamp_(-_MOST, _MOST).to(torch.float8_e4m3fn), scale_PQ
