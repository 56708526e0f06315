"""Hugging Face model folders: ``config.json`` and safetensors in and out, tensor for tensor.

``named_views`` is the one place that knows how the network's parameters are called in a file: A.X K1's experts are
stacked in memory and stored one by one, as vLLM and the released checkpoint have them.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from axk1.core.artifact import write_text_atomic
from axk1.core.errors import CheckpointError
from axk1.model.block_scales import KEY, METHOD, SCALE, quantise_blocks
from axk1.model.config import ModelConfig
from axk1.model.moe import Experts, Router
from axk1.model.tensor_files import WEIGHTS, WEIGHTS_INDEX, TensorFiles
from axk1.model.transformer import Transformer

SHARD_BYTES = 5_000_000_000
_ROUNDED = tuple(
    f"{name}.weight"
    for name in (
        *("q_proj", "k_proj", "v_proj", "o_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
)
"""What DeepSeek-V3's checkpoints hold in fp8; embedding, output matrix, router and norms stay as they are."""


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
    files = TensorFiles(path)
    if dtype is None:
        dtype = _stored_dtype(files)
    config = as_loaded(config, files)
    model = empty_model(config, dtype=dtype, device=device)
    views = dict(named_views(model))
    check_weights(files, {name: tuple(view.shape) for name, view in views.items()}, config)
    with torch.no_grad():
        for name in sorted(views.keys() & files.weights, key=lambda name: files[name].place):
            _read_into(files, name, views[name])
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


def save_model(
    model: Transformer,
    folder: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    fp8_block: tuple[int, int] | None = None,
) -> None:
    """Writes ``config.json``, ``generation_config.json`` and the weights into an existing folder.

    Args:
        model: the network.
        folder: where to.
        shard_bytes: most bytes of a file, if it holds more than one tensor.
        fp8_block: rows and columns of the blocks in which attention's and the feed-forward layers' matrices are rounded
            to fp8 (see ``block_scales``); None keeps them as they are.
    """
    folder = Path(folder)
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, view in [*named_views(model), *_unused_norms(model)]:
        tensors = _as_stored(name, view, model.config.tie_word_embeddings, fp8_block)
        nbytes = sum(tensor.nbytes for tensor in tensors.values())
        if size + nbytes > shard_bytes and shards[-1]:
            shards, size = [*shards, {}], 0
        shards[-1] |= tensors
        size += nbytes
    if len(shards) == 1:
        save_file(shards[0], folder / WEIGHTS, metadata={"format": "pt"})
    else:
        _save_shards(shards, folder)
    dtype = str(model.embed_tokens.weight.dtype).removeprefix("torch.")
    fp8 = {"quant_method": METHOD, "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": fp8_block}
    form = {KEY: fp8} if fp8_block else {}
    _write_json(folder / "config.json", {**model.config.to_hf(), "dtype": dtype, **form})
    eos = model.config.eos_token_id
    stop = list(eos) if isinstance(eos, tuple) else eos
    _write_json(folder / "generation_config.json", {"bos_token_id": model.config.bos_token_id, "eos_token_id": stop})


def _as_stored(name: str, view: Tensor, tied: bool, fp8_block: tuple[int, int] | None) -> dict[str, Tensor]:
    tensor = view.detach().cpu().contiguous()
    if fp8_block and name.endswith(_ROUNDED):
        weight, scales = quantise_blocks(tensor, fp8_block)
        return {name: weight, name + SCALE: scales}
    # safetensors refuses tensors that share memory, which a tied output matrix does.
    return {name: tensor.clone() if name == "lm_head.weight" and tied else tensor}


def named_views(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Pairs of a tensor's name in a file and the part of the model that holds it, in a fixed order.

    A tied output matrix is stored once for the dense families; A.X K1's is always stored, since vLLM asks for it.
    """
    config = model.config
    yield "model.embed_tokens.weight", model.embed_tokens.weight
    for layer, block in enumerate(model.layers):
        yield from block_views(f"model.layers.{layer}.", block)
    if model.mtp is not None:
        prefix = f"model.layers.{config.num_hidden_layers}."
        for name in ("enorm", "hnorm", "eh_proj"):
            yield f"{prefix}{name}.weight", getattr(model.mtp, name).weight
        yield f"{prefix}shared_head.norm.weight", model.mtp.norm.weight
        yield from block_views(prefix, model.mtp.block)
    yield "model.norm.weight", model.norm.weight
    if not config.tie_word_embeddings or config.latent_attention:
        yield "lm_head.weight", model.lm_head.weight


def block_views(prefix: str, block: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """As ``named_views``, of one block whose names begin with a prefix, such as ``model.layers.3.``."""
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


def _stored_dtype(files: TensorFiles) -> torch.dtype:
    embedding = files.get("model.embed_tokens.weight")
    if embedding is None:
        return torch.float32
    return torch.bfloat16 if embedding.dtype == torch.float8_e4m3fn else embedding.dtype


def as_loaded(config: ModelConfig, files: TensorFiles) -> ModelConfig:
    """The config of the network in memory: its weights are plain, and it has only the modules that are in the files."""
    extra = {key: value for key, value in config.extra.items() if key != KEY}
    beyond = f"model.layers.{config.num_hidden_layers}."
    modules = config.num_nextn_predict_layers
    if modules and not any(name.startswith(beyond) for name in files):
        modules = 0  # trained with the module, released without
    return dataclasses.replace(config, extra=extra, num_nextn_predict_layers=modules)


def check_weights(files: TensorFiles, shapes: Mapping[str, tuple[int, ...]], config: ModelConfig) -> None:
    """Holds the stored weights against those of the network.

    Args:
        files: the weights.
        shapes: the network's weights under their names in a file.
        config: says which weights may be left out, and which others may be there.

    Raises:
        CheckpointError: a weight is missing, unknown, of another shape, or no floating-point number.
    """
    stored = files.weights
    optional = {n for n in shapes if n.endswith("e_score_correction_bias")}
    optional |= {"lm_head.weight"} if config.tie_word_embeddings else set()
    missing = sorted(set(shapes) - set(stored) - optional)
    modules = {_layer(n) for n in stored if n.endswith(".eh_proj.weight")}
    unknown = sorted(n for n in set(stored) - set(shapes) if not (_layer(n) in modules or _ignorable(n, config)))
    for problem, names in (("lack", missing), ("hold the unknown", unknown)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(
                f"the weights in {str(files.folder)!r} do not fit its config.json: they {problem} {names[0]!r}{more}"
            )
    for name in shapes.keys() & stored.keys():
        file, dtype, shape = files[name].file.name, files[name].dtype, stored[name].shape
        if shape != shapes[name]:
            raise CheckpointError(
                f"the weights do not fit config.json: {name} is {list(shape)} in {file}, "
                f"but the config asks for {list(shapes[name])}"
            )
        if not dtype.is_floating_point:
            kind = str(dtype).removeprefix("torch.")
            raise CheckpointError(f"{name} in {file} is {kind}; allowed: floating-point weights")


def _layer(name: str) -> str | None:
    return name.split(".")[2] if name.startswith("model.layers.") else None


def _ignorable(name: str, config: ModelConfig) -> bool:
    """Tensors that other programs store and the network does not need."""
    layer = _layer(name)
    dense = layer is not None and layer.isdigit() and not config.sparse_layer(int(layer))
    tied = name == "lm_head.weight" and config.tie_word_embeddings
    return ("post_mlp_layernorm" in name and dense) or tied or name.endswith("rotary_emb.inv_freq")


def _read_into(files: TensorFiles, name: str, view: Tensor) -> None:
    weight = files.weights[name]
    same = len(weight.parts) == 1 and weight.parts[0].dtype == view.dtype
    if same and view.device.type == "cpu" and view.is_contiguous():
        files.read(name, view)
    else:
        view.copy_(weight.read_as(view.dtype))


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
