"""LoRA (arXiv 2106.09685): the weights stay, and a product of two small matrices is learnt beside each of them.

W [out, in] becomes W + (alpha / rank) B A, with A [rank, in] drawn at random and B [out, rank] zero, so training starts
at the model itself. Only A and B are trained, so only they have gradients and a state of the optimizer. At the end the
products are added to the weights, and A and B are written once more in the files of the library PEFT.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from axk1.core.artifact import write_text_atomic
from axk1.core.errors import ConfigError
from axk1.model.transformer import Transformer
from axk1.train.config import TrainConfig

FOLDER = "adapter"
"""Where the adapter lies within a checkpoint."""
_ADDED, _ORIGINAL = "parametrizations.weight.0.", "parametrizations.weight.original"
_PEFT_WEIGHTS, _PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"


class LowRank(nn.Module):
    """What is added to one weight.

    Args:
        weight: it, [out, in].
        rank, scale: of the product.
        generator: draws A.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        out, width = weight.shape
        bound = 1 / math.sqrt(width)  # as in the reference implementation
        drawn_RI = torch.empty(rank, width, dtype=weight.dtype).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(drawn_RI.to(weight.device))
        self.lora_B = nn.Parameter(weight.new_zeros(out, rank))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its addition."""
        return weight + self.scale * (self.lora_B @ self.lora_A)


def add_adapters(model: Transformer, config: TrainConfig) -> Transformer:
    """Freezes a model and puts adapters beside its linear layers, in place.

    Args:
        model: in one piece, not yet sharded.
        config: ``lora_rank`` (0 leaves the model as it is), ``lora_alpha``, ``lora_targets`` and the seed.

    Raises:
        ConfigError: the model has no such layers.
    """
    if not config.lora_rank:
        return model
    layers = {name: module for name, module in model.layers.named_modules() if isinstance(module, nn.Linear)}
    names = sorted({name.rpartition(".")[2] for name in layers})
    wanted = config.lora_targets or tuple(name for name in names if name.endswith(("_proj", "_with_mqa")))
    for target in wanted:
        if target not in names:
            raise ConfigError(f"lora_targets = {target!r} is not allowed; allowed: {', '.join(names)}")
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(config.seed)
    scale = (config.lora_alpha or config.lora_rank) / config.lora_rank
    for name, module in layers.items():
        if name.rpartition(".")[2] in wanted:
            addition = LowRank(module.weight, config.lora_rank, scale, generator)
            parametrize.register_parametrization(module, "weight", addition)
    return model


def adapters(model: Transformer) -> Iterator[tuple[str, nn.Linear, LowRank]]:
    """The layers that have adapters, with their names in a Hugging Face model."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            yield f"model.{name}", module, module.parametrizations.weight[0]


def merged(model: Transformer) -> Transformer:
    """The model with the products added to its weights, as a model without adapters to save; one without is itself."""
    if not any(True for _ in adapters(model)):
        return model
    state = {
        name.replace(_ORIGINAL, "weight"): value for name, value in model.state_dict().items() if _ADDED not in name
    }
    with torch.no_grad():
        state |= {f"{name.removeprefix('model.')}.weight": module.weight for name, module, _ in adapters(model)}
    with torch.device("meta"):
        plain = Transformer(model.config)
    plain.load_state_dict(state, assign=True)
    if model.config.tie_word_embeddings:
        plain.lm_head.weight = plain.embed_tokens.weight
    return plain


def save_adapter(model: Transformer, folder: Path, config: TrainConfig) -> None:
    """Writes the adapter as PEFT reads it: ``adapter_config.json`` and ``adapter_model.safetensors``."""
    tensors, targets = {}, set()
    for name, _, addition in adapters(model):
        targets.add(name.rpartition(".")[2])
        for part in ("lora_A", "lora_B"):
            tensors[f"base_model.model.{name}.{part}.weight"] = getattr(addition, part).detach().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, folder / _PEFT_WEIGHTS, metadata={"format": "pt"})
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(config.model),
        "r": config.lora_rank,
        "lora_alpha": config.lora_alpha or config.lora_rank,
        "target_modules": sorted(targets),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
    write_text_atomic(folder / _PEFT_CONFIG, json.dumps(described, indent=2) + "\n")
