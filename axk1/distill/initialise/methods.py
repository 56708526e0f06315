"""From a teacher in memory to a student in memory, by each method, and what of the teacher is in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from axk1.distill.initialise.config import InitConfig
from axk1.distill.initialise.dense import dense_mlps
from axk1.distill.initialise.depth import copy_ends, kept_layers, shallower
from axk1.distill.initialise.experts import with_fewer_experts
from axk1.distill.initialise.grouped_query import fit_attention
from axk1.distill.initialise.statistics import Means, statistics_of
from axk1.distill.initialise.text import Sample
from axk1.distill.initialise.width import narrower
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer


@dataclass(frozen=True)
class Start:
    """A student before it is taught."""

    model: Transformer
    """On the teacher's device, in its dtype."""
    kept: dict[str, Any] = field(default_factory=dict)
    """Which layers, or which experts of which layer, it has of its teacher: plain values for the manifest."""


def start(teacher: Transformer, target: ModelConfig, samples: Sequence[Sample], config: InitConfig) -> Start:
    """Makes a student.

    Args:
        teacher: on the device where all is computed.
        target: what ``student_config`` said.
        samples: the calibration text.
        config: the method and its options.
    """
    weight = teacher.output_weight
    torch.manual_seed(config.seed)
    with torch.device(weight.device):
        if config.method == "random":
            return Start(Transformer(target).to(weight.dtype).eval())
        means = statistics_of(teacher, samples, config.batch_tokens)
        made = _from_teacher(teacher, target, means, samples, config)
    return Start(made.model.to(weight.dtype).eval(), made.kept)


def _from_teacher(
    teacher: Transformer, target: ModelConfig, means: Means, samples: Sequence[Sample], config: InitConfig
) -> Start:
    match config.method:
        case "depth":
            layers = kept_layers(teacher.config, means, target.num_hidden_layers)
            influence = [float(means[f"layers.{n}.influence"]) for n in range(len(teacher.layers))]
            return Start(shallower(teacher, target, layers), {"layers": layers, "influence": influence})
        case "width":
            return Start(narrower(teacher, target, means))
        case "fewer_experts":
            model, experts = with_fewer_experts(teacher, target, means)
            return Start(model, {"experts": experts})
    return _dense(teacher, target, means, samples, config)


@torch.no_grad()
def _dense(
    teacher: Transformer, target: ModelConfig, means: Means, samples: Sequence[Sample], config: InitConfig
) -> Start:
    student = Transformer(target)
    copy_ends(student, teacher)
    experts = dense_mlps(teacher, student, means, samples, config)
    for block, source in zip(student.layers, teacher.layers, strict=True):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            getattr(block, norm).load_state_dict(getattr(source, norm).state_dict())
        if target.latent_attention:
            block.self_attn.load_state_dict(source.self_attn.state_dict())
    if not target.latent_attention and config.attention == "least_squares":
        fit_attention(teacher, student, samples, config.batch_tokens)
    return Start(student, {"experts": experts})
