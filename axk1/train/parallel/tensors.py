"""Tensors that are one whole on one process, and parts on many."""

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from axk1.train.parallel.processes import Processes


def local_part(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that this process holds, sharing its memory; any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(part: Tensor, like: Tensor) -> Tensor:
    """The whole tensor of which each process has the part that it holds of ``like``."""
    if not isinstance(like, DTensor):
        return part
    whole = DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
    return whole.full_tensor()


def own_part(whole: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor, the same on every process, that this process holds of ``like``."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None).to_local()


@torch.no_grad()
def clip_gradients(parameters: list[Tensor], max_norm: float, processes: Processes) -> Tensor:
    """Scales the gradients of all parameters together down to ``max_norm``, where they are longer.

    Returns:
        The norm before, a scalar on the gradients' device, over all processes.
    """
    grads = [local_part(p.grad) for p in parameters if p.grad is not None]
    square = torch.stack(torch._foreach_norm(grads)).square().sum()
    norm = processes.sum_tensor(square).sqrt()
    if norm.device.type == "cpu" and norm <= max_norm:
        return norm  # looking costs nothing here, a pass over all gradients does
    torch._foreach_mul_(grads, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm
