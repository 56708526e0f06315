"""Grouped-query attention in place of latent attention, as near as it comes.

Latent attention turns only a part of a head's query and key, normalises what they are made from, and shares the turned
part of the key among the heads; grouped-query attention does none of this. So the projections are the least squares of
the teacher's queries, keys and values on calibration text. The turned dimensions go to those of the student's
frequencies that are the teacher's own; the others to the slowest that are left, which turn them wrongly, but least: the
larger ``head_dim``, the slower. Qwen3's norms of query and key cannot be undone and get the mean size as their weight.

Shapes: T tokens, H hidden size, N heads, G key and value heads, D the student's head dimension, R the teacher's
rotary one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from axk1.distill.initialise.normal_equations import NormalEquations
from axk1.distill.initialise.statistics import Means, Watch, observe
from axk1.distill.initialise.text import Sample
from axk1.model.attention import GroupedQueryAttention, LatentAttention
from axk1.model.config import ModelConfig
from axk1.model.norm import RMSNorm
from axk1.model.rope import rotate_pairs
from axk1.model.transformer import Transformer


@torch.no_grad()
def fit_attention(teacher: Transformer, student: Transformer, samples: Sequence[Sample], batch_tokens: int) -> None:
    """Fills the student's grouped-query attention from the teacher's latent attention."""
    layers = [_Layer(block.self_attn, student.config) for block in teacher.layers]
    watched: dict[nn.Module, Watch] = {layer.source: layer.watch for layer in layers}
    observe(teacher, watched, samples, batch_tokens)
    for layer, block in zip(layers, student.layers, strict=True):
        layer.fill(block.self_attn)


@dataclass
class _Layer:
    """What is collected of one layer."""

    source: LatentAttention
    config: ModelConfig
    means: Means = field(default_factory=Means)
    query: NormalEquations = field(default_factory=NormalEquations)
    key: NormalEquations = field(default_factory=NormalEquations)
    value: NormalEquations = field(default_factory=NormalEquations)

    def watch(self, _: nn.Module, x_TH: Tensor, out_TH: Tensor) -> None:
        query_TND, key_TGD, value_TGD = heads_of(self.source, x_TH, self.config)
        for equations, wanted in ((self.query, query_TND), (self.key, key_TGD), (self.value, value_TGD)):
            equations.add(x_TH, wanted.flatten(1))
        self.means.add("query", query_TND.flatten(0, 1).square())
        self.means.add("key", key_TGD.flatten(0, 1).square())

    def fill(self, target: GroupedQueryAttention) -> None:
        dtype, size = target.q_proj.weight.dtype, target.head_dim
        # The teacher's factor on the scores over the student's, half of it for each side.
        factor = (self.source.scale * size**0.5) ** 0.5
        sides = ((target.q_proj, target.q_norm, self.query, "query"), (target.k_proj, target.k_norm, self.key, "key"))
        for projection, norm, equations, name in sides:
            weight = equations.solve()
            if isinstance(norm, RMSNorm):
                norm.weight.fill_(factor * float(self.means[name].mean().sqrt()))
            else:
                weight = weight * factor
            projection.weight.copy_(weight.to(dtype))
        target.v_proj.weight.copy_(self.value.solve().to(dtype))
        out_HND = target.o_proj.weight.unflatten(1, (-1, size))
        out_HND.zero_()
        out_HND[..., : self.source.value] = self.source.o_proj.weight.unflatten(1, (self.source.heads, -1))


def heads_of(source: LatentAttention, x_TH: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """The teacher's query [T, N, D], key and value [T, G, D] before the turn, as a student would have them."""
    compressed = source.q_a_layernorm(source.q_a_proj(x_TH)) if hasattr(source, "q_a_proj") else None
    query_TNQ = (source.q_proj(x_TH) if compressed is None else source.q_b_proj(compressed)).unflatten(
        1, (source.heads, -1)
    )
    latent_TR, turned_TR = source.kv_a_proj_with_mqa(x_TH).split((source.rank, source.rope), dim=-1)
    both = source.kv_b_proj(source.kv_a_layernorm(latent_TR)).unflatten(1, (source.heads, -1))
    nope, value = both.split((source.nope, source.value), dim=-1)
    key_TNQ = torch.cat((nope, turned_TR.unsqueeze(1).expand(-1, source.heads, -1)), dim=-1)
    places, size, groups = _places(source, config), config.rotary_dim, config.kv_heads

    def spread(given: Tensor, where: Tensor) -> Tensor:
        out = given.new_zeros(*given.shape[:2], size)
        out[..., where] = given
        return out

    def grouped(given: Tensor) -> Tensor:
        """The mean of the heads that one key or value is to serve."""
        return given.unflatten(1, (groups, -1)).mean(2)

    first = torch.arange(source.value, device=x_TH.device)
    return spread(query_TNQ, places), grouped(spread(key_TNQ, places)), grouped(spread(value, first))


def _places(source: LatentAttention, config: ModelConfig) -> Tensor:
    """Where in a student's head the teacher's dimensions go, those without position first: [nope + rope].

    The student turns dimensions j and j + D/2 by theta^(-2j / D); the teacher's pair i turns by theta^(-2i / R), which
    is the student's at j = i D / R.
    """
    half, turned = config.rotary_dim // 2, source.rope // 2
    own = [pair * half // turned for pair in range(turned)]
    slow = [j for j in range(half - 1, -1, -1) if j not in own]
    still = [j + side for j in slow for side in (0, half)][: source.nope]
    if source.rotate is rotate_pairs:  # neighbouring dimensions rather than halves
        moved = [j + side for j in own for side in (0, half)]
    else:
        moved = own + [j + half for j in own]
    return torch.tensor(still + moved, device=source.o_proj.weight.device)
