"""``fewer_experts``: the experts that add least on the calibration text are left out, with their router rows."""

import torch
from torch import Tensor

from axk1.distill.initialise.cutting import best
from axk1.distill.initialise.depth import copy_ends
from axk1.distill.initialise.statistics import Means
from axk1.model.config import ModelConfig
from axk1.model.moe import SparseMLP
from axk1.model.transformer import Transformer


@torch.no_grad()
def with_fewer_experts(
    teacher: Transformer, config: ModelConfig, means: Means
) -> tuple[Transformer, dict[int, list[int]]]:
    """A student with the experts of largest contribution, as many from each group; and which they are, by layer."""
    student, kept = Transformer(config), {}
    copy_ends(student, teacher)
    for layer, (block, source) in enumerate(zip(student.layers, teacher.layers, strict=True)):
        state = source.state_dict()
        if isinstance(source.mlp, SparseMLP):
            chosen = _best_of_groups(means[f"layers.{layer}.mlp.contribution"], config)
            for name in ("gate.weight", "gate.e_score_correction_bias", "experts.gate_up_proj", "experts.down_proj"):
                state[f"mlp.{name}"] = state[f"mlp.{name}"][chosen]
            kept[layer] = chosen.tolist()
        block.load_state_dict(state)
    return student, kept


def _best_of_groups(contribution_E: Tensor, config: ModelConfig) -> Tensor:
    each = config.n_routed_experts // config.n_group
    grouped = contribution_E.view(config.n_group, -1)
    return torch.cat([best(scores, each) + number * grouped.shape[1] for number, scores in enumerate(grouped)])
