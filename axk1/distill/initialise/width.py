"""``width``: channels, neurons, heads and ranks of least activation are left out (Minitron, arXiv 2407.14679).

The channels of the residual stream are the same in all layers, so one choice serves them, embedding and output matrix
included; neurons, heads and ranks are chosen layer by layer. Neurons and heads count by what they add to the residual
stream, channels and ranks by their magnitude behind the norms.
"""

import torch
from torch import Tensor, nn

from axk1.distill.initialise.cutting import Index, best, blocks_of, cut_linear, cut_norm, taken
from axk1.distill.initialise.statistics import Means
from axk1.model.attention import GroupedQueryAttention, LatentAttention
from axk1.model.config import ModelConfig
from axk1.model.mlp import MLP
from axk1.model.moe import SparseMLP
from axk1.model.norm import RMSNorm
from axk1.model.transformer import Transformer


@torch.no_grad()
def narrower(teacher: Transformer, config: ModelConfig, means: Means) -> Transformer:
    """A student of the config's widths with the teacher's most active parts."""
    student = Transformer(config)
    cut = _Cut(teacher.config, config, means, _channels(teacher, config, means))
    student.embed_tokens.weight.copy_(taken(teacher.embed_tokens.weight, None, cut.channels))
    student.lm_head.weight.copy_(taken(teacher.lm_head.weight, None, cut.channels))
    cut.norm(student.norm, teacher.norm, "norm")
    for layer, (block, source) in enumerate(zip(student.layers, teacher.layers, strict=True)):
        name = f"layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            cut.norm(getattr(block, norm), getattr(source, norm), f"{name}.{norm}")
        if isinstance(source.self_attn, LatentAttention):
            cut.latent_attention(block.self_attn, source.self_attn, f"{name}.self_attn")
        else:
            cut.grouped_attention(block.self_attn, source.self_attn, f"{name}.self_attn")
        if isinstance(source.mlp, SparseMLP):
            cut.sparse(block.mlp, source.mlp, f"{name}.mlp")
        else:
            cut.mlp(block.mlp, source.mlp, f"{name}.mlp", config.intermediate_size)
    return student


def _channels(teacher: Transformer, config: ModelConfig, means: Means) -> Index:
    """The channels of the residual stream that stay; None where all do."""
    if config.hidden_size == teacher.config.hidden_size:
        return None
    names = [f"layers.{n}.{norm}" for n in range(len(teacher.layers)) for norm in _BLOCK_NORMS]
    magnitude_H = torch.stack([means[f"{name}.magnitude"] for name in (*names, "norm")]).sum(0)
    return best(magnitude_H, config.hidden_size)


_BLOCK_NORMS = ("input_layernorm", "post_attention_layernorm")


class _Cut:
    """Cuts modules, given the channels of the residual stream."""

    def __init__(self, teacher: ModelConfig, config: ModelConfig, means: Means, channels: Index) -> None:
        self.teacher, self.config, self.means, self.channels = teacher, config, means, channels

    def norm(self, target: RMSNorm, source: RMSNorm, name: str) -> None:
        """A norm over the residual stream."""
        cut_norm(target, source, self.channels, self.means[f"{name}.square"])

    def mlp(self, target: MLP, source: MLP, name: str, inner: int) -> None:
        """A SwiGLU; its neurons are ranked by what they add."""
        added_I = self.means[f"{name}.neurons"] * source.down_proj.weight.double().square().sum(0)
        kept = best(added_I, inner)
        cut_linear(target.gate_proj, source.gate_proj, kept, self.channels)
        cut_linear(target.up_proj, source.up_proj, kept, self.channels)
        cut_linear(target.down_proj, source.down_proj, self.channels, kept)

    def sparse(self, target: SparseMLP, source: SparseMLP, name: str) -> None:
        """A mixture: every expert keeps its own best neurons."""
        inner = self.config.moe_intermediate_size
        target.gate.weight.copy_(taken(source.gate.weight, None, self.channels))
        target.gate.e_score_correction_bias.copy_(source.gate.e_score_correction_bias)
        shared = inner * self.config.n_shared_experts
        self.mlp(target.shared_experts, source.shared_experts, f"{name}.shared_experts", shared)
        experts, width = source.experts, source.experts.down_proj.shape[2]
        added_EI = self.means[f"{name}.neurons"] * experts.down_proj.double().square().sum(1)
        for expert, added_I in enumerate(added_EI):
            kept = best(added_I, inner)
            pairs = torch.cat((kept, kept + width))
            target.experts.gate_up_proj[expert] = taken(experts.gate_up_proj[expert], pairs, self.channels)
            target.experts.down_proj[expert] = taken(experts.down_proj[expert], self.channels, kept)
        norm = "post_mlp_layernorm"
        self.norm(getattr(target, norm), getattr(source, norm), f"{name}.{norm}")

    def latent_attention(self, target: LatentAttention, source: LatentAttention, name: str) -> None:
        """Latent attention: heads by what they add, ranks by their magnitude."""
        config, device = self.config, source.o_proj.weight.device
        heads = best(self.means[f"{name}.heads"], config.num_attention_heads)
        query_rows = blocks_of(heads, source.nope + source.rope)
        if config.q_lora_rank is None:
            cut_linear(target.q_proj, source.q_proj, query_rows, self.channels)
        else:
            ranks = self._ranks(source.q_a_layernorm, f"{name}.q_a_layernorm", config.q_lora_rank)
            cut_linear(target.q_a_proj, source.q_a_proj, ranks, self.channels)
            square = self.means[f"{name}.q_a_layernorm.square"]
            cut_norm(target.q_a_layernorm, source.q_a_layernorm, ranks, square)
            cut_linear(target.q_b_proj, source.q_b_proj, query_rows, ranks)
        ranks = self._ranks(source.kv_a_layernorm, f"{name}.kv_a_layernorm", config.kv_lora_rank)
        all_ranks = torch.arange(source.rank, device=device) if ranks is None else ranks
        rope_rows = torch.arange(source.rank, source.rank + source.rope, device=device)
        cut_linear(
            target.kv_a_proj_with_mqa, source.kv_a_proj_with_mqa, torch.cat((all_ranks, rope_rows)), self.channels
        )
        cut_norm(target.kv_a_layernorm, source.kv_a_layernorm, ranks, self.means[f"{name}.kv_a_layernorm.square"])
        cut_linear(target.kv_b_proj, source.kv_b_proj, blocks_of(heads, source.nope + source.value), ranks)
        cut_linear(target.o_proj, source.o_proj, self.channels, blocks_of(heads, source.value))

    def grouped_attention(self, target: GroupedQueryAttention, source: GroupedQueryAttention, name: str) -> None:
        """Grouped-query attention: the best key and value heads, and of each the best query heads."""
        added_GN = self.means[f"{name}.heads"].unflatten(0, (self.teacher.kv_heads, -1))
        groups = best(added_GN.sum(1), self.config.kv_heads)
        each = self.config.num_attention_heads // self.config.kv_heads
        heads = torch.cat([best(added_GN[group], each) + group * added_GN.shape[1] for group in groups])
        query_rows, key_rows = blocks_of(heads, source.head_dim), blocks_of(groups, source.head_dim)
        cut_linear(target.q_proj, source.q_proj, query_rows, self.channels)
        cut_linear(target.k_proj, source.k_proj, key_rows, self.channels)
        cut_linear(target.v_proj, source.v_proj, key_rows, self.channels)
        cut_linear(target.o_proj, source.o_proj, self.channels, query_rows)
        for norm in ("q_norm", "k_norm"):
            if not isinstance(getattr(source, norm), nn.Identity):
                cut_norm(getattr(target, norm), getattr(source, norm))

    def _ranks(self, norm: RMSNorm, name: str, count: int) -> Tensor | None:
        """The ranks of a latent that stay; None where all do."""
        return None if len(norm.weight) == count else best(self.means[f"{name}.magnitude"], count)
