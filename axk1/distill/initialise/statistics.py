"""What the parts of a teacher do on calibration text: means over its tokens, kept by the name of the part.

    <block>.influence              1 - cosine of a layer's input and output (ShortGPT, arXiv 2403.03853)
    <norm>.square                  mean square of each channel that a norm reads
    <norm>.magnitude               mean magnitude of each channel that it gives (Minitron, arXiv 2407.14679)
    <mlp>.neurons                  mean square of each inner activation
    <attention>.heads              mean square of what each query head adds to the residual stream
    <sparse mlp>.weight            mean weight of each routed expert, 0 where it was not chosen (scaling included)
    <sparse mlp>.contribution      mean norm of what it adds
    <sparse mlp>.neurons           mean square of each of its inner activations times its weight [E, I]

Shapes: T tokens, H hidden size, E experts, K experts per token, I inner width, N heads, D head dimension.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axk1.distill.initialise.text import Sample, packed
from axk1.model.attention import GroupedQueryAttention, LatentAttention
from axk1.model.mlp import MLP
from axk1.model.moe import SparseMLP
from axk1.model.norm import RMSNorm
from axk1.model.transformer import Block, Transformer

Watch = Callable[[nn.Module, Tensor, Tensor], None]
"""Is told of a module's call: the module, its input [T, ...] and its output [T, ...]."""


class Means:
    """Sums over tokens by name, read as means."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._tokens: dict[str, int] = {}

    def add(self, name: str, values_T: Tensor) -> None:
        """Adds what was seen of T tokens [T, ...]."""
        self.add_sum(name, values_T.double().sum(0), len(values_T))

    def add_sum(self, name: str, total: Tensor, tokens: int) -> None:
        """Adds a sum over tokens."""
        self._sums[name] = self._sums.get(name, torch.zeros_like(total)) + total
        self._tokens[name] = self._tokens.get(name, 0) + tokens

    def __getitem__(self, name: str) -> Tensor:
        """The mean, in float64."""
        return self._sums[name] / self._tokens[name]


@contextlib.contextmanager
def watching(watched: Mapping[nn.Module, Watch]) -> Iterator[None]:
    """Tells each watch of its module's calls during the block."""

    def hook(watch: Watch) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def call(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            first = output[0] if isinstance(output, tuple) else output
            watch(module, inputs[0].detach().flatten(0, 1), first.detach().flatten(0, 1))

        return call

    handles = [module.register_forward_hook(hook(watch)) for module, watch in watched.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def observe(
    model: Transformer, watched: Mapping[nn.Module, Watch], samples: Sequence[Sample], batch_tokens: int
) -> None:
    """Runs a model over samples, telling the watches."""
    with watching(watched):
        for row in packed(samples, batch_tokens, model.output_weight.device):
            model.hidden(row.ids_1T, row.positions_1T, row.segments_1T)


def statistics_of(model: Transformer, samples: Sequence[Sample], batch_tokens: int) -> Means:
    """All that the head of this file lists, for a model on some samples."""
    means = Means()
    watched: dict[nn.Module, Watch] = {}
    for name, module in model.named_modules():
        if isinstance(module, Block):
            watched[module] = _influence(means, name)
        elif isinstance(module, RMSNorm):
            watched[module] = _norm(means, name)
        elif isinstance(module, MLP):
            watched[module.down_proj] = _neurons(means, name)
        elif isinstance(module, SparseMLP):
            watched[module] = _experts(means, name)
        elif isinstance(module, LatentAttention | GroupedQueryAttention):
            watched[module.o_proj] = _heads(means, name, model.config.num_attention_heads)
    observe(model, watched, samples, batch_tokens)
    return means


def _influence(means: Means, name: str) -> Watch:
    def watch(_: nn.Module, x_TH: Tensor, out_TH: Tensor) -> None:
        means.add(f"{name}.influence", 1 - F.cosine_similarity(x_TH.double(), out_TH.double(), dim=-1))

    return watch


def _norm(means: Means, name: str) -> Watch:
    def watch(_: nn.Module, x_T: Tensor, out_T: Tensor) -> None:
        size = x_T.shape[-1]  # of a head's norm there are many vectors for each token
        means.add(f"{name}.square", x_T.reshape(-1, size).double().square())
        means.add(f"{name}.magnitude", out_T.reshape(-1, size).abs())

    return watch


def _neurons(means: Means, name: str) -> Watch:
    def watch(_: nn.Module, act_TI: Tensor, out_TH: Tensor) -> None:
        means.add(f"{name}.neurons", act_TI.double().square())

    return watch


def _heads(means: Means, name: str, heads: int) -> Watch:
    def watch(o_proj: nn.Module, x_T: Tensor, out_TH: Tensor) -> None:
        x_TND = x_T.unflatten(1, (heads, -1))
        weight_HND = o_proj.weight.unflatten(1, (heads, -1))
        for_heads = torch.einsum("tnd,hnd->tnh", x_TND, weight_HND)
        means.add(f"{name}.heads", for_heads.double().square().sum(-1))

    return watch


def _experts(means: Means, name: str) -> Watch:
    def watch(module: nn.Module, x_TH: Tensor, out_TH: Tensor) -> None:
        assert isinstance(module, SparseMLP)
        _, weights_TK, experts_TK = module.gate(x_TH)
        gate_up_EIH, down_EHI = module.experts.gate_up_proj, module.experts.down_proj
        experts, tokens = len(down_EHI), len(x_TH)
        weights_TE = x_TH.new_zeros(tokens, experts).scatter_(1, experts_TK, weights_TK.to(x_TH.dtype))
        means.add(f"{name}.weight", weights_TE)
        contribution_E = torch.zeros(experts, dtype=torch.float64, device=x_TH.device)
        neurons_EI = torch.zeros(experts, down_EHI.shape[2], dtype=torch.float64, device=x_TH.device)
        for expert in range(experts):
            chosen = weights_TE[:, expert].nonzero().flatten()
            gate, up = F.linear(x_TH[chosen], gate_up_EIH[expert]).chunk(2, dim=-1)
            act = F.silu(gate) * up * weights_TE[chosen, expert].unsqueeze(1)
            neurons_EI[expert] = act.double().square().sum(0)
            contribution_E[expert] = F.linear(act, down_EHI[expert]).double().norm(dim=-1).sum()
        means.add_sum(f"{name}.contribution", contribution_E, tokens)
        means.add_sum(f"{name}.neurons", neurons_EI, tokens)

    return watch
