"""``axk1 inspect``: how large a network is, what it costs to hold and to run, from its config alone.

All figures are closed formulas over ``ModelConfig``; no weight is allocated, so the 519 B recipe takes no longer than
a toy.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from axk1.core.config import load_toml, require
from axk1.core.errors import ConfigError
from axk1.core.progress import human
from axk1.model.config import ModelConfig

BYTES_PER_PARAMETER = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5}
"""Size of a weight; the scales of a quantised format (a few per cent) are left out."""


@dataclass(frozen=True)
class InspectConfig:
    """What to describe."""

    path: Path
    """A config.json, a checkpoint folder, or a recipe (.toml) whose ``model`` names one of these."""
    context: int = 4096
    """Context length in tokens at which attention's cost and the cache are counted."""
    json: bool = False
    """Print JSON instead of a table."""

    def __post_init__(self) -> None:
        require(self.context > 0, "context", self.context, "a positive number of tokens")


@dataclass(frozen=True)
class Part:
    """Parameters of one kind, over all layers."""

    name: str
    """embedding, attention, dense mlp, routed experts, shared experts, router, norms, head or mtp."""
    total: int
    """Parameters held."""
    active: int
    """Parameters that take part in computing one token."""


@dataclass(frozen=True)
class ModelSummary:
    """Sizes and costs of a network. Parameters are counts, memory is bytes, FLOPs are per token."""

    architecture: str
    layers: int
    parts: tuple[Part, ...]
    total: int
    """All parameters; a tied embedding counts once."""
    active: int
    """Parameters that one token uses, the input embedding included."""
    active_without_embedding: int
    """The same without the input embedding, which is a look-up (a tied one stays: it is the output matrix, too)."""
    attention_per_layer: int
    expert: int
    """Parameters of one routed expert; 0 in a dense network."""
    memory: dict[str, int]
    """Bytes of the weights by number format."""
    cache_per_token: int
    """Bytes of keys and values (or latents) per token in 16 bits, over all layers."""
    context: int
    cache: int
    """Bytes of the cache for one sequence of ``context`` tokens."""
    flops_forward: int
    """Floating-point operations of a forward pass per token, averaged over a causal sequence of ``context`` tokens."""
    flops_training: int
    """Forward and backward: three times as much."""
    flops_attention_share: float
    """Share of those that score and mix over the context, which grows with it; the rest are products with weights."""


def inspect_model(source: str | Path | ModelConfig, *, context: int = 4096) -> ModelSummary:
    """Describes a network without allocating its weights.

    Args:
        source: a config, or a path as in ``InspectConfig.path``.
        context: tokens of context for the cache and for attention's cost.
    """
    config = source if isinstance(source, ModelConfig) else find_config(Path(source))
    parts = _parts(config)
    total, active = sum(p.total for p in parts), sum(p.active for p in parts)
    embedding = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    products = active - embedding - _part(parts, "norms").active - _biases(config)
    mixing = config.num_hidden_layers * _mixing_flops(config, context)
    forward = 2 * products + mixing
    per_token = 2 * config.num_hidden_layers * config.cache_width
    return ModelSummary(
        architecture=config.architecture,
        layers=config.num_hidden_layers,
        parts=parts,
        total=total,
        active=active,
        active_without_embedding=active - embedding,
        attention_per_layer=_attention(config),
        expert=_expert(config) if config.is_sparse else 0,
        memory={name: round(total * size) for name, size in BYTES_PER_PARAMETER.items()},
        cache_per_token=per_token,
        context=context,
        cache=per_token * context,
        flops_forward=forward,
        flops_training=3 * forward,
        flops_attention_share=mixing / forward,
    )


def inspect_command(config: InspectConfig) -> ModelSummary:
    """Prints the summary of ``config.path`` to standard output, as a table or as JSON, and returns it."""
    summary = inspect_model(config.path, context=config.context)
    if config.json:
        print(json.dumps(summary_values(summary), indent=2))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for table in _tables(summary, str(config.path)):
            console.print(table, "", sep="\n")
    return summary


def summary_values(summary: ModelSummary) -> dict[str, Any]:
    """The summary as plain values for JSON."""
    return dataclasses.asdict(summary)


def find_config(path: Path) -> ModelConfig:
    """Reads the config that a config.json, a folder or a recipe stands for."""
    if path.suffix != ".toml":
        return ModelConfig.load(path)
    model = load_toml(path).get("model")
    if isinstance(model, dict):
        return ModelConfig.from_hf(model)
    if not isinstance(model, str):
        raise ConfigError(f"recipe {str(path)!r} names no model; inspect takes a recipe with the key 'model'")
    return ModelConfig.load(Path(model))


def _parts(config: ModelConfig) -> tuple[Part, ...]:
    hidden, layers = config.hidden_size, config.num_hidden_layers
    sparse = sum(config.sparse_layer(i) for i in range(layers))
    matrix = config.vocab_size * hidden
    parts = [_all_active("embedding", matrix), _all_active("attention", layers * _attention(config))]
    if sparse < layers:
        parts.append(_all_active("dense mlp", (layers - sparse) * _dense_mlp(config)))
    if sparse:
        chosen = min(config.num_experts_per_tok, config.n_routed_experts) * _expert(config)
        parts.append(Part("routed experts", sparse * config.n_routed_experts * _expert(config), sparse * chosen))
        parts.append(_all_active("shared experts", sparse * config.n_shared_experts * _expert(config)))
        parts.append(_all_active("router", sparse * config.n_routed_experts * hidden))
    parts.append(_all_active("norms", layers * _layer_norms(config) + sparse * hidden + hidden))
    parts.append(_all_active("head", 0 if config.tie_word_embeddings else matrix))
    if config.num_nextn_predict_layers:
        parts.append(Part("mtp", _mtp(config), 0))
    return tuple(parts)


def _all_active(name: str, count: int) -> Part:
    return Part(name, count, count)


def _part(parts: tuple[Part, ...], name: str) -> Part:
    return next(part for part in parts if part.name == name)


def _attention(config: ModelConfig) -> int:
    """Projections of one layer's attention and their biases; its inner norms count as norms."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    if config.latent_attention:
        query = heads * (config.qk_nope_head_dim + config.qk_rope_head_dim)
        rank, latent = config.q_lora_rank, config.kv_lora_rank + config.qk_rope_head_dim
        queries = hidden * query if rank is None else hidden * rank + rank * query
        keys = hidden * latent + config.kv_lora_rank * heads * (config.qk_nope_head_dim + config.v_head_dim)
        return queries + keys + heads * config.v_head_dim * hidden + _attention_biases(config)
    query, keys = heads * config.rotary_dim, config.kv_heads * config.rotary_dim
    return hidden * (query + 2 * keys) + query * hidden + _attention_biases(config)


def _attention_biases(config: ModelConfig) -> int:
    hidden = config.hidden_size
    if config.latent_attention:
        latent = (config.q_lora_rank or 0) + config.kv_lora_rank + config.qk_rope_head_dim
        return latent + hidden if config.attention_bias else 0
    queries_keys_values = (config.num_attention_heads + 2 * config.kv_heads) * config.rotary_dim
    if config.architecture == "Qwen2ForCausalLM":
        return queries_keys_values
    return queries_keys_values + hidden if config.attention_bias else 0


def _dense_mlp(config: ModelConfig) -> int:
    return 3 * config.hidden_size * config.intermediate_size + _mlp_biases(config)


def _mlp_biases(config: ModelConfig) -> int:
    return 2 * config.intermediate_size + config.hidden_size if config.mlp_bias else 0


def _biases(config: ModelConfig) -> int:
    dense = sum(not config.sparse_layer(i) for i in range(config.num_hidden_layers))
    return config.num_hidden_layers * _attention_biases(config) + dense * _mlp_biases(config)


def _expert(config: ModelConfig) -> int:
    return 3 * config.hidden_size * config.moe_intermediate_size


def _layer_norms(config: ModelConfig) -> int:
    """Norms that every layer has; a sparse one has ``post_mlp_layernorm`` besides."""
    inner = 0
    if config.latent_attention:
        inner = config.kv_lora_rank + (config.q_lora_rank or 0)
    elif config.architecture == "Qwen3ForCausalLM":
        inner = 2 * config.rotary_dim
    return 2 * config.hidden_size + inner


def _mtp(config: ModelConfig) -> int:
    """One multi-token-prediction module: a layer, a projection of two states to one, and three norms."""
    hidden = config.hidden_size
    mlp = _dense_mlp(config)
    if config.sparse_layer(config.num_hidden_layers):
        experts = config.n_routed_experts + config.n_shared_experts
        mlp = experts * _expert(config) + config.n_routed_experts * hidden + hidden
    return _attention(config) + _layer_norms(config) + mlp + 2 * hidden * hidden + 3 * hidden


def _mixing_flops(config: ModelConfig, context: int) -> int:
    """One layer's scores and weighted sums for a token that sees (context + 1) / 2 others on average."""
    if config.latent_attention:
        dims = config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim
    else:
        dims = 2 * config.rotary_dim
    return config.num_attention_heads * dims * (context + 1)


def _tables(summary: ModelSummary, title: str) -> list[Table]:
    parts = Table(title=f"{title}: {summary.architecture}, {summary.layers} layers", title_justify="left", box=None)
    for name in ("parameters", "total", "active"):
        parts.add_column(name, justify="left" if name == "parameters" else "right")
    for part in summary.parts:
        parts.add_row(part.name, human(part.total), human(part.active))
    parts.add_row("[bold]all", f"[bold]{human(summary.total)}", f"[bold]{human(summary.active)}")
    parts.add_row("without the input embedding", "", human(summary.active_without_embedding))
    parts.add_row("attention, one layer", human(summary.attention_per_layer), "")
    if summary.expert:
        parts.add_row("one routed expert", human(summary.expert), "")
    costs = Table(title="memory and work", title_justify="left", box=None, show_header=False)
    costs.add_column()
    costs.add_column(justify="right")
    for name, size in summary.memory.items():
        costs.add_row(f"weights in {name}", _gigabytes(size))
    costs.add_row("cache per token, 16 bits", f"{summary.cache_per_token:,} bytes")
    costs.add_row(f"cache for {summary.context:,} tokens", _gigabytes(summary.cache))
    costs.add_row(f"forward, per token at {summary.context:,}", _flops(summary.flops_forward))
    costs.add_row(f"training, per token at {summary.context:,}", _flops(summary.flops_training))
    costs.add_row("of which attention over the context", f"{summary.flops_attention_share:.1%}")
    return [parts, costs]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.2f} MB"


def _flops(count: int) -> str:
    return f"{count / 1e9:,.2f} GFLOP" if count >= 1e8 else f"{count / 1e6:,.2f} MFLOP"
