"""``PackedMatrix``: a matrix in 16, 8 or 4 bits, laid out for the kernel, and its products in plain torch.

Weights are symmetric within groups of ``GROUP`` columns with a bfloat16 scale each: int8 takes 8.5, int4 4.5 bits a
weight. Groups of 64 would save 0.25 bits; SmolLM2-135M, of perplexity 30.1, then has 49.1 instead of 40.4 with all of
its matrices in int4. The layout is explained in ``products.h``. For int8 and int4 the activations are rounded to 8 bits
as well, each row by itself in the same groups, as llama.cpp does, which moves that perplexity by less than 0.5 %; the
plain products do it too, so both give the same numbers.

Shapes: B banks, P panels of 16 rows, G groups of columns, M rows of activations.
"""

import functools
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WeightKind = Literal["bf16", "int8", "int4"]
KINDS: tuple[WeightKind, ...] = ("bf16", "int8", "int4")
GROUP, PANEL = 32, 16
_CHUNK = 1 << 22
"""Most weights that are rounded at once."""
_INT4_STEPS = (-8.5, -8.0, -7.5, -7.0, -6.5, 6.5, 7.0, 7.5)
"""Where the weight of largest magnitude in a group is put; the step with the smallest squared error is taken."""


class PackedMatrix(NamedTuple):
    """A matrix [out, in], or B of them, one after another."""

    kind: WeightKind
    """Number format."""
    shape: tuple[int, int, int]
    """Banks, rows and columns."""
    data: Tensor
    """uint8 [B, P, G, bytes of 16 x 32 weights]."""
    scales: Tensor
    """bfloat16 [B, P, G, 16]; empty for bf16."""

    @property
    def nbytes(self) -> int:
        """Bytes of weights and scales."""
        return self.data.nbytes + self.scales.nbytes


def pack(weight: Tensor, kind: WeightKind) -> PackedMatrix:
    """Rounds a matrix [out, in], or a bank of matrices [B, out, in], to a number format and lays it out."""
    bank = weight.detach() if weight.dim() == 3 else weight.detach().unsqueeze(0)
    rows = max(1, _CHUNK // (bank.shape[1] * bank.shape[2]))
    parts = [_pack_some(some.float(), kind) for some in bank.split(rows)]
    data, scales = (torch.cat(each) for each in zip(*parts, strict=True))
    return PackedMatrix(kind, (bank.shape[0], bank.shape[1], bank.shape[2]), data, scales)


@functools.cache
def packed_shapes(shape: tuple[int, int], kind: WeightKind) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of ``data`` and ``scales`` of a matrix [out, in] once it is packed, without the banks."""
    packed = pack(torch.empty(shape, device="meta"), kind)
    return tuple(packed.data.shape[1:]), tuple(packed.scales.shape[1:])


def unpack(matrix: PackedMatrix) -> Tensor:
    """The weights that a packed matrix stands for, in float32 [B, out, in]."""
    _, out, columns = matrix.shape
    banks, panels, groups, _ = matrix.data.shape
    if matrix.kind == "bf16":
        values = matrix.data.view(torch.bfloat16).view(banks, panels, groups, GROUP // 2, PANEL, 2).float()
    elif matrix.kind == "int8":
        values = matrix.data.view(banks, panels, groups, GROUP // 4, PANEL, 4).float() - 128
    else:
        packed = matrix.data.view(banks, panels, groups, GROUP // 8, PANEL, 4)
        values = torch.stack((packed & 15, packed >> 4), dim=4).float() - 8  # chunk, half, row, column
        values = values.flatten(3, 4)
    values = values.permute(0, 1, 4, 2, 3, 5).reshape(banks, panels, PANEL, groups, GROUP)
    if matrix.kind != "bf16":
        values = values * matrix.scales.float().transpose(2, 3).unsqueeze(-1)
    return values.reshape(banks, panels * PANEL, groups * GROUP)[:, :out, :columns].contiguous()


def round_activations(x: Tensor) -> Tensor:
    """Rounds the last dimension to 8 bits, by group, as the kernel does; float32 in and out."""
    width = x.shape[-1]
    groups = F.pad(x, (0, -width % GROUP)).unflatten(-1, (-1, GROUP))
    most = groups.abs().amax(-1, keepdim=True)
    inverse = torch.where(most > 0, 127.0 / most, 0.0)
    return ((groups * inverse).round() * (most / 127.0)).flatten(-2)[..., :width]


def product(x: Tensor, matrix: PackedMatrix, bank: int = 0) -> Tensor:
    """x [M, in] times one matrix, transposed: [M, out] in float32. The reference of the kernel, and its stand-in."""
    x = x.float() if matrix.kind == "bf16" else round_activations(x.float())
    one = PackedMatrix(
        matrix.kind, (1, *matrix.shape[1:]), matrix.data[bank : bank + 1], matrix.scales[bank : bank + 1]
    )
    return x @ unpack(one)[0].T


def _pack_some(bank: Tensor, kind: WeightKind) -> tuple[Tensor, Tensor]:
    bank = F.pad(bank, (0, -bank.shape[2] % GROUP, 0, -bank.shape[1] % PANEL))
    banks, panels, groups = bank.shape[0], bank.shape[1] // PANEL, bank.shape[2] // GROUP
    if kind == "bf16":
        chunks = bank.to(torch.bfloat16).view(banks, panels, PANEL, groups, GROUP // 2, 2)
        data = chunks.permute(0, 1, 3, 4, 2, 5).contiguous().view(torch.uint8)
        return data.view(banks, panels, groups, -1), torch.empty(banks, 0, dtype=torch.bfloat16)
    values = bank.view(banks, panels, PANEL, groups, GROUP)
    rounded, scales = _round_int8(values) if kind == "int8" else _round_int4(values)
    if kind == "int8":
        chunks = (rounded + 128).to(torch.uint8).view(banks, panels, PANEL, groups, GROUP // 4, 4)
    else:
        halves = (rounded + 8).to(torch.uint8).view(banks, panels, PANEL, groups, GROUP // 8, 2, 4)
        chunks = halves[..., 0, :] | halves[..., 1, :] << 4
    data = chunks.permute(0, 1, 3, 4, 2, 5).contiguous().view(banks, panels, groups, -1)
    return data, scales.squeeze(-1).transpose(2, 3).contiguous()


def _round_int8(values: Tensor) -> tuple[Tensor, Tensor]:
    scales = (values.abs().amax(-1, keepdim=True) / 127).to(torch.bfloat16)
    return _round(values, scales, -127, 127), scales


def _round_int4(values: Tensor) -> tuple[Tensor, Tensor]:
    most = values.abs().argmax(-1, keepdim=True)
    extreme = values.gather(-1, most)
    best = scales = None
    for step in _INT4_STEPS:
        tried = (extreme / step).to(torch.bfloat16)
        error = (_round(values, tried, -8, 7) * tried.float() - values).square_().sum(-1, keepdim=True)
        better = error < best if best is not None else None
        best = error if better is None else torch.where(better, error, best)
        scales = tried if better is None else torch.where(better, tried, scales)
    return _round(values, scales, -8, 7), scales


def _round(values: Tensor, scales: Tensor, low: int, high: int) -> Tensor:
    wide = scales.float()
    return (values / torch.where(wide == 0, 1.0, wide)).round_().clamp_(low, high)
