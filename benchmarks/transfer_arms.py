"""The ways to teach that ``transfer.py`` compares, and their training.

Most are what the package does; ``transfer_objectives.py`` holds what it does not do, run by the package's own training
stage, so that all else is equal.
"""

import dataclasses
import hashlib
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transfer_objectives
from transfer_objectives import VARIANTS

from axk1.core.config import from_dict, load_toml
from axk1.distill.cache import KnowledgeCache
from axk1.distill.on_policy import OnPolicyConfig, train_on_policy
from axk1.distill.student import DistillConfig, narrowed, train_student
from axk1.distill.teachers import checkpoint_hash
from axk1.train.stage import run_stage

CACHES: dict[str, dict[str, Any]] = {
    "head_32": {"kind": "topk", "top_k": 18, "tail_samples": 0},
    "head_64": {"kind": "topk", "top_k": 39, "tail_samples": 0},
    "head_128": {"kind": "topk", "top_k": 82, "tail_samples": 0},
    "draws_32": {"kind": "topk", "top_k": 8, "tail_samples": 16},
    "draws_64": {"kind": "topk", "top_k": 16, "tail_samples": 32},
    "draws_128": {"kind": "topk", "top_k": 34, "tail_samples": 76},
    "sampled_32": {"kind": "sampled", "draws": 60},
    "sampled_64": {"kind": "sampled", "draws": 170},
    "sampled_128": {"kind": "sampled", "draws": 470},
    "hidden": {"kind": "hidden"},
}
"""Fields of ``CacheConfig`` by name; the number is about how many bytes a position takes."""


@dataclass(frozen=True)
class Arm:
    """One way to teach."""

    name: str
    label: str
    """For people."""
    cache: str
    """The cache that says which samples are read, and what the teacher says of them."""
    variant: str = ""
    """What is not the package's: a key of ``VARIANTS``; empty for the package's own training."""
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of the recipe that differ."""
    after: str = ""
    """The arm whose student goes on here, with a third of the tokens more."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what it trains, but for its teacher."""
        parts = {name: value for name, value in dataclasses.asdict(self).items() if name != "label"}
        return parts | {"cached": CACHES[self.cache], "objective": objective_hash() if self.variant else ""}

    @property
    def on_policy(self) -> bool:
        """Whether the student learns from its own answers."""
        return self.name == "on_policy"


ARMS = [
    Arm("control", "no teacher (control)", "head_64", config={"kl_weight": 0.0, "ce_weight": 1.0, "track_kl": False}),
    Arm("hidden", "whole distribution", "hidden"),
    Arm("sampled_32", "sampled, 60 draws", "sampled_32"),
    Arm("draws_64", "top 16 and 32 draws from the tail", "draws_64"),
    Arm("renormalised_64", "top 39, both sides renormalised", "head_64", "renormalised"),
    Arm("longer", "a third more tokens from the cache", "draws_64", after="draws_64"),
    Arm("on_policy", "a third more tokens, half its own answers", "draws_64", after="draws_64"),
    Arm("hard", "hard labels", "head_64", "hard"),
    Arm("control_prompts", "no teacher, prompts too", "head_64", "text"),
    Arm("mass_64", "top 39 and the tail's mass", "head_64"),
    Arm("cut_64", "top 39 renormalised, whole softmax", "head_64", "cut"),
    Arm("renormalised_32", "top 18, both sides renormalised", "head_32", "renormalised"),
    Arm("draws_32", "top 8 and 16 draws from the tail", "draws_32"),
    Arm("renormalised_128", "top 82, both sides renormalised", "head_128", "renormalised"),
    Arm("sampled_128", "sampled, 470 draws", "sampled_128"),
    Arm("draws_128", "top 34 and 76 draws from the tail", "draws_128"),
    Arm("sampled_64", "sampled, 170 draws", "sampled_64"),
]
"""In the order in which they are run."""

BY_NAME = {arm.name: arm for arm in ARMS}
_LOWER_RATE = {"name": "muon", "lr": 3e-3, "muon_lr": 1e-3, "muon_steps": 3, "weight_decay": 0.1, "schedule": "wsd",
               "warmup_fraction": 0.05, "decay_fraction": 1.0, "decay_shape": "linear"}  # fmt: skip
"""The optimizer of ``recipes/nano/on-policy.toml``, for the steps that it is compared with."""


def train_arm(
    arm: Arm, *, teacher: Path, caches: Path, students: Path, tokens: int, seed: int, threads: int = 1
) -> Path:
    """Trains the student of an arm, or goes on where a killed run stood; up to date, it does nothing.

    Args:
        arm: the way to teach.
        teacher: the teacher's checkpoint.
        caches: the folder of its caches, by their names.
        students: the folder of the students, by the names of the arms.
        tokens: the tokens of an arm that begins from random weights.
        seed: of the starting weights and of the order of the samples.
        threads: CPU threads.
    """
    kind = OnPolicyConfig if arm.on_policy else DistillConfig
    values = load_toml("recipes/nano/on-policy.toml" if arm.on_policy else "recipes/nano/student.toml")
    values |= {"teacher": str(teacher), "cache": str(caches / arm.cache), "output": str(students / arm.name)}
    values |= {"total_tokens": tokens, "seed": seed, "threads": threads, **arm.config}
    if arm.after:
        values |= {"model": str(students / arm.after), "total_tokens": tokens // 3, "optim": _LOWER_RATE}
    config = from_dict(kind, values, where=arm.name)
    if isinstance(config, OnPolicyConfig):
        return train_on_policy(config)
    return _train_variant(config, arm.variant) if arm.variant else train_student(config)


def _train_variant(config: DistillConfig, variant: str) -> Path:
    """``train_student`` with another objective, whose source counts among the inputs."""
    cache = KnowledgeCache.open(config.cache, teacher_hash=checkpoint_hash(config.teacher))
    return run_stage(
        config,
        lambda material: VARIANTS[variant](config, [cache], material.shards),
        title=f"distill train, {variant}",
        next_command=f"axk1 chat {config.output}",
        narrow=lambda material: narrowed(config, [cache], material),
        extra_inputs={"knowledge_cache": cache.manifest.content_hash, "objective": objective_hash()},
    )


def objective_hash() -> str:
    """A hash of the objectives that are not the package's."""
    return hashlib.sha256(inspect.getsource(transfer_objectives).encode()).hexdigest()
