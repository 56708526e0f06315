"""Hugging Face model folders: ``config.json`` and safetensors in and out, tensor for tensor.

``named_views`` is the one place that knows how the network's parameters are called in a file: A.X K1's experts are
stacked in memory and stored one by one, as vLLM and the released checkpoint have them.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from axk1.core.artifact import write_text_atomic
from axk1.core.errors import CheckpointError
from axk1.model.config import ModelConfig
from axk1.model.moe import Experts, Router
from axk1.model.transformer import Transformer

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
_AGAIN = "copy or download the folder again"


def load_model(
    path: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> Transformer:
    """Opens a Hugging Face model folder.

    Args:
        path: the folder, with ``config.json`` and one or more ``*.safetensors``.
        dtype: dtype of the weights in memory; None keeps the files' dtype.
        device: where the weights go.

    Returns:
        A module with ``model(input_ids) -> logits``, in evaluation mode.

    Raises:
        CheckpointError: a file is missing or corrupt, or the weights do not fit the config; says which and how.
    """
    path = Path(path)
    config = ModelConfig.load(path)
    files = _weight_files(path)
    stored = {name: file for file in files for name in _names(file)}
    if dtype is None:
        dtype = _stored_dtype(stored)
    beyond = f"model.layers.{config.num_hidden_layers}."
    if config.num_nextn_predict_layers and not any(name.startswith(beyond) for name in stored):
        config = dataclasses.replace(config, num_nextn_predict_layers=0)  # trained with the module, released without
    model = empty_model(config, dtype=dtype, device=device)
    views = dict(named_views(model))
    _check_names(path, views, stored, config)
    with torch.no_grad():
        for file in files:
            _read_into(file, {n: v for n, v in views.items() if stored.get(n) == file})
    return model.eval()


def empty_model(config: ModelConfig, *, dtype: torch.dtype, device: str | torch.device = "cpu") -> Transformer:
    """A network whose weights are allocated but not set (biases of the router are zero)."""
    with torch.device("meta"):
        model = Transformer(config)
    model = model.to(dtype).to_empty(device=device)
    for module in model.modules():
        if isinstance(module, Router):  # float32 always, and zero where a checkpoint carries none
            module.e_score_correction_bias = torch.zeros(config.n_routed_experts, device=device)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.embed_tokens.weight
    return model


def save_model(model: Transformer, folder: str | Path, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes ``config.json``, ``generation_config.json`` and the weights into an existing folder."""
    folder = Path(folder)
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, view in [*named_views(model), *_unused_norms(model)]:
        if size + view.nbytes > shard_bytes and shards[-1]:
            shards, size = [*shards, {}], 0
        tensor = view.detach().cpu().contiguous()
        # safetensors refuses tensors that share memory, which a tied output matrix does.
        shards[-1][name] = tensor.clone() if name == "lm_head.weight" and model.config.tie_word_embeddings else tensor
        size += view.nbytes
    if len(shards) == 1:
        save_file(shards[0], folder / WEIGHTS, metadata={"format": "pt"})
    else:
        _save_shards(shards, folder)
    dtype = str(model.embed_tokens.weight.dtype).removeprefix("torch.")
    _write_json(folder / "config.json", {**model.config.to_hf(), "dtype": dtype})
    eos = model.config.eos_token_id
    stop = list(eos) if isinstance(eos, tuple) else eos
    _write_json(folder / "generation_config.json", {"bos_token_id": model.config.bos_token_id, "eos_token_id": stop})


def named_views(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Pairs of a tensor's name in a file and the part of the model that holds it, in a fixed order.

    A tied output matrix is stored once for the dense families; A.X K1's is always stored, since vLLM asks for it.
    """
    config = model.config
    yield "model.embed_tokens.weight", model.embed_tokens.weight
    for layer, block in enumerate(model.layers):
        yield from _block_views(f"model.layers.{layer}.", block)
    if model.mtp is not None:
        prefix = f"model.layers.{config.num_hidden_layers}."
        for name in ("enorm", "hnorm", "eh_proj"):
            yield f"{prefix}{name}.weight", getattr(model.mtp, name).weight
        yield f"{prefix}shared_head.norm.weight", model.mtp.norm.weight
        yield from _block_views(prefix, model.mtp.block)
    yield "model.norm.weight", model.norm.weight
    if not config.tie_word_embeddings or config.latent_attention:
        yield "lm_head.weight", model.lm_head.weight


def _block_views(prefix: str, block: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    stacked = {f"{name}." for name, module in block.named_modules() if isinstance(module, Experts)}
    for name, parameter in [*block.named_parameters(), *block.named_buffers()]:
        if not name.startswith(tuple(stacked)):
            # The file keeps the norm of the sparse layer's output beside the layer, not inside its mlp.
            yield prefix + name.replace("mlp.post_mlp_layernorm", "post_mlp_layernorm"), parameter
    if stacked:
        experts: Experts = block.mlp.experts
        inner = experts.down_proj.shape[2]
        for expert in range(experts.down_proj.shape[0]):
            each = f"{prefix}mlp.experts.{expert}."
            yield f"{each}gate_proj.weight", experts.gate_up_proj[expert, :inner]
            yield f"{each}up_proj.weight", experts.gate_up_proj[expert, inner:]
            yield f"{each}down_proj.weight", experts.down_proj[expert]


def _unused_norms(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """The norm that A.X K1's dense layers carry and do not apply; vLLM does not load a checkpoint without it."""
    if model.config.is_sparse:
        for layer in range(min(model.config.first_k_dense_replace, model.config.num_hidden_layers)):
            yield f"model.layers.{layer}.post_mlp_layernorm.weight", torch.ones_like(model.norm.weight)


def _weight_files(path: Path) -> list[Path]:
    index = path / WEIGHTS_INDEX
    if not index.exists():
        if not (path / WEIGHTS).exists():
            raise CheckpointError(f"{str(path)!r} holds neither {WEIGHTS} nor {WEIGHTS_INDEX}", repair=_AGAIN)
        return [path / WEIGHTS]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{str(index)!r} is corrupt: it holds no weight_map", repair=_AGAIN) from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{str(index)!r} is corrupt: {name!r} is no file name", repair=_AGAIN)
        if not (path / name).exists():
            raise CheckpointError(f"{str(path)!r} lacks {name!r}, which its {WEIGHTS_INDEX} names", repair=_AGAIN)
    return [path / name for name in names]


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{str(file)!r} is corrupt: {error}", repair=_AGAIN) from None


def _stored_dtype(stored: dict[str, Path]) -> torch.dtype:
    name = "model.embed_tokens.weight"
    if name not in stored:
        return torch.float32
    with safe_open(stored[name], framework="pt") as tensors:
        return tensors.get_slice(name)[:1].dtype


def _check_names(path: Path, views: dict[str, Tensor], stored: dict[str, Path], config: ModelConfig) -> None:
    optional = {n for n in views if n.endswith("e_score_correction_bias")}
    optional |= {"lm_head.weight"} if config.tie_word_embeddings else set()
    missing = sorted(set(views) - set(stored) - optional)
    modules = {_layer(n) for n in stored if n.endswith(".eh_proj.weight")}
    unknown = sorted(n for n in set(stored) - set(views) if not (_layer(n) in modules or _ignorable(n, config)))
    for problem, names in (("lack", missing), ("hold the unknown", unknown)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(
                f"the weights in {str(path)!r} do not fit its config.json: they {problem} {names[0]!r}{more}"
            )


def _layer(name: str) -> str | None:
    return name.split(".")[2] if name.startswith("model.layers.") else None


def _ignorable(name: str, config: ModelConfig) -> bool:
    """Tensors that other programs store and the network does not need."""
    layer = _layer(name)
    dense = layer is not None and layer.isdigit() and not config.sparse_layer(int(layer))
    tied = name == "lm_head.weight" and config.tie_word_embeddings
    return ("post_mlp_layernorm" in name and dense) or tied or name.endswith("rotary_emb.inv_freq")


def _read_into(file: Path, views: dict[str, Tensor]) -> None:
    try:
        with safe_open(file, framework="pt") as tensors:
            for name, view in views.items():
                shape = tuple(tensors.get_slice(name).get_shape())
                if shape != tuple(view.shape):
                    raise CheckpointError(
                        f"the weights do not fit config.json: {name} is {list(shape)} in {file.name}, "
                        f"but the config asks for {list(view.shape)}"
                    )
                tensor = tensors.get_tensor(name)
                if not tensor.is_floating_point():
                    kind = str(tensor.dtype).removeprefix("torch.")
                    raise CheckpointError(f"{name} in {file.name} is {kind}; allowed: floating-point weights")
                view.copy_(tensor)
    except SafetensorError as error:
        raise CheckpointError(f"{str(file)!r} is corrupt: {error}", repair=_AGAIN) from None


def _save_shards(shards: list[dict[str, Tensor]], folder: Path) -> None:
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
        total += sum(tensor.nbytes for tensor in shard.values())
    _write_json(folder / WEIGHTS_INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _write_json(path: Path, values: dict[str, object]) -> None:
    write_text_atomic(path, json.dumps(values, ensure_ascii=False, indent=2) + "\n")
