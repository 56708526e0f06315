"""The plan of a run: how large, on what, how long. It is printed before anything is done."""

import torch

from axk1.core.progress import duration, human, si
from axk1.data.packing import PackedBatches
from axk1.model.config import ModelConfig
from axk1.model.inspect import inspect_model
from axk1.model.transformer import Transformer
from axk1.train.config import TrainConfig
from axk1.train.foreign import ForeignConfig
from axk1.train.material import Material
from axk1.train.muon import Muon
from axk1.train.optimizers import build_optimizers
from axk1.train.parallel.processes import Processes
from axk1.train.precision import matmul_rate

UTILISATION = 0.35
"""Share of the rate of a large matrix product that a training step reaches, for the expected time."""


def plan(
    config: TrainConfig,
    material: Material,
    batches: PackedBatches,
    processes: Processes,
    device: torch.device,
    precision: str,
) -> dict[str, str]:
    """One line per fact, ready to print."""
    if isinstance(material.model_config, ForeignConfig):
        return _plan_foreign(config, material, batches, device, precision)
    model = inspect_model(material.model_config, context=config.sequence_length)
    places = config.total_steps * config.tokens_per_step
    start = "from its weights" if config.model.is_dir() else "from random weights"
    parts = f" in {config.micro_batches} parts" if config.micro_batches > 1 else ""
    return {
        "model": f"{model.architecture}, {human(model.total)} parameters, {human(model.active)} active, {start}",
        "data": _data(config, material, batches),
        "batch": f"{config.rows} x {config.sequence_length} = {human(config.tokens_per_step)} tokens{parts}",
        "steps": f"{config.total_steps:,}",
        "optimizer": _optimizer(config),
        "device": _device(device, processes, precision),
        "memory": _memory(config, material.model_config, model.total, processes),
        "time": _time(model.flops_training * places + _optimizer_flops(config, material), processes, device, precision),
    }


def _plan_foreign(
    config: TrainConfig, material: Material, batches: PackedBatches, device: torch.device, precision: str
) -> dict[str, str]:
    """The same for a network of transformers, whose size is known only when it is built."""
    network = material.model_config
    start = "from its weights" if network.has_weights else "from random weights"
    return {
        "model": f"{network.architecture} through transformers, {start}",
        "data": _data(config, material, batches),
        "batch": f"{config.rows} x {config.sequence_length} = {human(config.tokens_per_step)} tokens",
        "steps": f"{config.total_steps:,}",
        "optimizer": _optimizer(config),
        "device": _device(device, Processes(), precision),
    }


def _data(config: TrainConfig, material: Material, batches: PackedBatches) -> str:
    places = config.total_steps * config.tokens_per_step
    passes = config.total_steps * config.rows / sum(batches.rows_per_epoch)
    folders = ", ".join(str(source.folder) for source in config.shards)
    return (f"{human(material.tokens)} tokens in {folders}; "
            f"about {human(places * batches.fill_rate)} to train on, {passes:.2f} passes")  # fmt: skip


def _optimizer(config: TrainConfig) -> str:
    optim = config.optim
    rates = f"{optim.lr:g}"
    if optim.name == "muon" and optim.muon_lr is not None:
        rates += f" (hidden matrices {optim.muon_lr:g})"
    return f"{optim.name}, learning rate {rates}, {optim.schedule}"


def _optimizer_flops(config: TrainConfig, material: Material) -> float:
    """What Muon's products cost over the run; AdamW makes none."""
    if config.optim.name != "muon":
        return 0.0
    with torch.device("meta"):
        model = Transformer(material.model_config)
    optimizers = build_optimizers(model, config.optim)
    return config.total_steps * sum(optimizer.flops() for optimizer in optimizers if isinstance(optimizer, Muon))


def _device(device: torch.device, processes: Processes, precision: str) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    each = f"{processes.world_size} processes, each on " if processes.world_size > 1 else ""
    return f"{each}{name}, {precision}"


def _memory(config: TrainConfig, model: ModelConfig, parameters: int, processes: Processes) -> str:
    """Weights, gradients and optimizer means in fp32, and what a micro-batch leaves behind for its gradient."""
    means = 1 if config.optim.name == "muon" else 2
    fixed = 4 * parameters * (2 + means) / processes.world_size
    tokens = config.tokens_per_step // (processes.world_size * config.micro_batches)
    activations = tokens * model.num_hidden_layers * _bytes_per_token_and_layer(model)
    return (f"about {si(fixed + activations, 'B')} per process "
            f"({si(fixed, 'B')} weights, gradients and optimizer, {si(activations, 'B')} activations)")  # fmt: skip


def _bytes_per_token_and_layer(model: ModelConfig) -> int:
    """Roughly what autograd keeps: ten widths of the residual stream, and three of each SwiGLU that a token meets."""
    inner = model.intermediate_size
    if model.is_sparse:
        inner = model.moe_intermediate_size * (model.num_experts_per_tok + model.n_shared_experts)
    rows = model.num_experts_per_tok if model.is_sparse else 1
    return 4 * ((10 + rows) * model.hidden_size + 3 * inner)


def _time(flops: float, processes: Processes, device: torch.device, precision: str) -> str:
    rate = matmul_rate(torch.bfloat16 if precision == "bf16" else torch.float32, device)
    seconds = flops / (rate * UTILISATION * processes.world_size)
    return (f"about {duration(seconds)} ({si(flops, 'FLOP')} at {UTILISATION:.0%} of the {si(rate, 'FLOP/s')} "
            "that a matrix product reaches here)")  # fmt: skip
