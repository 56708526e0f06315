"""``axk1 distill measure STUDENT``: how far a checkpoint is from a teacher on text, over whole distributions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from axk1.core.config import require
from axk1.core.progress import human, print_plan, progress
from axk1.data.shards import Shards, require_same_tokenizer
from axk1.distill.initialise.distance import Distance, distance
from axk1.distill.initialise.text import choose_text
from axk1.distill.material import check_teacher
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.train.precision import choose_device


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """Whom to compare, and on what."""

    student: Path
    """The checkpoint that is measured."""
    teacher: Path
    """The checkpoint whose distributions it is compared with."""
    shards: tuple[Path, ...]
    """Folders of token shards; the samples are those that ``axk1 distill init`` measures on."""
    measured_tokens: int = 8_192
    """How many tokens of them, as many from each."""
    batch_tokens: int = 2_048
    """Tokens that go through the models at once; changes the memory, not the result."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; ``auto`` takes a GPU where there is one."""
    threads: int | None = None
    """CPU threads; left out, torch decides."""

    def __post_init__(self) -> None:
        require(len(self.shards) > 0, "shards", self.shards, "at least one folder")
        require(self.measured_tokens >= 2, "measured_tokens", self.measured_tokens, "2 or more")
        require(self.batch_tokens >= 2, "batch_tokens", self.batch_tokens, "2 or more")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")


def measure_student(config: MeasureConfig, *, dry_run: bool = False) -> Distance | None:
    """Prints KL(teacher || student) and the student's cross-entropy, in nats, and returns them.

    Raises:
        ArtifactError: a checkpoint or shards are missing or corrupt.
        TokenizerMismatch: teacher, student and shards were not made with one tokenizer.
        ConfigError: the shards hold too little.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    shards = [Shards.open(folder) for folder in config.shards]
    require_same_tokenizer(shards)
    for model in (config.teacher, config.student):
        check_teacher(model, shards[0])
    longest = min(ModelConfig.load(model).max_position_embeddings for model in (config.teacher, config.student))
    text = f"{human(config.measured_tokens)} tokens of {', '.join(map(str, config.shards))}"
    print_plan("distill measure", {"student": config.student, "teacher": config.teacher, "text": text})
    if dry_run:
        return None
    _, measured = choose_text(
        shards, [1.0] * len(shards), calibration_tokens=0, measured_tokens=config.measured_tokens, longest=longest
    )
    device = choose_device(config.device)
    with progress("distill measure", total=1, unit="students") as meter:
        teacher, student = (load_model(p, dtype=torch.float32, device=device) for p in (config.teacher, config.student))
        found = distance(teacher, student, measured, config.batch_tokens)
        meter.advance()
    figures = f"KL to the teacher {found.kl_to_teacher:.4f}, cross-entropy {found.cross_entropy:.4f} nat"
    Console(highlight=False, soft_wrap=True).print(f"{config.student}: {figures}, {found.positions:,} positions")
    return found
