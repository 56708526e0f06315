"""``Decoder``: a short pass of a quantised network over the paged cache, in one call of the kernel.

Torch's call for each of a token's many small operations costs more than the operation; here the threads walk through
all layers together, and what they read is the weights.
"""

import ctypes

import torch
from torch import Tensor, nn

from axk1.engine.paged_cache import PagedCache
from axk1.engine.quantised.compiler import kernel
from axk1.engine.quantised.modules import QuantizedLinear
from axk1.engine.quantised.structures import Layer, Long, Matrix, Network, Pass, at
from axk1.engine.scheduler import Scheduled
from axk1.model.attention import LATENT_NORM_EPS, GroupedQueryAttention, LatentAttention
from axk1.model.config import GROUP_RULES, ModelConfig
from axk1.model.moe import SparseMLP
from axk1.model.transformer import Block, Transformer

MOST_TOKENS = 64
"""Most tokens of one sequence that go this way; beyond, torch's attention over long prompts is faster."""


class Decoder:
    """Computes what ``model.hidden`` computes, for sequences of up to ``MOST_TOKENS`` tokens."""

    def __init__(self, model: Transformer, cache: PagedCache) -> None:
        """Args: model: a quantised network, whose tensors stay where they are; cache: its paged cache."""
        self._kept = (model, cache)  # the kernel holds pointers into both
        self._hidden, self._kernel = model.config.hidden_size, kernel()
        layers = [_layer(block, entries) for block, entries in zip(model.layers, cache.layers, strict=False)]
        self._layers = (Layer * len(layers))(*layers)
        self._network = _network(model, cache, self._layers)

    @staticmethod
    def fits(model: Transformer) -> bool:
        """Whether a network is quantised and the kernel can be had."""
        return isinstance(model.lm_head, QuantizedLinear) and kernel() is not None

    def forward(self, scheduled: list[Scheduled]) -> Tensor:
        """States [T, hidden] after the final norm, of all new tokens in order; writes their cache entries."""
        tokens: list[int] = []
        positions: list[int] = []
        starts: list[int] = []
        tables: list[int] = []
        for part in scheduled:
            start = part.sequence.num_computed_tokens
            tokens += part.token_ids
            positions += range(start, start + part.num_tokens)
            starts += [len(tables)] * part.num_tokens
            tables += part.sequence.block_table
        states = torch.empty(len(tokens), self._hidden)
        numbers = [(Long * len(each))(*each) for each in (tokens, positions, starts, tables)]
        rows = Pass(len(tokens), *(ctypes.addressof(each) for each in numbers), states.data_ptr())
        self._kernel.axk1_forward(ctypes.byref(self._network), ctypes.byref(rows), torch.get_num_threads())
        return states


def _network(model: Transformer, cache: PagedCache, layers: ctypes.Array) -> Network:
    config = model.config
    latent = config.latent_attention
    head = 0 if latent else config.rotary_dim
    sizes = {
        "hidden": config.hidden_size, "layers": config.num_hidden_layers, "heads": config.num_attention_heads,
        "kv_heads": 0 if latent else config.kv_heads, "latent": latent, "head": head, "rope": config.rotary_dim,
        "block_size": cache.block_size, "cache_width": config.cache_width, "eps": config.rms_norm_eps,
        "latent_eps": LATENT_NORM_EPS, "scale": model.layers[0].self_attn.scale if latent else head**-0.5,
        "rope_scale": model.rope.scale, "inv_freq": at(model.rope.inv_freq), "norm": at(model.norm.weight),
        "embedding": model.embed_tokens.packed.structure(), "layer": layers,
    }  # fmt: skip
    if latent:
        sizes |= {"nope": config.qk_nope_head_dim, "value": config.v_head_dim, "rank": config.kv_lora_rank}
        sizes |= {"interleave": config.rope_interleave}
    return Network(**sizes, **_routing(config))


def _routing(config: ModelConfig) -> dict[str, int | float]:
    if not config.is_sparse:
        return {"groups": 1}
    return {
        "experts": config.n_routed_experts, "chosen": config.num_experts_per_tok, "groups": config.n_group,
        "chosen_groups": config.topk_group, "group_rule": GROUP_RULES.index(config.group_rule),
        "normalise": config.norm_topk_prob, "routed_scale": config.routed_scaling_factor,
    }  # fmt: skip


def _layer(block: Block, entries: Tensor) -> Layer:
    parts = {
        "input_norm": at(block.input_layernorm.weight),
        "post_norm": at(block.post_attention_layernorm.weight),
        "cache": at(entries),
        **_attention(block.self_attn),
    }
    sparse, dense = isinstance(block.mlp, SparseMLP), block.mlp
    if sparse:
        dense, experts = block.mlp.shared_experts, block.mlp.experts
        parts |= {f"experts_{name}": getattr(experts, name).structure() for name in ("gate", "up", "down")}
        parts |= {"router": at(block.mlp.gate.weight), "router_bias": at(block.mlp.gate.e_score_correction_bias)}
        parts |= {"post_mlp_norm": at(block.mlp.post_mlp_layernorm.weight)}
    parts |= {name: getattr(dense, f"{name}_proj").structure() for name in ("gate", "up", "down")}
    return Layer(sparse=sparse, **parts)


def _attention(attention: GroupedQueryAttention | LatentAttention) -> dict[str, Matrix | int | None]:
    parts: dict[str, Matrix | int | None] = {"o": attention.o_proj.structure()}
    if isinstance(attention, GroupedQueryAttention):
        parts |= {name: getattr(attention, f"{name}_proj").structure() for name in ("q", "k", "v")}
        return parts | {"q_norm": _norm(attention.q_norm), "k_norm": _norm(attention.k_norm)}
    parts |= {"k": attention.kv_a_proj_with_mqa.structure(), "k_norm": at(attention.kv_a_layernorm.weight)}
    parts |= {"k_b": attention.k_b.structure(), "v": attention.v_b.structure()}
    if not hasattr(attention, "q_a_proj"):
        return parts | {"q": attention.q_proj.structure()}
    parts |= {"q_a": attention.q_a_proj.structure(), "q_norm": at(attention.q_a_layernorm.weight)}
    return parts | {"q": attention.q_b_proj.structure()}


def _norm(norm: nn.Module) -> int | None:
    return None if isinstance(norm, nn.Identity) else at(norm.weight)
