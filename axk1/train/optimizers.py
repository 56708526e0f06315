"""Which optimizer updates which parameter. The learning rate is set before each step, from ``schedule``."""

import torch
from torch import Tensor, nn

from axk1.train.config import OptimizerConfig
from axk1.train.muon import Muon

_FUSED_EXPERTS = "experts.gate_up_proj"
"""Holds two matrices of each expert, the gate above the other one; Muon must see them apart."""


def build_optimizers(
    model: nn.Module, config: OptimizerConfig, *, precision: str = "fp32"
) -> list[torch.optim.Optimizer]:
    """The optimizers that together update every trained parameter once.

    Args:
        model: the network, already sharded when many processes train it.
        config: names and settings; every group's ``peak_lr`` is what the schedule multiplies.
        precision: ``bf16`` where that is the fast arithmetic, for Muon's iterations.
    """
    kinds: dict[str, list[Tensor]] = {"embedding": [], "vector": [], "matrix": [], "hidden": [], "fused": []}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = "embedding" if id(parameter) in embeddings else parameter_kind(name, parameter)
            kinds[kind].append(parameter)
    adamw_groups = [_group(kinds["embedding"] + kinds["vector"], config.lr, 0.0)]
    hidden_groups = [_group(kinds["hidden"], config.lr, config.weight_decay)]
    hidden_groups += [_group(kinds["fused"], config.lr, config.weight_decay)]
    adamw_groups += [_group(kinds["matrix"], config.lr, config.weight_decay)]
    if config.name == "adamw":
        return _adamw([*adamw_groups, *hidden_groups], config)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for group, stacked in zip(hidden_groups, (1, 2), strict=True):
        group |= {"peak_lr": config.muon_lr or config.lr, "matrices_per_slice": stacked}
    muon = [group for group in hidden_groups if group["params"]]
    options = {"momentum": config.muon_momentum, "steps": config.muon_steps, "dtype": dtype}
    return [*_adamw(adamw_groups, config), *([Muon(muon, lr=config.lr, **options)] if muon else [])]


def parameter_kind(name: str, parameter: Tensor) -> str:
    """What sort of parameter this is, by its name and shape, if no embedding.

    Returns:
        ``vector`` (norms and biases), ``matrix`` (the untied head and the routers, which face tokens or choices rather
        than hidden states), ``hidden`` (the matrices that Muon is for, as [out, in] or [experts, out, in]) or ``fused``
        (such a stack with two matrices in each slice).
    """
    if parameter.ndim < 2:
        return "vector"
    if name.endswith(("lm_head.weight", "embed_out.weight", "mlp.gate.weight")):
        return "matrix"
    return "fused" if name.endswith(_FUSED_EXPERTS) else "hidden"


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    """Sets the learning rate of every group to its peak times ``factor``."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def _group(params: list[Tensor], lr: float, weight_decay: float) -> dict[str, object]:
    return {"params": params, "lr": lr, "peak_lr": lr, "weight_decay": weight_decay}


def _adamw(groups: list[dict[str, object]], config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    groups = [group for group in groups if group["params"]]
    options = {"lr": config.lr, "betas": config.betas, "eps": config.eps, "fused": True}
    return [torch.optim.AdamW(groups, **options)] if groups else []
