"""``axk1 sft``: a base model and conversations -> a model that answers (supervised fine-tuning)."""

from dataclasses import dataclass
from pathlib import Path

from axk1.core.config import require
from axk1.core.errors import ArtifactError
from axk1.train.config import TrainConfig
from axk1.train.material import Material
from axk1.train.objective import CrossEntropy
from axk1.train.stage import run_stage


@dataclass(frozen=True, kw_only=True)
class SftConfig(TrainConfig):
    """A fine-tuning run: of conversations, only what the assistant says is a target."""

    def __post_init__(self) -> None:
        super().__post_init__()
        is_file = self.model.is_file()
        require(not is_file, "model", str(self.model), "a checkpoint folder, made by axk1 pretrain")


def sft(config: SftConfig, *, dry_run: bool = False) -> Path:
    """Fine-tunes a checkpoint on conversations, or goes on where a killed run of the same config stood.

    Shards of plain text may be in the mix; there, every token is a target.

    Returns:
        The checkpoint folder.
    """
    loss = CrossEntropy(config.balance_loss_weight, config.mtp_loss_weight)

    def objective(material: Material) -> CrossEntropy:
        if all(shards.loss_mask is None for shards in material.shards):
            folders = ", ".join(repr(str(source.folder)) for source in config.shards)
            raise ArtifactError(f"none of the shards {folders} holds conversations", repair="axk1 data tokenize")
        return loss

    return run_stage(
        config,
        objective,
        title="sft",
        next_command=f"axk1 chat {config.output}",
        dry_run=dry_run,
    )
