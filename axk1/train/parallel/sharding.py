"""Fully sharded data parallelism (FSDP2): each process holds a part of every parameter and sees a part of the batch."""

from collections.abc import Callable

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.utils import _pytree as pytree

from axk1.model.moe import Routing
from axk1.model.transformer import Hidden, Transformer
from axk1.train.parallel.processes import Processes

# FSDP2 looks for tensors in what a layer returns, to know when the gradient comes back to it.
for _returned in (Hidden, Routing):
    pytree.register_dataclass(_returned)


def parallelize(model: Transformer, processes: Processes, device: torch.device) -> Transformer:
    """Shards the model over the processes, in place; alone, it is left as it is.

    Every process must hold the same weights. Gradients are summed, not averaged: a loss is divided by the targets
    of the whole batch, so the sum is the gradient that one process would have.
    """
    if processes.world_size == 1:
        return model
    mesh = init_device_mesh(device.type, (processes.world_size,))
    blocks = [*model.layers, *([model.mtp.block] if model.mtp is not None else [])]
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    # Objectives call these, then multiply by the output matrix; the root module keeps it gathered until then.
    register_fsdp_forward_method(model, "hidden")
    if model.mtp is not None:
        register_fsdp_forward_method(model, "predict_second")
    return model


def whole_model(
    model: Transformer, processes: Processes, fit: Callable[[Transformer], Transformer] = lambda shell: shell
) -> Transformer:
    """The model in one piece in main memory, on the first process; an empty shell (device meta) on the others.

    Args:
        fit: gives a new model the parameters that this one has beside those of its config.
    """
    if processes.world_size == 1:
        return model
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    with torch.device("meta"):
        whole = fit(Transformer(model.config))
    if processes.is_first:
        whole.load_state_dict(state, assign=True)
        _tie(whole)
    return whole


def _tie(model: nn.Module) -> None:
    if model.config.tie_word_embeddings:
        model.lm_head.weight = model.embed_tokens.weight
