"""The model of ``stream.py``: random weights in the proportions of A.X K1, as large as one asks for.

What decides the speed of streaming is kept from A.X K1: latent attention, one dense layer, then layers of 192 experts
of which a token takes 8, experts 2/7 as wide as the residual stream, a vocabulary 23 times as wide. The width follows
from the size of the file; 60 sparse layers become 8.
"""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from axk1.model.checkpoint import named_views
from axk1.model.config import ModelConfig
from axk1.model.tensor_files import WEIGHTS_INDEX
from axk1.model.transformer import Transformer

AXK1 = Path(__file__).parents[1] / "recipes/axk1-519b/config.json"
SPARSE_LAYERS = 8
_FILE_BYTES = 2_000_000_000


def small_axk1(gigabytes: float) -> ModelConfig:
    """A.X K1 with 9 layers, so narrow that its weights take about this much in 16 bits."""
    width = 128
    while 2 * _weights(_of_width(width + 64)) <= gigabytes * 1e9:
        width += 64
    return _of_width(width)


def true_axk1(layers: int) -> ModelConfig:
    """The first layers of A.X K1 at full width, with the whole vocabulary."""
    return dataclasses.replace(ModelConfig.load(AXK1), num_hidden_layers=layers, num_nextn_predict_layers=0)


def write(config: ModelConfig, folder: Path) -> int:
    """Writes a network of random weights in bfloat16, in files of 2 GB, one in memory at a time. Returns its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config.to_hf(), "dtype": "bfloat16"}, indent=2) + "\n")
    generator = torch.Generator().manual_seed(0)
    weight_map, total = {}, 0
    for number, shapes in enumerate(_files(config)):
        tensors = {name: _random(name, shape, generator) for name, shape in shapes.items()}
        file = f"model-{number:05d}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / WEIGHTS_INDEX).write_text(json.dumps(index))
    return total


def _of_width(width: int) -> ModelConfig:
    whole = ModelConfig.load(AXK1)
    share = width / whole.hidden_size

    def part(name: str, step: int = 16) -> int:
        return max(step, round(getattr(whole, name) * share / step) * step)

    names = ("intermediate_size", "q_lora_rank", "kv_lora_rank", "moe_intermediate_size")
    return dataclasses.replace(
        whole,
        hidden_size=width,
        num_hidden_layers=SPARSE_LAYERS + 1,
        num_attention_heads=part("num_attention_heads", 1),
        vocab_size=part("vocab_size", 64),
        bos_token_id=0,
        eos_token_id=0,
        **{name: part(name) for name in names},
    )


def _weights(config: ModelConfig) -> int:
    return sum(math.prod(shape) for shapes in _files(config) for shape in shapes.values())


def _files(config: ModelConfig) -> Iterator[dict[str, tuple[int, ...]]]:
    """Names and shapes of each file, the layers' one after the other, then the rest."""
    with torch.device("meta"):
        views = {name: tuple(view.shape) for name, view in named_views(Transformer(config))}
    layers = [f"model.layers.{layer}." for layer in range(config.num_hidden_layers)]
    parts = [{name: shape for name, shape in views.items() if name.startswith(layer)} for layer in layers]
    for part in [*parts, {name: shape for name, shape in views.items() if not name.startswith("model.layers.")}]:
        file: dict[str, tuple[int, ...]] = {}
        for name, shape in part.items():
            if file and 2 * sum(map(math.prod, [*file.values(), shape])) > _FILE_BYTES:
                yield file
                file = {}
            file[name] = shape
        yield file


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if name.endswith("e_score_correction_bias"):
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    # So that a layer neither blows up nor drowns its input, whatever the width.
    return torch.randn(shape, generator=generator).mul_(0.8 / math.sqrt(shape[1])).bfloat16()
