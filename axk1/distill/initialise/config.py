"""What a student is cut to, from which teacher, and on which text it is decided what stays."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from axk1.core.config import require
from axk1.train.config import ShardSource

Method = Literal["random", "depth", "width", "moe_to_dense", "fewer_experts"]


@dataclass(frozen=True, kw_only=True)
class StudentSize:
    """The student's sizes; each that is left out is the teacher's. Names as in ``config.json``."""

    num_hidden_layers: int | None = None
    """Layers (``depth``)."""
    hidden_size: int | None = None
    """Width of the residual stream (``width``)."""
    intermediate_size: int | None = None
    """Inner width of a dense MLP (``width``, ``moe_to_dense``); for ``moe_to_dense``, left out, what a token meets."""
    moe_intermediate_size: int | None = None
    """Inner width of an expert (``width``)."""
    num_attention_heads: int | None = None
    """Query heads (``width``)."""
    num_key_value_heads: int | None = None
    """Key and value heads of grouped-query attention (``width``, and ``moe_to_dense`` to such an architecture)."""
    head_dim: int | None = None
    """Size of a head of the grouped-query attention that ``moe_to_dense`` puts in place of latent attention."""
    q_lora_rank: int | None = None
    """Rank of latent attention's query (``width``)."""
    kv_lora_rank: int | None = None
    """Rank of latent attention's key and value (``width``)."""
    n_routed_experts: int | None = None
    """Experts of a sparse layer (``fewer_experts``); 0 is dense (``moe_to_dense``, ``random``)."""
    num_experts_per_tok: int | None = None
    """Experts that a token is sent to (``fewer_experts``)."""

    def __post_init__(self) -> None:
        for name, value in self.given.items():
            least = 0 if name == "n_routed_experts" else 1
            require(value >= least, f"size.{name}", value, f"{least} or more")

    @property
    def given(self) -> dict[str, int]:
        """The sizes that are not left out."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """A student's starting weights."""

    teacher: Path
    """The checkpoint that they come from, of any architecture that ``axk1.model`` knows."""
    shards: tuple[ShardSource, ...]
    """Text: a few thousand tokens of it say what of the teacher matters, others how far the student is from it."""
    output: Path
    """The checkpoint to make; ``axk1 distill train RECIPE --model OUTPUT`` goes on from it."""
    method: Method
    """``random`` (the baseline), ``depth`` (fewer layers), ``width`` (fewer channels, neurons, heads), ``moe_to_dense``
    (experts become one dense MLP), ``fewer_experts``."""
    size: StudentSize = StudentSize()
    """What the student is cut to."""
    architecture: Literal["same", "Qwen3ForCausalLM", "LlamaForCausalLM"] = "same"
    """``moe_to_dense`` and ``random``: what the student is; ``same`` keeps latent attention, tensor for tensor."""
    choose_by: Literal["experts", "neurons"] = "experts"
    """``moe_to_dense``: keep the best experts whole, or the best neurons whosever they are."""
    fit: Literal["gain", "least_squares"] = "least_squares"
    """``moe_to_dense``: the down projection is the experts' own times their mean weight, with one measured gain for
    each channel in place of the norm behind them; or the one that is nearest to the layer on the calibration text."""
    attention: Literal["least_squares", "random"] = "least_squares"
    """``moe_to_dense`` to another architecture: its attention is fitted to the teacher's on the text, or drawn."""
    calibration_tokens: int = 16_384
    """Tokens on which importance is measured and fits are made."""
    measured_tokens: int = 8_192
    """Other tokens, on which the distance to the teacher is measured."""
    seed: int = 0
    """Where chance draws weights."""
    batch_tokens: int = 2_048
    """Tokens that go through a model at once; changes the memory, not what is decided."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; ``auto`` takes a GPU where there is one."""
    threads: int | None = None
    """CPU threads; left out, torch decides."""

    def __post_init__(self) -> None:
        require(len(self.shards) > 0, "shards", self.shards, "at least one folder")
        for name in ("calibration_tokens", "measured_tokens", "batch_tokens"):
            require(getattr(self, name) >= 2, name, getattr(self, name), "2 or more")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")
        free = self.architecture == "same" or self.method in ("moe_to_dense", "random")
        require(free, "architecture", self.architecture, f"'same' with method = {self.method!r}")
