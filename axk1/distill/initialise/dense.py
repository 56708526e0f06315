"""``moe_to_dense``: a layer's shared expert and the best of its routed experts become one dense MLP.

As in arXiv 2605.28207, experts are scored on calibration text, the best are taken and put side by side. A routed expert
counts for a token with the router's weight, and not at all where it is not chosen; a dense neuron has one weight for
all tokens. So the neurons of an expert get its mean weight, and what A.X K1's norm does to the sum, together with what
is missing, is made good by one measured gain for each channel, or by refitting the whole down projection.

Shapes: T tokens, H hidden size, E experts, I an expert's inner width, J the dense MLP's, S the shared expert's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axk1.distill.initialise.config import InitConfig
from axk1.distill.initialise.cutting import best
from axk1.distill.initialise.normal_equations import NormalEquations
from axk1.distill.initialise.statistics import Means, Watch, observe
from axk1.distill.initialise.text import Sample
from axk1.model.mlp import MLP
from axk1.model.moe import SparseMLP
from axk1.model.transformer import Transformer


@dataclass
class Neurons:
    """The neurons of a dense MLP."""

    gate_JH: Tensor
    up_JH: Tensor
    down_HJ: Tensor

    def activations(self, x_TH: Tensor) -> Tensor:
        """What they are for some tokens [T, J]."""
        return F.silu(x_TH @ self.gate_JH.T) * (x_TH @ self.up_JH.T)


@torch.no_grad()
def dense_mlps(
    teacher: Transformer, student: Transformer, means: Means, samples: Sequence[Sample], config: InitConfig
) -> dict[int, list[int]]:
    """Fills the MLPs of a dense student of the teacher's hidden size.

    Returns:
        By sparse layer, which experts are in it; with ``choose_by = "neurons"`` those of which any neuron is.
    """
    chosen: dict[int, Neurons] = {}
    experts: dict[int, list[int]] = {}
    equations: dict[int, NormalEquations] = {}
    watched: dict[nn.Module, Watch] = {}
    inner = student.config.intermediate_size
    for layer, block in enumerate(teacher.layers):
        name = f"layers.{layer}.mlp"
        if isinstance(block.mlp, SparseMLP):
            chosen[layer], experts[layer] = _neurons_of_mixture(block.mlp, means, name, inner, config.choose_by)
            equations[layer] = NormalEquations()
            watched[block.mlp] = _collect(chosen[layer], equations[layer])
        else:
            chosen[layer] = _neurons_of_mlp(block.mlp, means, name, inner)
    observe(teacher, watched, samples, config.batch_tokens)
    for layer, sums in equations.items():
        chosen[layer].down_HJ = fitted_down(chosen[layer], sums, config.fit)
    for layer, neurons in chosen.items():
        _put(student.layers[layer].mlp, neurons)
    return experts


def fitted_down(neurons: Neurons, equations: NormalEquations, fit: str) -> Tensor:
    """The down projection [H, J] whose output is nearest to the layer's, among those that ``fit`` allows."""
    scaled_HJ = neurons.down_HJ.double() * equations.gains(neurons.down_HJ).unsqueeze(1)
    return scaled_HJ if fit == "gain" else equations.solve(scaled_HJ)


def _collect(neurons: Neurons, equations: NormalEquations) -> Watch:
    def watch(_: nn.Module, x_TH: Tensor, out_TH: Tensor) -> None:
        equations.add(neurons.activations(x_TH), out_TH)

    return watch


def _neurons_of_mixture(
    mlp: SparseMLP, means: Means, name: str, inner: int, choose_by: str
) -> tuple[Neurons, list[int]]:
    """The shared expert and the best of the others, as many as fit, their down projections times their mean weight."""
    weight_E = means[f"{name}.weight"].to(mlp.experts.down_proj.dtype)
    gate_EIH, up_EIH = mlp.experts.gate_up_proj.chunk(2, dim=1)
    down_EHI = mlp.experts.down_proj * weight_E.view(-1, 1, 1)
    added_EI = means[f"{name}.neurons"] * mlp.experts.down_proj.double().square().sum(1)
    shared = _neurons_of_mlp(mlp.shared_experts, means, f"{name}.shared_experts", inner)
    room, width = inner - len(shared.gate_JH), added_EI.shape[1]
    if choose_by == "experts":  # whole experts, and of the one that does not fit its best neurons
        ranks_E = means[f"{name}.contribution"].argsort(descending=True, stable=True).argsort()
        added_EI = added_EI / added_EI.max().clamp(min=1e-300) - ranks_E.unsqueeze(1) * 2.0
    rows = best(added_EI.flatten(), room)
    routed = Neurons(
        gate_EIH.flatten(0, 1)[rows], up_EIH.flatten(0, 1)[rows], down_EHI.transpose(0, 1).flatten(1)[:, rows]
    )
    both = Neurons(
        torch.cat((shared.gate_JH, routed.gate_JH)),
        torch.cat((shared.up_JH, routed.up_JH)),
        torch.cat((shared.down_HJ, routed.down_HJ), dim=1),
    )
    return both, torch.unique(rows // width).tolist()


def _neurons_of_mlp(mlp: MLP, means: Means, name: str, inner: int) -> Neurons:
    """The neurons of a SwiGLU that add most, in order."""
    added_I = means[f"{name}.neurons"] * mlp.down_proj.weight.double().square().sum(0)
    kept = best(added_I, inner)
    return Neurons(mlp.gate_proj.weight[kept], mlp.up_proj.weight[kept], mlp.down_proj.weight[:, kept])


def _put(mlp: MLP, neurons: Neurons) -> None:
    """Writes the neurons into an MLP; those that it has beyond them keep their chance weights and add nothing yet."""
    count = len(neurons.gate_JH)
    mlp.gate_proj.weight[:count] = neurons.gate_JH
    mlp.up_proj.weight[:count] = neurons.up_JH
    mlp.down_proj.weight[:, :count] = neurons.down_HJ.to(mlp.down_proj.weight.dtype)
    mlp.down_proj.weight[:, count:] = 0
