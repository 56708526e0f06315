"""The one network: embeddings, blocks, final norm, output matrix, and the optional multi-token-prediction module.

It is written for one device. Parallelism, streaming from disk and quantisation are applied to it from outside.

Shapes: B batch, T tokens, H hidden_size, V vocab_size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from axk1.model.attention import (
    GroupedQueryAttention,
    KVCache,
    LatentAttention,
    Mask,
    attention_mask,
    document_lengths,
)
from axk1.model.config import ModelConfig
from axk1.model.mlp import MLP
from axk1.model.moe import Experts, Router, Routing, SparseMLP
from axk1.model.norm import RMSNorm
from axk1.model.rope import RotaryEmbedding


@dataclass(frozen=True)
class Hidden:
    """What the blocks make of a batch."""

    states_BTH: Tensor
    """Hidden states after the final norm; times the output matrix they are the logits."""
    routing: list[Routing]
    """One entry per sparse layer, in order."""


class Block(nn.Module):
    """One layer: attention and a feed-forward layer, each on the normed residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(hidden, eps)
        self.self_attn = (LatentAttention if config.latent_attention else GroupedQueryAttention)(config, layer)
        self.post_attention_layernorm = RMSNorm(hidden, eps)
        sparse = config.sparse_layer(layer)
        self.mlp = SparseMLP(config) if sparse else MLP(hidden, config.intermediate_size, bias=config.mlp_bias)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Mask, cache: KVCache | None
    ) -> tuple[Tensor, Routing | None]:
        x = x + self.self_attn(self.input_layernorm(x), rope, mask, cache)
        out = self.mlp(self.post_attention_layernorm(x))
        out, routing = out if isinstance(out, tuple) else (out, None)
        return x + out, routing


class MultiTokenPrediction(nn.Module):
    """Predicts the token after the next one (DeepSeek-V3, arXiv 2412.19437, section 2.2).

    It goes on from the states after the model's final norm, as transformers and vLLM have it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.enorm = RMSNorm(hidden, eps)
        self.hnorm = RMSNorm(hidden, eps)
        self.eh_proj = nn.Linear(2 * hidden, hidden, bias=False)
        self.block = Block(config, config.num_hidden_layers)
        self.norm = RMSNorm(hidden, eps)

    def forward(
        self,
        states_BTH: Tensor,
        next_embedding_BTH: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Mask,
        cache: KVCache | None = None,
    ) -> tuple[Tensor, Routing | None]:
        x = self.eh_proj(torch.cat((self.enorm(next_embedding_BTH), self.hnorm(states_BTH)), dim=-1))
        x, routing = self.block(x, rope, mask, cache)
        return self.norm(x), routing


class Transformer(nn.Module):
    """A causal language model. Make one with ``Transformer(config)`` or ``axk1.load_model(path)``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rope = RotaryEmbedding(config.rope_parameters, config.rotary_dim, config.max_position_embeddings)
        self.mtp = MultiTokenPrediction(config) if config.num_nextn_predict_layers else None
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draws new weights: normal with ``initializer_range``, norms one, biases zero."""
        std = self.config.initializer_range
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding | Router):
                module.weight.normal_(std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
            elif isinstance(module, Experts):
                module.gate_up_proj.normal_(std=std)
                module.down_proj.normal_(std=std)

    @property
    def output_weight(self) -> Tensor:
        """The output matrix [V, H]; the embedding where the two are tied."""
        return self.lm_head.weight

    def forward(
        self,
        input_ids_BT: Tensor,
        positions_BT: Tensor | None = None,
        segments_BT: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The logits [B, T, V] of the next token at every position. Arguments as in ``hidden``."""
        return self.lm_head(self.hidden(input_ids_BT, positions_BT, segments_BT, cache).states_BTH)

    def hidden(
        self,
        input_ids_BT: Tensor,
        positions_BT: Tensor | None = None,
        segments_BT: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Hidden:
        """Runs the blocks.

        Args:
            input_ids_BT: token ids.
            positions_BT: positions; 0 to T - 1 where None.
            segments_BT: number of the document that a token belongs to; a document's tokens stand together, and
                attention stays within it.
            cache: keeps what attention needs of earlier tokens and decides who sees whom; segments are not used then.
        """
        if positions_BT is None:
            positions_BT = torch.arange(input_ids_BT.shape[1], device=input_ids_BT.device).expand_as(input_ids_BT)
        x = self.embed_tokens(input_ids_BT)
        rope = self.rope(positions_BT)
        mask = self._mask(positions_BT, segments_BT, x.dtype) if cache is None else None
        routing = []
        for block in self.layers:
            x, routed = block(x, rope, mask, cache)
            if routed is not None:
                routing.append(routed)
        return Hidden(self.norm(x), routing)

    def predict_second(
        self,
        hidden: Hidden,
        next_ids_BT: Tensor,
        positions_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Multi-token prediction: states [B, T, H] whose logits predict the token after ``next_ids_BT``.

        Args:
            hidden: states of the blocks, or for a token still further on, those that this returned.
            next_ids_BT: the token after each.
            positions_BT, segments_BT: as in ``hidden``.
            cache: one that has a layer more than the model's blocks.
        """
        assert self.mtp is not None, "the model has no multi-token-prediction module"
        states_BTH, rope = hidden.states_BTH, self.rope(positions_BT)
        mask = self._mask(positions_BT, segments_BT, states_BTH.dtype) if cache is None else None
        return self.mtp(states_BTH, self.embed_tokens(next_ids_BT), rope, mask, cache)[0]

    @staticmethod
    def _mask(positions: Tensor, segments: Tensor | None, dtype: torch.dtype) -> Mask:
        if segments is None:
            return None
        if segments.device.type == "cpu":  # a document at a time: short ones do not pay for the length of the row
            return document_lengths(segments)
        return attention_mask(positions, segments, positions, segments, dtype)
