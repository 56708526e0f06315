"""Who says what the teacher thinks of a round of rollouts: a teacher in memory, or one that is streamed from disk.

A round is short beside a corpus, so a streamed teacher goes by once for each round, over all of its tokens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from axk1.core.errors import CheckpointError
from axk1.distill.building import CacheBuilder
from axk1.distill.scoring import SampleScorer, Scorer, Teacher
from axk1.distill.stream.plan import StreamOptions, StreamPlan
from axk1.distill.stream.scorer import StreamScorer
from axk1.model.config import ModelConfig


class RoundTeacher(Protocol):
    """A teacher whose logits are its last states times a matrix."""

    hidden_size: int
    """Entries of a state."""

    def scorer(self, builder: CacheBuilder) -> SampleScorer:
        """Scores the samples of a cache of kind ``hidden`` that is being made."""

    def output_matrix(self) -> Tensor:
        """The matrix [V, H], cut to the tokenizer's vocabulary."""


@dataclass(frozen=True)
class InMemory:
    """A teacher in memory that gives states, ``batch_tokens`` at a time."""

    teacher: Teacher
    batch_tokens: int

    @property
    def hidden_size(self) -> int:
        return self.teacher.weight_VH.shape[1]

    def scorer(self, builder: CacheBuilder) -> SampleScorer:
        return Scorer(self.teacher, builder.plan.records, temperature=1.0, batch_tokens=self.batch_tokens)

    def output_matrix(self) -> Tensor:
        return self.teacher.weight_VH


class Streamed:
    """A checkpoint that is streamed.

    Args:
        folder: the checkpoint.
        options: how much memory it may take.
        device: where it computes.
        precision: ``fp32`` or ``bf16``.
    """

    def __init__(self, folder: Path, options: StreamOptions, *, device: torch.device, precision: str) -> None:
        self.hidden_size = ModelConfig.load(folder).hidden_size
        self._folder, self._options, self._device, self._precision = folder, options, device, precision
        self._scorer: StreamScorer | None = None

    def scorer(self, builder: CacheBuilder) -> SampleScorer:
        made = builder.plan
        plan = StreamPlan(
            self._folder, made.records, made.rows, builder.state, self._options, chunk=made.chunk_rows,
            device=self._device, precision=self._precision,
        )  # fmt: skip
        if plan.files is None:
            raise CheckpointError(
                f"{str(self._folder)!r} holds no weights", repair=f"hf download MODEL --local-dir {self._folder}"
            )
        state = builder.state / "pass-0"
        self._scorer = StreamScorer(plan, state, teacher_hash=made.teacher_hash, temperature=1.0)
        return self._scorer

    def output_matrix(self) -> Tensor:
        assert self._scorer is not None, "the matrix is read where something has been scored"
        return self._scorer.output_matrix()
