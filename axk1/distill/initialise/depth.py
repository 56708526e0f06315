"""``depth``: the layers that change the residual stream least are left out (ShortGPT, arXiv 2403.03853)."""

import dataclasses

import torch

from axk1.distill.initialise.cutting import best
from axk1.distill.initialise.statistics import Means
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer


def kept_layers(teacher: ModelConfig, means: Means, count: int) -> list[int]:
    """The layers of most influence; the first and the last always stay, if two do."""
    influence = torch.stack([means[f"layers.{layer}.influence"] for layer in range(teacher.num_hidden_layers)])
    ends = [0, -1] if count > 1 else []
    influence[ends] = float("inf")
    return best(influence, count).tolist()


@torch.no_grad()
def shallower(teacher: Transformer, config: ModelConfig, layers: list[int]) -> Transformer:
    """A student with some of the teacher's layers, tensor for tensor."""
    dense = sum(not teacher.config.sparse_layer(layer) for layer in layers)
    student = Transformer(dataclasses.replace(config, first_k_dense_replace=dense))
    copy_ends(student, teacher)
    for block, layer in zip(student.layers, layers, strict=True):
        block.load_state_dict(teacher.layers[layer].state_dict())
    return student


def copy_ends(student: Transformer, teacher: Transformer) -> None:
    """Copies embedding, final norm and output matrix."""
    student.embed_tokens.weight.copy_(teacher.embed_tokens.weight)
    student.norm.weight.copy_(teacher.norm.weight)
    student.lm_head.weight.copy_(teacher.lm_head.weight)
