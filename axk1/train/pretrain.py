"""``axk1 pretrain``: text shards -> a base model, by predicting the next token."""

from dataclasses import dataclass
from pathlib import Path

from axk1.train.config import TrainConfig
from axk1.train.objective import CrossEntropy
from axk1.train.stage import run_stage


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainConfig):
    """A pre-training run: every token of the text is a target."""


def pretrain(config: PretrainConfig, *, dry_run: bool = False) -> Path:
    """Trains a model on text, or goes on where a killed run of the same config stood.

    Returns:
        The checkpoint folder.
    """
    loss = CrossEntropy(config.balance_loss_weight, config.mtp_loss_weight)
    return run_stage(
        config,
        lambda _: loss,
        title="pretrain",
        next_command=f"axk1 sft RECIPE.toml --model {config.output}",
        dry_run=dry_run,
    )
