"""Attention: multi-head latent (A.X K1, DeepSeek-V3) and grouped-query (Qwen, Llama).

Shapes: B batch, T query tokens, S key tokens, N heads, D head dimension, R kv_lora_rank, H hidden_size.
"""

import itertools
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axk1.model.config import ModelConfig
from axk1.model.norm import RMSNorm
from axk1.model.rope import attention_scale, rotate_halves, rotate_pairs

LATENT_NORM_EPS = 1e-6
"""Epsilon of the norms inside latent attention, which transformers does not read from the config."""


Mask = Tensor | list[int] | None
"""Who sees whom, beside the causal order: scores to add [B, 1, T, S]; the lengths of packed documents, one after
another through all rows; or None for rows of one document each."""


Attend = Callable[[Tensor, Tensor, Mask], Tensor]
"""Attention over cache entries: query [B, T, N, D], entries [B, S, W], mask -> [B, T, N, D of the value]."""


class KVCache(Protocol):
    """What attention needs of a cache: it keeps one entry per token and layer and attends over all that it holds."""

    def attend(self, layer: int, query: Tensor, entries: Tensor, attend: Attend) -> Tensor:
        """Stores the new tokens' entries [B, T, W] and returns the attention of their queries [B, T, N, D].

        The cache knows which tokens belong together; it calls ``attend`` once for each group of sequences, with all
        entries that the group's tokens may see and a mask; None stands for as many queries as entries, in order.
        """
        ...


class GroupedQueryAttention(nn.Module):
    """Attention of the Qwen and Llama families: x [B, T, H] -> [B, T, H]."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        hidden, self.head_dim, self.layer = config.hidden_size, config.rotary_dim, layer
        heads, kv_heads = config.num_attention_heads, config.kv_heads
        qwen2 = config.architecture == "Qwen2ForCausalLM"
        bias = config.attention_bias or qwen2
        self.q_proj = nn.Linear(hidden, heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(hidden, kv_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(hidden, kv_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * self.head_dim, hidden, bias=config.attention_bias and not qwen2)
        normed = config.architecture == "Qwen3ForCausalLM"
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if normed else nn.Identity()
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if normed else nn.Identity()

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Mask, cache: KVCache | None) -> Tensor:
        heads = (*x.shape[:2], -1, self.head_dim)
        query = rotate_halves(self.q_norm(self.q_proj(x).view(heads)), *rope)
        key = rotate_halves(self.k_norm(self.k_proj(x).view(heads)), *rope)
        value = self.v_proj(x).view(heads)
        if cache is None:
            out = attend(query, key, value, mask, self.head_dim**-0.5)
        else:
            entries_BTW = torch.cat((key, value), dim=2).flatten(2)
            out = cache.attend(self.layer, query, entries_BTW, self._over_entries)
        return self.o_proj(out.flatten(2))

    def _over_entries(self, query: Tensor, entries_BSW: Tensor, mask: Mask) -> Tensor:
        key, value = entries_BSW.unflatten(2, (-1, self.head_dim)).chunk(2, dim=2)
        return attend(query, key, value, mask, self.head_dim**-0.5)


class LatentAttention(nn.Module):
    """Multi-head latent attention: x [B, T, H] -> [B, T, H]; its cache holds R + qk_rope_head_dim values a token."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.heads = layer, config.num_attention_heads
        self.nope, self.rope, self.value = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
        self.rank, hidden, bias = config.kv_lora_rank, config.hidden_size, config.attention_bias
        self.rotate = rotate_pairs if config.rope_interleave else rotate_halves
        self.scale = attention_scale(config.rope_parameters, self.nope + self.rope)
        query_size = self.heads * (self.nope + self.rope)
        if config.q_lora_rank is None:
            self.q_proj = nn.Linear(hidden, query_size, bias=False)
        else:
            self.q_a_proj = nn.Linear(hidden, config.q_lora_rank, bias=bias)
            self.q_a_layernorm = RMSNorm(config.q_lora_rank, LATENT_NORM_EPS)
            self.q_b_proj = nn.Linear(config.q_lora_rank, query_size, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(hidden, self.rank + self.rope, bias=bias)
        self.kv_a_layernorm = RMSNorm(self.rank, LATENT_NORM_EPS)
        self.kv_b_proj = nn.Linear(self.rank, self.heads * (self.nope + self.value), bias=False)
        self.o_proj = nn.Linear(self.heads * self.value, hidden, bias=bias)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Mask, cache: KVCache | None) -> Tensor:
        compressed = self.q_a_layernorm(self.q_a_proj(x)) if hasattr(self, "q_a_proj") else None
        query = self.q_proj(x) if compressed is None else self.q_b_proj(compressed)
        query = self.rotate(query.unflatten(-1, (self.heads, -1)), *rope)
        latent_BTR, key_rope = self.kv_a_proj_with_mqa(x).split((self.rank, self.rope), dim=-1)
        latent_BTR = self.kv_a_layernorm(latent_BTR)
        key_rope = self.rotate(key_rope.unsqueeze(2), *rope).squeeze(2)
        if cache is None:
            out = self._expanded(query, latent_BTR, key_rope, mask)
        else:
            entries_BTW = torch.cat((latent_BTR, key_rope), dim=-1)
            out = cache.attend(self.layer, query, entries_BTW, self._over_entries)
        return self.o_proj(out.flatten(2))

    def _over_entries(self, query: Tensor, entries_BSW: Tensor, mask: Mask) -> Tensor:
        """The cheaper of the two forms: expansion costs R (nope + value) a key once, absorption more for every pair."""
        expanded = self.nope + self.value
        pays = query.shape[1] * (2 * self.rank - expanded) > self.rank * expanded
        if not pays:
            return self._absorbed(query, entries_BSW, mask)
        return self._expanded(query, *entries_BSW.split((self.rank, self.rope), dim=-1), mask)

    def _expanded(self, query: Tensor, latent: Tensor, key_rope: Tensor, mask: Mask) -> Tensor:
        """Expands the latents into keys and values of every head: few operations per query-key pair."""
        key_nope, value = self.kv_b_proj(latent).unflatten(-1, (self.heads, -1)).split((self.nope, self.value), dim=-1)
        shared = key_rope.unsqueeze(2).expand(-1, -1, self.heads, -1)
        return attend(query, torch.cat((key_nope, shared), dim=-1), value, mask, self.scale)

    def _absorbed(self, query: Tensor, entries_BSW: Tensor, mask: Mask) -> Tensor:
        """Moves kv_b_proj to the query and the output, so that cached latents are read once and never expanded."""
        up_NDR = self.kv_b_proj.weight.view(self.heads, self.nope + self.value, self.rank)
        query_nope, query_rope = query.split((self.nope, self.rope), dim=-1)
        query_latent = torch.einsum("btnd,ndr->btnr", query_nope, up_NDR[:, : self.nope])
        query = torch.cat((query_latent, query_rope), dim=-1)
        entry = entries_BSW.unsqueeze(2)  # key and value at once: the rotary part of the value is cut off
        mixed_BTNR = attend(query, entry, entry, mask, self.scale)[..., : self.rank]
        return torch.einsum("btnr,ndr->btnd", mixed_BTNR, up_NDR[:, self.nope :])


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Mask, scale: float) -> Tensor:
    """Softmax attention.

    Args:
        query: [B, T, N, D].
        key, value: [B, S, N or fewer heads, D]; the value's D may differ.
        mask: who sees whom; with lengths or None, T = S.
        scale: factor on the scores.

    Returns:
        [B, T, N, D of the value].
    """
    if isinstance(mask, list):
        parts = [x.flatten(0, 1).split(mask) for x in (query, key, value)]
        documents = [attend(*(x.unsqueeze(0) for x in each), None, scale)[0] for each in zip(*parts, strict=True)]
        return torch.cat(documents).view(*query.shape[:-1], value.shape[-1])
    value_dim, padding = value.shape[-1], query.shape[-1] - value.shape[-1]
    if padding > 0 and query.device.type == "cpu":
        # The CPU's flash kernel wants equal head dimensions; zeros cost less than the plain path.
        value = F.pad(value, (0, padding))
    if query.shape[1] == 1:  # heads that share a key stand as queries of one head, so that it is read once
        query = query.reshape(query.shape[0], key.shape[2], -1, query.shape[3])
        key, value = key.transpose(1, 2), value.transpose(1, 2)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        return out.flatten(1, 2)[:, None, :, :value_dim]
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    out = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )
    return out.transpose(1, 2)[..., :value_dim]


def attention_mask(
    query_positions: Tensor, query_segments: Tensor, key_positions: Tensor, key_segments: Tensor, dtype: torch.dtype
) -> Tensor:
    """The additive mask [B, 1, T, S] of causal attention within segments (packed documents, padding).

    A row whose query belongs to no key (padding) sees its own position only through equal segments, never nothing.
    """
    same = query_segments[:, :, None] == key_segments[:, None, :]
    allowed = same & (key_positions[:, None, :] <= query_positions[:, :, None])
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min).unsqueeze(1)


def document_lengths(segments_BT: Tensor) -> list[int]:
    """Lengths of the stretches of one segment, row after row; they add up to B * T."""
    starts = torch.ones_like(segments_BT, dtype=torch.bool)
    starts[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    places = starts.flatten().nonzero().flatten().tolist()
    return [end - start for start, end in itertools.pairwise([*places, segments_BT.numel()])]
