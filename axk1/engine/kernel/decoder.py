"""``Decoder``: a short pass of a network over the paged cache, in one call of the kernel.

Torch's call for each of a token's many small operations costs more than the operation; here the threads walk through
all layers together, and what they read is the weights. Those are read where they lie, packed or as the network holds
them, so that weights changed in place count from the next pass on.

Shapes: N heads, D nope, R kv_lora_rank.
"""

import ctypes
from array import array
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from axk1.engine.kernel.compiler import kernel
from axk1.engine.kernel.structures import NUMBERS, Layer, Matrix, Network, Pass, Vector
from axk1.engine.paged_cache import PagedCache
from axk1.engine.scheduler import Scheduled
from axk1.model.attention import LATENT_NORM_EPS, GroupedQueryAttention, LatentAttention
from axk1.model.config import GROUP_RULES, ModelConfig
from axk1.model.moe import Experts, SparseMLP
from axk1.model.transformer import Block, Transformer

_FEW = 64
"""So many tokens of a sequence always go this way."""
_PAIRS = {False: 256 * 256, True: 128 * 128}
"""Most pairs of new and earlier tokens of a longer chunk, by whether attention is latent: beyond, torch's attention is
faster. Measured with SmolLM2-135M and a model of 666 M parameters with experts, on two cores."""


class Decoder:
    """Computes what ``model.hidden`` computes, for sequences with few new tokens, in float32."""

    def __init__(self, model: Transformer, cache: PagedCache) -> None:
        """Args: model: a network that ``fits``, whose tensors stay where they are; cache: its paged cache."""
        self._model, self._cache, self._kernel = model, cache, kernel()
        self._point()

    @staticmethod
    def fits(model: Transformer) -> bool:
        """Whether the kernel can be had and reads all of a network's tensors: on the CPU, contiguous, in float32 or
        bfloat16, or packed."""
        readable = all(_readable(tensor) for tensor in _tensors(model))
        return readable and model.rope.inv_freq.dtype == torch.float32 and kernel() is not None

    def takes(self, part: Scheduled) -> bool:
        """Whether this is the faster way for a sequence's part of a pass; its neighbours have no say in it."""
        pairs = part.num_tokens * (part.sequence.num_computed_tokens + part.num_tokens)
        return part.num_tokens <= _FEW or pairs <= _PAIRS[self._model.config.latent_attention]

    def forward(self, scheduled: list[Scheduled]) -> Tensor:
        """States [T, hidden] after the final norm, of all new tokens in order; writes their cache entries."""
        self._follow()
        tokens, positions, starts, tables = (array("q") for _ in range(4))
        for part in scheduled:
            start = part.sequence.num_computed_tokens
            tokens.extend(part.token_ids)
            positions.extend(range(start, start + part.num_tokens))
            starts.extend([len(tables)] * part.num_tokens)
            tables.extend(part.sequence.block_table)
        states = torch.empty(len(tokens), self._model.config.hidden_size)
        places = (numbers.buffer_info()[0] for numbers in (tokens, positions, starts, tables))
        rows = Pass(len(tokens), *places, states.data_ptr())
        self._kernel.axk1_forward(ctypes.byref(self._network), ctypes.byref(rows), torch.get_num_threads())
        return states

    def logits(self, states_TH: Tensor) -> Tensor:
        """States of the pass before times the output matrix, [T, vocab_size] in float32."""
        rows_TH = states_TH.float().contiguous()
        out_TV = torch.empty(len(rows_TH), self._model.config.vocab_size)
        places = (rows_TH.data_ptr(), len(rows_TH), out_TV.data_ptr())
        self._kernel.axk1_linear(ctypes.byref(self._output), *places, torch.get_num_threads())
        return out_TV

    def _point(self) -> None:
        """Points the kernel at the network's tensors, and keeps their memory."""
        model, cache = self._model, self._cache
        layers = [_layer(block, entries) for block, entries in zip(model.layers, cache.layers, strict=False)]
        self._layers = (Layer * len(layers))(*layers)
        self._network = _network(model, cache, self._layers)
        self._output = _matrix(model.lm_head)
        self._tensors = list(_tensors(model))
        self._kept = [tensor.detach() for tensor in self._tensors]
        self._places = list(map(Tensor.data_ptr, self._tensors))

    def _follow(self) -> None:
        """Points anew where tensors have got other memory, as by ``tensor.data = ...``."""
        if list(map(Tensor.data_ptr, self._tensors)) != self._places:
            self._point()


def _tensors(model: Transformer) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _readable(tensor: Tensor) -> bool:
    packed = tensor.dtype == torch.uint8
    return tensor.device.type == "cpu" and tensor.is_contiguous() and (packed or tensor.dtype in NUMBERS)


def _network(model: Transformer, cache: PagedCache, layers: ctypes.Array) -> Network:
    config = model.config
    latent = config.latent_attention
    head = 0 if latent else config.rotary_dim
    sizes = {
        "hidden": config.hidden_size, "layers": config.num_hidden_layers, "heads": config.num_attention_heads,
        "kv_heads": 0 if latent else config.kv_heads, "latent": latent, "head": head, "rope": config.rotary_dim,
        "block_size": cache.block_size, "cache_width": config.cache_width,
        "cache_narrow": NUMBERS.index(cache.layers[0].dtype), "eps": config.rms_norm_eps,
        "latent_eps": LATENT_NORM_EPS, "scale": model.layers[0].self_attn.scale if latent else head**-0.5,
        "rope_scale": model.rope.scale, "inv_freq": model.rope.inv_freq.data_ptr(), "norm": _norm(model.norm),
        "embedding": _matrix(model.embed_tokens), "layer": layers,
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
        "input_norm": _norm(block.input_layernorm),
        "post_norm": _norm(block.post_attention_layernorm),
        "cache": entries.data_ptr(),
        **_attention(block.self_attn),
    }
    sparse, dense = isinstance(block.mlp, SparseMLP), block.mlp
    if sparse:
        dense, router = block.mlp.shared_experts, block.mlp.gate
        parts |= _experts(block.mlp.experts)
        parts |= {"router": Vector.of(router.weight), "router_bias": Vector.of(router.e_score_correction_bias)}
        parts |= {"post_mlp_norm": _norm(block.mlp.post_mlp_layernorm)}
    parts |= {name: _matrix(getattr(dense, f"{name}_proj")) for name in ("gate", "up", "down")}
    return Layer(sparse=sparse, **parts)


def _experts(experts: nn.Module) -> dict[str, Matrix]:
    if isinstance(experts, Experts):
        gate, up = experts.gate_up_proj.chunk(2, dim=1)
        banks = {"gate": gate, "up": up, "down": experts.down_proj}
        return {f"experts_{name}": Matrix.view(bank) for name, bank in banks.items()}
    return {f"experts_{name}": getattr(experts, name).structure() for name in ("gate", "up", "down")}


def _attention(attention: GroupedQueryAttention | LatentAttention) -> dict[str, Matrix | Vector]:
    parts: dict[str, Matrix | Vector] = {"o": _matrix(attention.o_proj)}
    if isinstance(attention, GroupedQueryAttention):
        parts |= {name: _matrix(getattr(attention, f"{name}_proj")) for name in ("q", "k", "v")}
        return parts | {"q_norm": _norm(attention.q_norm), "k_norm": _norm(attention.k_norm)}
    parts |= {"k": _matrix(attention.kv_a_proj_with_mqa), "k_norm": _norm(attention.kv_a_layernorm)}
    parts |= _absorbed(attention)
    if not hasattr(attention, "q_a_proj"):
        return parts | {"q": _matrix(attention.q_proj)}
    parts |= {"q_a": _matrix(attention.q_a_proj), "q_norm": _norm(attention.q_a_layernorm)}
    return parts | {"q": _matrix(attention.q_b_proj)}


def _absorbed(attention: LatentAttention) -> dict[str, Matrix]:
    """kv_b_proj as two banks with a matrix per head: query to latent, latent to value."""
    if hasattr(attention, "k_b"):
        return {"k_b": attention.k_b.structure(), "v": attention.v_b.structure()}
    up_NDR = attention.kv_b_proj.weight.view(attention.heads, -1, attention.rank)
    key_NDR, value_NDR = up_NDR.split((attention.nope, attention.value), dim=1)
    return {"k_b": Matrix.view(key_NDR.transpose(1, 2)), "v": Matrix.view(value_NDR)}


def _matrix(module: nn.Module) -> Matrix:
    """A linear layer or an embedding, packed or plain."""
    if hasattr(module, "structure"):
        return module.structure()
    return Matrix.view(module.weight, getattr(module, "bias", None))


def _norm(norm: nn.Module) -> Vector:
    return Vector.of(None if isinstance(norm, nn.Identity) else norm.weight)
