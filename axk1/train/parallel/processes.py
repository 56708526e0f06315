"""The processes of a run: one, or as many as ``torchrun`` started."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Processes:
    """This process's place among those of the run, and what they say to each other beside gradients."""

    rank: int = 0
    """Number of this process, from 0."""
    world_size: int = 1
    """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks to the person."""
        return self.rank == 0

    def sum(self, values: list[int]) -> list[int]:
        """Element-wise sum over all processes, without touching a GPU."""
        if self.world_size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum of a tensor over all processes; the argument is left as it is."""
        if self.world_size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def barrier(self) -> None:
        """Waits until all processes are here."""
        self.sum([0])


@contextlib.contextmanager
def joined(device_type: str) -> Iterator[Processes]:
    """Joins the processes that ``torchrun`` started, for the time of the block; alone, there is nothing to join.

    Args:
        device_type: ``cuda`` sends gradients over NCCL; what lies in main memory always goes over gloo.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Processes()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world_size)
    finally:
        dist.destroy_process_group()
