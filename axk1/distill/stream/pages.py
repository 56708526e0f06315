"""Large pieces of memory that come from the kernel in pages of 2 MiB, and go back to it when nobody holds them.

What ``malloc`` gives stays with the process when it is freed, in holes that a larger piece does not fit into.
"""

import math
import mmap

import torch
from torch import Tensor

from axk1.distill.stream.direct_file import ALIGNMENT

_HUGE_PAGE = 2 << 20


def allocate(size: int, *, pinned: bool = False) -> Tensor:
    """Bytes at a multiple of ``ALIGNMENT``: locked ones for CUDA, huge pages for a CPU, which reads them faster."""
    if pinned:
        room = torch.empty(size + ALIGNMENT, dtype=torch.uint8, pin_memory=True)
        return room[-room.data_ptr() % ALIGNMENT :][:size]
    memory = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    room = torch.frombuffer(memory, dtype=torch.uint8)  # keeps the mapping alive
    return room[-room.data_ptr() % _HUGE_PAGE :][:size]


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``torch.empty``; on a CPU in memory of its own."""
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    return allocate(math.prod(shape) * dtype.itemsize).view(dtype).view(shape)
