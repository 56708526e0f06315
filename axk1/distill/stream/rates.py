"""How fast a machine reads, copies and multiplies: measured here, or as the makers of named hardware say."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from axk1.core.progress import si
from axk1.distill.stream.groups import Group
from axk1.distill.stream.read_ahead import ReadAhead
from axk1.distill.stream.states import StateFile
from axk1.model.tensor_files import TensorFiles
from axk1.train.precision import matmul_rate

UTILISATION = 0.5
"""Share of the rate of a large matrix product that a network reaches."""
_SAMPLE = 256 << 20


@dataclass(frozen=True)
class Rates:
    """A machine, in bytes and floating-point operations per second."""

    disk: float
    """Reading the checkpoint."""
    link: float | None
    """From main memory to the device; None where they are one."""
    states: float
    """Reading or writing the states of tokens."""
    flops: float
    """Products of large matrices."""

    def __str__(self) -> str:
        link = f", link {si(self.link, 'B/s')}" if self.link else ""
        return (
            f"disk {si(self.disk, 'B/s')}{link}, states {si(self.states, 'B/s')}, products {si(self.flops, 'FLOP/s')}"
        )


HARDWARE = {
    # SXM data sheets, dense bf16; PCIe 5 x16 and x4 as they measure; states in main memory, four threads.
    "h200-nvme": Rates(disk=6e9, link=50e9, states=30e9, flops=989e12),
    "h200-nvme-raid4": Rates(disk=24e9, link=50e9, states=30e9, flops=989e12),
    "h100-nvme": Rates(disk=6e9, link=50e9, states=30e9, flops=989e12),
    # PCIe 4 x16, two channels of memory; dense bf16 with sums in fp32.
    "rtx4090-nvme": Rates(disk=6e9, link=25e9, states=15e9, flops=165e12),
}
"""Machines that a plan can be made for without having one."""


def measured(files: TensorFiles | None, folder: Path, device: torch.device, dtype: torch.dtype) -> Rates:
    """The rates of this machine.

    Args:
        files: the checkpoint, the beginning of which is read; None measures a file in ``folder`` instead.
        folder: where the states will be.
        device: where products run.
        dtype: of the products.
    """
    states = _states_rate(folder)
    disk = states if files is None else _disk_rate(files)
    link = _link_rate(device) if device.type == "cuda" else None
    return Rates(disk, link, states, matmul_rate(dtype, device))


def _disk_rate(files: TensorFiles) -> float:
    weights, size = [], 0
    for weight in files.weights.values():
        if size < _SAMPLE and weight.nbytes < _SAMPLE:
            weights.append(weight)
            size += weight.nbytes
    groups = [Group(weight.name, (weight,)) for weight in weights]
    ahead = ReadAhead(groups, budget_bytes=2 * max(w.nbytes for w in weights) + (8 << 20))
    began = time.perf_counter()
    for _ in ahead:
        pass
    return ahead.bytes_read / max(time.perf_counter() - began, 1e-6)


def _states_rate(folder: Path) -> float:
    """Of a file that is written and read through the page cache."""
    block = torch.ones(8192, 1024)
    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            file = StateFile(Path(place) / "states", len(block), block.shape[1])
            file.write(slice(0, len(block)), block)
            file.read(slice(0, len(block)), block)
            file.close()
    except OSError:  # a full disk is told with what the states need, not with what measuring needs
        began = time.perf_counter()
        block.clone()
    return 2 * block.nbytes / (time.perf_counter() - began)


def _link_rate(device: torch.device) -> float:
    source = torch.empty(_SAMPLE, dtype=torch.uint8, pin_memory=True)
    target = source.to(device)
    torch.cuda.synchronize()
    began = time.perf_counter()
    target.copy_(source, non_blocking=True)
    torch.cuda.synchronize()
    return _SAMPLE / (time.perf_counter() - began)
