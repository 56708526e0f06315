"""Quantised networks as folders: the packed tensors in safetensors, and what they are in ``config.json``.

    config.json       quantization_config: {"quant_method": "axk1", "weights": "int4", "group_size": 32, "panel": 16}
    model.safetensors the modules' tensors under their own names, laid out for the kernel

Only this engine reads such a folder. The plain checkpoint that it was made from stays the one for other programs.
"""

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from axk1.core.artifact import write_text_atomic
from axk1.core.errors import CheckpointError
from axk1.engine.kernel.packing import GROUP, KINDS, PANEL, WeightKind
from axk1.engine.quantised.applying import place_in_huge_pages, quantise, quantised_kind, with_weights
from axk1.model.block_scales import KEY
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.model.rope import RotaryEmbedding
from axk1.model.tensor_files import WEIGHTS
from axk1.model.transformer import Transformer

METHOD = "axk1"
_AGAIN = "write it again: axk1 export quantize CHECKPOINT --output FOLDER"


def open_model(
    path: str | Path,
    *,
    weights: WeightKind | Literal["auto"] = "auto",
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> Transformer:
    """Opens a checkpoint or a quantised folder for the engine.

    Args:
        path: the folder.
        weights: number format of the matrices; auto keeps that of the folder.
        dtype, device: as in ``load_model``; quantised networks run in float32 on the CPU.

    Raises:
        CheckpointError: the folder is incomplete or corrupt, or was packed in another layout.
        ConfigError: the folder is quantised to another format than asked for.
    """
    config = ModelConfig.load(path)
    if not is_quantised(config):
        return with_weights(load_model(path, dtype=dtype, device=device), weights)
    return with_weights(_load(Path(path), config), weights)


def is_quantised(config: ModelConfig) -> bool:
    """Whether a folder with this config holds packed weights of ours."""
    stored = config.extra.get(KEY)
    return isinstance(stored, dict) and stored.get("quant_method") == METHOD


def packed_kind(path: Path, config: ModelConfig) -> WeightKind:
    """The number format of a quantised folder's matrices by its config.

    Raises:
        CheckpointError: it was packed in a format or layout that this version does not know.
    """
    stored = config.extra[KEY]
    kind, form = stored.get("weights"), (stored.get("group_size"), stored.get("panel"))
    if kind not in KINDS or form != (GROUP, PANEL):
        raise CheckpointError(f"{KEY} of {str(path)!r} is {stored}, which this version cannot read", repair=_AGAIN)
    return kind


def save_quantised(model: Transformer, folder: str | Path) -> None:
    """Writes a quantised network into an existing folder: config.json and model.safetensors."""
    kind = quantised_kind(model)
    assert kind is not None, "the network is not quantised"
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if _tied(model):  # safetensors refuses tensors that share memory
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("lm_head.packed")}
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, Path(folder) / WEIGHTS)
    form = {"quant_method": METHOD, "weights": kind, "group_size": GROUP, "panel": PANEL}
    values = {**model.config.to_hf(), "dtype": "float32", KEY: form}
    write_text_atomic(Path(folder) / "config.json", json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def _load(path: Path, config: ModelConfig) -> Transformer:
    kind = packed_kind(path, config)
    with torch.device("meta"):
        model = quantise(Transformer(config), kind)
    try:
        tensors = load_file(path / WEIGHTS)
        if _tied(model):
            tensors |= {n.replace("embed_tokens.", "lm_head."): t for n, t in tensors.items() if "embed_tokens" in n}
        model.load_state_dict(tensors, assign=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"the weights in {str(path)!r} cannot be read: {first}", repair=_AGAIN) from None
    if _tied(model):
        model.lm_head.packed = model.embed_tokens.packed
    model.rope = RotaryEmbedding(config.rope_parameters, config.rotary_dim, config.max_position_embeddings)
    place_in_huge_pages(model)
    return model.eval().requires_grad_(False)


def _tied(model: Transformer) -> bool:
    return model.lm_head.packed is model.embed_tokens.packed
