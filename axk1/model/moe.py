"""The sparse feed-forward layer: a router, routed experts, a shared expert, and A.X K1's norm on their sum.

Shapes: T tokens, E experts, K experts per token, G expert groups, H hidden_size, I moe_intermediate_size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axk1.model.config import ModelConfig
from axk1.model.experts import routed_experts
from axk1.model.mlp import MLP
from axk1.model.norm import RMSNorm


@dataclass(frozen=True)
class Routing:
    """What the router of one layer did with one batch."""

    expert_load_E: Tensor
    """Share of the assignments that went to each expert; sums to 1."""
    balance_loss: Tensor
    """Sequence-level balance loss (DeepSeek-V3, arXiv 2412.19437, eq. 17-20), mean over sequences; 1 when even."""


class Router(nn.Module):
    """Chooses K experts for each token from sigmoid scores, optionally within the best groups of experts."""

    e_score_correction_bias: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))

    def forward(self, x_TH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns scores [T, E], chosen experts' weights [T, K] and their indices [T, K]."""
        with torch.autocast(x_TH.device.type, enabled=False):
            scores_TE = F.linear(_at_least_float(x_TH), _at_least_float(self.weight)).sigmoid()
        choice_TE = self._within_groups(scores_TE.detach() + self.e_score_correction_bias)
        experts_TK = choice_TE.topk(self.config.num_experts_per_tok, dim=-1, sorted=False).indices
        weights_TK = scores_TE.gather(1, experts_TK)
        if self.config.norm_topk_prob:
            weights_TK = weights_TK / (weights_TK.sum(dim=-1, keepdim=True) + 1e-20)
        return scores_TE, weights_TK * self.config.routed_scaling_factor, experts_TK

    def _within_groups(self, choice_TE: Tensor) -> Tensor:
        """Rules out the experts of all but the ``topk_group`` best groups."""
        config = self.config
        if config.group_rule == "none" or config.topk_group == config.n_group:
            return choice_TE
        choice_TGE = choice_TE.unflatten(1, (config.n_group, -1))
        if config.group_rule == "max":
            score_TG = choice_TGE.amax(dim=-1)
        else:
            score_TG = choice_TGE.topk(2, dim=-1).values.sum(dim=-1)
        chosen = score_TG.topk(config.topk_group, dim=-1, sorted=False).indices
        ruled_out = torch.ones_like(score_TG, dtype=torch.bool).scatter_(1, chosen, False)
        return choice_TGE.masked_fill(ruled_out.unsqueeze(-1), float("-inf")).flatten(1)


class Experts(nn.Module):
    """The routed experts, stacked so that grouped products run over all of them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts, inner, hidden = config.n_routed_experts, config.moe_intermediate_size, config.hidden_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * inner, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, inner))

    def forward(self, x_TH: Tensor, weights_TK: Tensor, experts_TK: Tensor) -> Tensor:
        return routed_experts(x_TH, weights_TK, experts_TK, self.gate_up_proj, self.down_proj)


class SparseMLP(nn.Module):
    """``post_mlp_layernorm(routed(x) + shared(x))``: x [B, T, H] -> [B, T, H], and the routing."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config)
        self.shared_experts = MLP(config.hidden_size, config.moe_intermediate_size * config.n_shared_experts)
        self.post_mlp_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_BTH: Tensor) -> tuple[Tensor, Routing]:
        x_TH = x_BTH.flatten(0, 1)
        scores_TE, weights_TK, experts_TK = self.gate(x_TH)
        routed = self.experts(x_TH, weights_TK, experts_TK).view_as(x_BTH)
        out = self.post_mlp_layernorm(routed + self.shared_experts(x_BTH))
        return out, _routing(scores_TE, experts_TK, x_BTH.shape[0])


def _routing(scores_TE: Tensor, experts_TK: Tensor, sequences: int) -> Routing:
    experts = scores_TE.shape[1]
    chosen_BS = experts_TK.view(sequences, -1)
    # One bin per sequence and expert: the share of a sequence's assignments that each expert received.
    offset = torch.arange(sequences, device=chosen_BS.device).unsqueeze(1) * experts
    counts = torch.bincount((chosen_BS + offset).flatten(), minlength=sequences * experts)
    load_BE = counts.view(sequences, experts) / chosen_BS.shape[1]
    share_BE = (scores_TE / scores_TE.sum(-1, keepdim=True)).view(sequences, -1, experts).mean(1)
    balance_loss = experts * (load_BE * share_BE).sum(-1).mean()
    return Routing(load_BE.mean(0), balance_loss)


def _at_least_float(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
