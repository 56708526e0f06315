"""``WeightStream``: the pieces of a pass in the order of their use, read ahead, on the device, in the right dtype.

Matrices come in the dtype of the products; norms, biases and routers in fp32, as a model in memory keeps them.
"""

import time
from collections.abc import Sequence
from types import TracebackType

import torch
from torch import Tensor

from axk1.distill.stream.groups import Group, Loaded
from axk1.distill.stream.pieces import Piece
from axk1.distill.stream.read_ahead import ReadAhead


class WeightStream:
    """Gives pieces in the order of the groups that are read.

    Args:
        groups: what is read, in the order in which it will be taken.
        device: where the weights go.
        dtype: of the matrices.
        ring_bytes: memory of the reader.
        threads: threads of the reader.
    """

    def __init__(
        self, groups: Sequence[Group], *, device: torch.device, dtype: torch.dtype, ring_bytes: int, threads: int
    ) -> None:
        self.ahead = ReadAhead(groups, threads=threads, budget_bytes=ring_bytes, pinned=device.type == "cuda")
        self._loaded, self._device, self._dtype = iter(self.ahead), device, dtype
        self.seconds = 0.0
        """Time in which the work stood still for weights, or moved them."""

    def __enter__(self) -> "WeightStream":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loaded.close()

    def take(self, piece: Piece) -> dict[str, Tensor]:
        """The next piece's weights, by their names without its prefix; they belong to the caller."""
        out = {}
        for name, shape in piece.shapes.items():
            wide = len(shape) == 1 or name.endswith("mlp.gate.weight")
            # Zeros stay where a checkpoint has no bias of the router.
            out[name] = torch.zeros(shape, dtype=torch.float32 if wide else self._dtype, device=self._device)
        self.take_into(piece, out)
        return {name.removeprefix(piece.prefix): tensor for name, tensor in out.items()}

    def take_into(self, piece: Piece, out: dict[str, Tensor]) -> None:
        """Writes the next piece's weights to tensors, by their whole names."""
        began = time.perf_counter()
        loaded = next(self._loaded)
        assert loaded.name == piece.name, f"{piece.name} was asked for, and {loaded.name} was read"
        for name in loaded.names:
            _copy(loaded, name, out[name])
        if self._device.type == "cuda":  # the copies must have ended before their source is given back
            torch.cuda.current_stream().synchronize()
        self.seconds += time.perf_counter() - began


def _copy(loaded: Loaded, name: str, out: Tensor) -> None:
    parts = loaded.parts(name)
    if len(parts) == 1:  # one pass: read, convert, write
        out.copy_(parts[0], non_blocking=True)
    else:
        out.copy_(loaded.read_as(name, out.dtype), non_blocking=True)
