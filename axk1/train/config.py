"""What a training run is: the model, the tokens, the optimizer, and how often to save. Recipes hold these fields."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from axk1.core.config import require


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and the course of its learning rate."""

    name: Literal["adamw", "muon"] = "adamw"
    """``adamw`` for all parameters, or ``muon`` for the hidden matrices and AdamW for the rest."""
    lr: float = 3e-4
    """Peak learning rate of AdamW."""
    muon_lr: float | None = None
    """Peak learning rate of Muon, whose updates are scaled to the size of AdamW's; left out, it is ``lr``."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's running means of the gradient and of its square."""
    eps: float = 1e-8
    """Term that keeps AdamW's denominator from zero."""
    muon_momentum: float = 0.95
    """Decay rate of Muon's running mean of the gradient (with Nesterov's look-ahead)."""
    muon_steps: int = 5
    """Newton-Schulz iterations that make a Muon update orthogonal."""
    weight_decay: float = 0.1
    """Decoupled weight decay of matrices; embeddings, a head tied to them, norms and biases have none."""
    grad_clip: float = 1.0
    """Largest norm of the gradient of all parameters together; a longer one is scaled down to it."""
    schedule: Literal["wsd", "cosine", "constant"] = "wsd"
    """Course after the warm-up: ``wsd`` stays at the peak and decays at the end, ``cosine``, or ``constant``."""
    warmup_fraction: float = 0.02
    """Share of all steps over which the learning rate rises to its peak."""
    warmup_steps: int | None = None
    """Number of warm-up steps; when given, it stands in place of ``warmup_fraction``."""
    decay_fraction: float = 0.2
    """Share of all steps, at the end, over which ``wsd`` decays."""
    decay_shape: Literal["1-sqrt", "linear"] = "1-sqrt"
    """How ``wsd`` decays: as one minus the square root of the share of the decay that is done, or in a line."""
    min_lr_ratio: float = 0.0
    """Learning rate at the end, as a share of the peak."""

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        require(self.muon_lr is None or self.muon_lr > 0, "muon_lr", self.muon_lr, "a number above 0")
        require(all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "two numbers from 0 to below 1")
        require(self.eps > 0, "eps", self.eps, "a number above 0")
        require(0 <= self.muon_momentum < 1, "muon_momentum", self.muon_momentum, "a number from 0 to below 1")
        require(1 <= self.muon_steps <= 20, "muon_steps", self.muon_steps, "1 to 20")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        require(self.grad_clip > 0, "grad_clip", self.grad_clip, "a number above 0")
        require(0 <= self.warmup_fraction <= 1, "warmup_fraction", self.warmup_fraction, "0 to 1")
        require(self.warmup_steps is None or self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")
        require(0 <= self.decay_fraction <= 1, "decay_fraction", self.decay_fraction, "0 to 1")
        require(0 <= self.min_lr_ratio <= 1, "min_lr_ratio", self.min_lr_ratio, "0 to 1")


@dataclass(frozen=True)
class ShardSource:
    """A folder of token shards and its weight in the mix."""

    folder: Path
    """A shards artifact, made by ``axk1 data tokenize``."""
    weight: float = 1.0
    """Share of the tokens of a batch that comes from here, relative to the other weights."""

    def __post_init__(self) -> None:
        require(self.weight > 0, "weight", self.weight, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a training run computes, and how it is saved and shown."""

    model: Path
    """A Hugging Face ``config.json`` to start from random weights, or a checkpoint folder to start from its weights."""
    shards: tuple[ShardSource, ...]
    """The token shards to train on."""
    tokenizer: Path
    """The tokenizer that made the shards; its files are copied into the checkpoint."""
    output: Path
    """The checkpoint folder to make; while the run goes on, its training state lies beside it in ``<output>.state``."""
    sequence_length: int = 256
    """Tokens in a row of a batch; several short samples share a row without seeing each other."""
    rows: int = 8
    """Rows of a batch, over all processes; one batch is one step of the optimizer."""
    micro_batches: int = 1
    """Parts in which each process computes its rows: one after the other, to save memory, or, on a CPU with several
    threads, beside each other with one thread each, which suits small models; the result is the same."""
    total_tokens: int | None = None
    """Tokens to train on (rows x sequence_length count for each step); give this or ``steps``."""
    steps: int | None = None
    """Steps to train for; give this or ``total_tokens``."""
    optim: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimizer."""
    lora_rank: int = 0
    """Learn a product of this rank beside each weight and leave the weights as they are (LoRA); 0 learns them all."""
    lora_alpha: float | None = None
    """The products are scaled by this over the rank; left out, they are not scaled."""
    lora_targets: tuple[str, ...] = ()
    """Linear layers that get such products, as ``q_proj``; none means all of attention and of MLPs that are not stacks
    of experts."""
    balance_loss_weight: float = 1e-4
    """Weight of the sequence-level loss that keeps the experts of a sparse layer equally busy."""
    mtp_loss_weight: float = 0.1
    """Weight of the loss of multi-token prediction, where the model has a module for it."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of matrix products; ``auto`` is bf16 on a GPU and on a CPU where it measures faster, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; ``auto`` takes a GPU where there is one."""
    threads: int | None = None
    """CPU threads of each process; left out, torch decides."""
    seed: int = 0
    """Seed of the initial weights and of the order of the samples."""
    checkpoint_seconds: float | None = 60.0
    """Save the training state when this many seconds have passed since the last time; a kill loses no more."""
    checkpoint_steps: int | None = None
    """Save the training state every so many steps as well."""
    log_steps: int = 10
    """Write a line of ``metrics.jsonl`` every so many steps."""

    def __post_init__(self) -> None:
        require(len(self.shards) > 0, "shards", self.shards, "at least one folder")
        require(self.sequence_length >= 2, "sequence_length", self.sequence_length, "2 or more")
        require(self.rows >= 1, "rows", self.rows, "1 or more")
        fits = self.micro_batches >= 1 and self.rows % self.micro_batches == 0
        require(fits, "micro_batches", self.micro_batches, f"a divisor of rows ({self.rows})")
        one = (self.total_tokens is None) != (self.steps is None)
        other = f"exactly one of steps and total_tokens ({self.total_tokens!r})"
        require(one, "steps", self.steps, other, repair="leave one out, or give it as None: --total-tokens None")
        require(self.total_tokens is None or self.total_tokens >= 1, "total_tokens", self.total_tokens, "1 or more")
        require(self.steps is None or self.steps >= 1, "steps", self.steps, "1 or more")
        self._check_lora()
        require(self.balance_loss_weight >= 0, "balance_loss_weight", self.balance_loss_weight, "0 or more")
        require(self.mtp_loss_weight > 0, "mtp_loss_weight", self.mtp_loss_weight, "a number above 0")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")
        seconds = self.checkpoint_seconds
        require(seconds is None or seconds > 0, "checkpoint_seconds", seconds, "a number above 0")
        steps = self.checkpoint_steps
        require(steps is None or steps >= 1, "checkpoint_steps", steps, "1 or more")
        require(self.log_steps >= 1, "log_steps", self.log_steps, "1 or more")

    def _check_lora(self) -> None:
        require(self.lora_rank >= 0, "lora_rank", self.lora_rank, "0 or more")
        alpha = self.lora_alpha
        require(alpha is None or alpha > 0, "lora_alpha", alpha, "a number above 0")
        without = not self.lora_rank and (alpha is not None or self.lora_targets)
        require(not without, "lora_rank", 0, "1 or more, since lora_alpha or lora_targets is given")

    @property
    def tokens_per_step(self) -> int:
        """Token places of one batch."""
        return self.rows * self.sequence_length

    @property
    def total_steps(self) -> int:
        """Steps of the whole run; the last batch is always a full one."""
        return self.steps if self.steps is not None else -(-(self.total_tokens or 0) // self.tokens_per_step)

    def is_logged(self, step: int) -> bool:
        """Whether the step, counted from 1, writes a line of metrics: the first, the last, and every ``log_steps``."""
        return step % self.log_steps == 0 or step in (1, self.total_steps)
