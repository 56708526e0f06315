"""``axk1 distill on-policy``: a student learns from what its teacher says of the student's own answers.

A student that has learnt only from texts of others meets, when it writes by itself, beginnings that it never saw. Here
it writes the answers, the teacher scores each of their tokens, and the student moves towards the teacher where it went
itself (Agarwal et al., arXiv 2306.13649: GKD). A share of the steps goes on learning from the shards and the cache.

The run goes in rounds of ``round_steps`` steps. While one round is trained on, the answers of the next one are written
and scored in another thread, by the student as it was when the round began: they are one round old, which is the price
for not waiting. What each round needs lies in ``<output>.state/rounds``, so a killed run goes on with the same answers.
"""

import dataclasses
import functools
import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from axk1.core.artifact import building
from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.data.packing import Batch, PackedBatches
from axk1.data.random_order import random_keys
from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.divergence import Divergence, DivergenceName
from axk1.distill.material import check_teacher
from axk1.distill.rollouts import Prompts, Round, score_rollouts, write_rollouts
from axk1.distill.round_scoring import InMemory, RoundTeacher, Streamed
from axk1.distill.stream.plan import StreamOptions, options_of
from axk1.distill.student import Distillation, DistillConfig, narrowed
from axk1.distill.teachers import checkpoint_hash, facts_of, open_teacher
from axk1.engine.llm import LLM
from axk1.model.checkpoint import load_model, save_model
from axk1.model.transformer import Transformer
from axk1.train.lora import merged
from axk1.train.material import Material, build_model
from axk1.train.objective import Loss, TorchBatch
from axk1.train.precision import choose_device, choose_precision
from axk1.train.stage import run_stage


@dataclass(frozen=True, kw_only=True)
class OnPolicyConfig(DistillConfig):
    """A student's training on its own answers: ``model`` is where it stands, ``shards`` hold the conversations."""

    cache: Path | None = None
    """The knowledge cache of the steps that learn from the shards; needed where ``on_policy_share`` is below 1."""
    on_policy_share: float = 0.5
    """Share of the steps that train on the student's own answers (GKD's lambda); the others learn from the shards."""
    on_policy_divergence: DivergenceName = "reverse_kl"
    """The distance to the teacher on the student's own answers; ``beta`` and ``skew`` count here, too."""
    round_steps: int = 32
    """Steps that train on the answers of one round, which are written during the round before."""
    rollouts: int = 128
    """Answers in a round; those that are not reached in it are not trained on, with fewer some come twice."""
    max_new_tokens: int = 256
    """Longest answer."""
    sampling_temperature: float = 1.0
    """At which the student writes its answers."""
    batch_tokens: int = 8192
    """Tokens that go through the teacher at once."""
    stream: bool = False
    """Stream the teacher from disk for each round, over all of its answers, rather than hold it in memory."""
    memory: str = "16GiB"
    """With ``stream``: main memory that the teacher may take, beside what the program itself takes."""
    device_memory: str | None = None
    """With ``stream`` on a GPU, which student and teacher share: its memory that the teacher may take."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.teachers, "teachers", len(self.teachers), "none: one teacher scores the answers")
        require(self.teacher is not None, "teacher", None, "the checkpoint that scores the answers")
        share = self.on_policy_share
        require(0 < share <= 1, "on_policy_share", share, "above 0, at most 1")
        fits = self.cache is not None or share == 1
        require(fits, "cache", None, "a knowledge cache, or on_policy_share = 1")
        for name in ("round_steps", "rollouts", "max_new_tokens", "batch_tokens"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.sampling_temperature > 0, "sampling_temperature", self.sampling_temperature, "above 0")
        room = self.max_new_tokens < self.sequence_length
        require(room, "max_new_tokens", self.max_new_tokens, f"below sequence_length ({self.sequence_length})")
        Divergence(self.on_policy_divergence, self.beta, self.skew)
        self.stream_options()

    def stream_options(self) -> StreamOptions:
        """How a streamed teacher is held. Raises ConfigError for a size that is none."""
        sizes = {"batch_tokens": self.batch_tokens, "pass_tokens": None, "hardware": None}
        return options_of(self.memory, self.device_memory, **sizes)

    def on_own_answers(self) -> DistillConfig:
        """The objective of the steps on the student's own answers, which are no example to imitate."""
        changes = {"divergence": self.on_policy_divergence, "kl_weight": 1.0, "ce_weight": 0.0, "teach_prompts": False}
        return dataclasses.replace(self, **changes)


def train_on_policy(config: OnPolicyConfig, *, dry_run: bool = False) -> Path:
    """Trains a student on its own answers, or goes on where a killed run of the same config stood.

    Returns:
        The checkpoint folder.

    Raises:
        ArtifactError: an input is missing or corrupt, or the shards hold no conversation that fits.
        TokenizerMismatch: teacher, cache, shards and student were made for different tokenizers.
        ConfigError: the teacher's logits are not its states times a matrix, or several processes run.
    """
    course = _Course(config)
    inputs = {"teacher": course.teacher_hash}
    if course.cache is not None:
        inputs["knowledge_cache"] = course.cache.manifest.content_hash
    try:
        return run_stage(
            config,
            course.open,
            title="distill on-policy",
            next_command=f"axk1 chat {config.output}",
            narrow=course.narrow,
            batches=course.batches,
            extra_inputs=inputs,
            dry_run=dry_run,
        )
    finally:
        course.close()


class _Course:
    """Batches and objective of a run: rounds of the student's own answers among batches from the shards.

    Attributes:
        teacher_hash: content hash of the teacher.
        cache: what the teacher says of the shards; None where all steps are on-policy.
    """

    def __init__(self, config: OnPolicyConfig) -> None:
        self.config, self.teacher_hash = config, checkpoint_hash(config.teacher)
        self.cache = KnowledgeCache.open(config.cache, teacher_hash=self.teacher_hash) if config.cache else None
        self._folder = config.output.with_name(f"{config.output.name}.state") / "rounds"
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="axk1-rollouts")
        self._rounds: dict[int, Future[_OpenRound]] = {}
        self._lock, self._stopped, self._begun = threading.Lock(), threading.Event(), -1

    def narrow(self, material: Material) -> Material:
        """Leaves out of the shards what the cache does not hold; answers are written to the prompts of all."""
        longest = self.config.sequence_length - self.config.max_new_tokens
        self._prompts = Prompts(material.shards, longest=longest, seed=self.config.seed)
        return material if self.cache is None else narrowed(self.config, [self.cache], material)

    def open(self, material: Material) -> "_Course":
        """Takes the opened inputs."""
        self._material = material
        check_teacher(self.config.teacher, material.shards[0])
        self._offline = None if self.cache is None else Distillation(self.config, [self.cache], material.shards)
        return self

    def batches(self, packed: PackedBatches) -> "_Course":
        """Takes the batches of the shards, and becomes those of the run."""
        require(packed.world_size == 1, "processes", packed.world_size, "1: answers are written by one process so far")
        self._packed = packed
        return self

    def close(self) -> None:
        """Stops the writing."""
        self._stopped.set()
        self._writer.shutdown(cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """The batch of a step; waits until the answers of its round are there."""
        if not self._is_own(step):
            return self._packed.batch(step)
        first = step - step % self.config.round_steps
        return self._round(step).batches.batch(sum(map(self._is_own, range(first, step))))

    def __call__(self, model: Transformer, batch: TorchBatch) -> Loss:
        """The loss of a step. The first of a round keeps the student, who then writes the answers of the next one."""
        self._begin(batch.step, model)
        if not self._is_own(batch.step):
            return self._offline(model, batch)
        current = self._round(batch.step)
        loss = current.objective(model, batch)
        answers = {"rollout_tokens": current.data.mean_answer, "rollouts_ended": current.data.ended}
        return Loss(loss.total, {**loss.metrics, **{k: torch.tensor(v * batch.row_share) for k, v in answers.items()}})

    def _is_own(self, step: int) -> bool:
        """Whether a step trains on the student's own answers."""
        share = self.config.on_policy_share
        return share == 1 or int(random_keys(1, self.config.seed, step, 12)[0]) < share * 2.0**64

    def _round(self, step: int) -> "_OpenRound":
        return self._prepared(step // self.config.round_steps).result()

    def _prepared(self, number: int) -> "Future[_OpenRound]":
        with self._lock:
            if number not in self._rounds:
                self._rounds[number] = self._writer.submit(self._prepare, number)
            return self._rounds[number]

    def _begin(self, step: int, model: Transformer) -> None:
        """At the first step of a round that is met: keeps the student and has the next round's answers written."""
        number, place = divmod(step, self.config.round_steps)
        with self._lock:
            if number <= self._begun:
                return
            self._begun = number
            for old in [n for n in self._rounds if n < number]:
                del self._rounds[old]
        if (number + 1) * self.config.round_steps >= self.config.total_steps:
            return
        if place == 0 and not Round.has(self._folder / f"{number + 1:05d}", "knowledge"):
            with building(self._student(number)) as folder:
                save_model(merged(model), folder)
        for old in range(number):
            shutil.rmtree(self._student(old), ignore_errors=True)
        self._prepared(number + 1)

    def _student(self, number: int) -> Path:
        """The student as it was when a round began."""
        return self._folder / f"{number:05d}" / "student"

    def _prepare(self, number: int) -> "_OpenRound":
        """Writes and scores the answers of a round, as far as that has not been done."""
        folder, config = self._folder / f"{number:05d}", self.config
        if not Round.has(folder, "rollouts"):
            prompts = self._prompts.take(number * config.rollouts, config.rollouts)
            how = {"max_new_tokens": config.max_new_tokens, "temperature": config.sampling_temperature}
            seed = config.seed * 1_000_003 + number * config.rollouts
            student = self._load_student(number)
            write_rollouts(folder / "rollouts", student, prompts, seed=seed, stopped=self._stopped.is_set, **how)
        if not Round.has(folder, "knowledge"):
            rollouts = Shards.open(folder / "rollouts")
            score_rollouts(folder / "knowledge", rollouts, self._teacher, self.teacher_hash)
        return _OpenRound(Round.open(folder), config, number)

    def _load_student(self, number: int) -> LLM:
        """The student that writes a round: as it was a round before; the first two by the one that the run began with.

        The engine stays, its weights are replaced in place.
        """
        weights = build_model(self.config, self._material) if number == 0 else load_model(self._student(number - 1))
        self._engine.model.load_state_dict(weights.state_dict())
        self._engine.engine.abort_all()  # what the cache holds came from other weights
        return self._engine

    @functools.cached_property
    def _engine(self) -> LLM:
        device = choose_device(self.config.device)
        model = build_model(self.config, self._material).to(device).eval().requires_grad_(False)
        return LLM(model, self._material.tokenizer)

    @functools.cached_property
    def _teacher(self) -> RoundTeacher:
        config, device = self.config, choose_device(self.config.device)
        precision = choose_precision(config.precision, device)
        if config.stream:
            return Streamed(config.teacher, config.stream_options(), device=device, precision=precision)
        vocab_size = self._material.shards[0].vocab_size
        kind = facts_of(config.teacher, "auto", context=config.sequence_length).kind
        teacher = open_teacher(config.teacher, kind, vocab_size=vocab_size, device=device, precision=precision)
        if teacher.weight_VH is None:
            raise ConfigError(
                f"the logits of {str(config.teacher)!r} are not its last states times its output matrix, "
                "so it cannot score answers here"
            )
        return InMemory(teacher, config.batch_tokens)


class _OpenRound:
    """A round, with its batches and its objective."""

    def __init__(self, data: Round, config: OnPolicyConfig, number: int) -> None:
        self.data = data
        sizes = {"sequence_length": config.sequence_length, "rows": config.rows}
        self.batches = PackedBatches([data.shards], [1.0], seed=config.seed + number, **sizes)
        self.objective = Distillation(config.on_own_answers(), [data.cache], [data.shards])
