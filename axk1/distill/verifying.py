"""``axk1 distill verify CACHE --teacher PATH``: is every byte as it was written, and does the teacher still say that?

Shapes: R rows, K stored tokens, S draws, V vocabulary.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from axk1.core.config import require
from axk1.core.errors import ArtifactError
from axk1.core.progress import console, print_plan
from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.hidden import HiddenRecords, HiddenStates
from axk1.distill.records import ENTROPY_STEPS, Distributions, TopKRecords
from axk1.distill.sampled import Draws
from axk1.distill.scoring import Teacher, states_of_samples
from axk1.distill.teachers import checkpoint_hash, facts_of, open_teacher
from axk1.distill.text_records import TextDistributions
from axk1.train.precision import choose_device

_BEST = 50
"""Tokens of a position that are compared where the cache knows all."""
_SIGMAS = 6.0
"""Standard errors by which the mean surprise of draws may be off."""
_NO_ENTRY = -60.0
"""Log-probabilities below count as none."""


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """A check of a knowledge cache."""

    cache: Path
    """The knowledge cache."""
    teacher: Path | None = None
    """The checkpoint that scores a sample of it again; left out, the checksums alone are compared."""
    samples: int = 16
    """Samples that are scored again, spread over the cache."""
    shards: tuple[Path, ...] = ()
    """Where the samples' tokens are; left out, the folders that the cache was made from."""
    teacher_kind: Literal["auto", "axk1", "transformers"] = "auto"
    """How the teacher is opened, as for ``axk1 distill cache``."""
    tolerance: float = 0.01
    """By how many nats more than its own rounding the cache may be off; 0.1 suits a teacher in bf16 or on a server."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the teacher's blocks."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; ``auto`` takes a GPU where there is one."""

    def __post_init__(self) -> None:
        require(self.samples >= 1, "samples", self.samples, "1 or more")
        require(self.tolerance >= 0, "tolerance", self.tolerance, "0 or more")


@dataclass
class Disagreement:
    """How far stored rows are from what the teacher says, in nats."""

    rounding: float = 0.0
    """What the format itself may add to an entry."""
    errors: list[np.ndarray] = field(default_factory=list)
    """Of each stored entry: its log-probability against the teacher's (kind ``sampled``: the entropy)."""
    kl: list[np.ndarray] = field(default_factory=list)
    """Of each row: KL(teacher || stored); ``topk`` takes the tail as one token, ``sampled`` gives an estimate."""
    tail: list[np.ndarray] = field(default_factory=list)
    """Of each row: the teacher's mass outside the stored tokens."""

    def summary(self) -> dict[str, float]:
        """One number of each."""
        errors, kl, tail = (np.concatenate([part.ravel() for part in one]) for one in (self.errors, self.kl, self.tail))
        numbers = {"rows": len(kl), "max error": errors.max(), "mean error": errors.mean(), "rounding": self.rounding}
        return {**numbers, "KL": kl.mean(), "KL deviation": kl.std() / len(kl) ** 0.5, "tail mass": tail.mean()}


def verify_cache(config: VerifyConfig, *, dry_run: bool = False) -> dict[str, float]:
    """Checks all checksums and, with a teacher, a sample of the rows; prints how far they are apart.

    Returns:
        What was printed, in nats; empty without a teacher.

    Raises:
        ArtifactError: a file is corrupt (names it), or the teacher disagrees by more than the rounding.
    """
    cache = KnowledgeCache.open(config.cache)
    lines = {"cache": f"{config.cache}, {cache.records.kind}, {len(cache):,} samples, {cache.rows:,} positions"}
    lines["teacher"] = f"{config.teacher}, {config.samples} samples" if config.teacher else "none: checksums alone"
    print_plan("distill verify", lines)
    if dry_run:
        return {}
    cache.verify()
    Console(highlight=False).print(f"{config.cache}: all checksums match")
    if config.teacher is None:
        return {}
    if checkpoint_hash(config.teacher) != cache.teacher_hash:
        console.print(f"note: the cache was made from another checkpoint ({cache.teacher_hash[:12]})")
    summary = _compare(config, cache).summary()
    _print(summary, cache.records.kind)
    _judge(config, cache, summary)
    return summary


def _compare(config: VerifyConfig, cache: KnowledgeCache) -> Disagreement:
    """Scores a sample of the cache again."""
    keys, samples = _some_samples(config, cache)
    device = choose_device(config.device)
    kind = facts_of(Path(str(config.teacher)), config.teacher_kind, context=max(map(len, samples))).kind
    teacher = open_teacher(
        Path(str(config.teacher)), kind, vocab_size=cache.records.vocab_size, device=device, precision=config.precision
    )
    found = Disagreement()
    matrix_VH = cache.output_matrix().float() if isinstance(cache.records, HiddenRecords) else None
    for batch, states_RH in states_of_samples(teacher, samples, batch_tokens=1024):
        rows = cache.lookup(keys[batch]).rows
        log_probs_RV = _log_probs(states_RH.float().cpu(), _matrix(teacher), cache.temperature)
        if isinstance(rows, Distributions) and isinstance(cache.records, TopKRecords):
            found.rounding = 0.56 / cache.records.steps_per_nat
            _compare_topk(found, rows, log_probs_RV)
            if isinstance(rows, TextDistributions):
                text_R = np.concatenate([samples[number][1:] for number in batch]).astype(np.int64)
                true_R = log_probs_RV.gather(1, torch.from_numpy(text_R)[:, None]).squeeze(1).numpy()
                found.errors.append(np.abs(rows.of_text(text_R) - np.maximum(true_R, _NO_ENTRY)))
        elif isinstance(rows, Draws):
            found.rounding = 0.5 / ENTROPY_STEPS
            _compare_draws(found, rows, log_probs_RV)
        elif matrix_VH is not None:
            again_RV = _log_probs(HiddenStates.of(states_RH).torch().float(), _matrix(teacher), cache.temperature)
            stored_RV = _log_probs(rows.torch().float(), matrix_VH, cache.temperature)
            _compare_hidden(found, stored_RV, again_RV, log_probs_RV)
    return found


def _matrix(teacher: Teacher) -> Tensor | None:
    return None if teacher.weight_VH is None else teacher.weight_VH.cpu()


def _log_probs(states_RH: Tensor, weight_VH: Tensor | None, temperature: float) -> Tensor:
    logits_RV = states_RH if weight_VH is None else states_RH @ weight_VH.T
    return torch.log_softmax(logits_RV / temperature, -1)


def _compare_topk(found: Disagreement, rows: Distributions, log_probs_RV: Tensor) -> None:
    ids_RK = torch.from_numpy(rows.ids_RK)
    stored_RM = np.maximum(np.column_stack((rows.log_probs_RK, rows.log_tail_R)), _NO_ENTRY)
    top_RK = log_probs_RV.gather(1, ids_RK)
    # An imported row may have fewer entries: what fills their places is of the tail.
    is_entry_RK = torch.from_numpy(stored_RM[:, :-1] > _NO_ENTRY)
    kept_RV = log_probs_RV.scatter(1, ids_RK, top_RK.masked_fill(is_entry_RK, float("-inf")))
    log_tail_R = kept_RV.logsumexp(1).numpy().astype(np.float64)
    top_RK = top_RK.masked_fill(~is_entry_RK, _NO_ENTRY).numpy().astype(np.float64)
    true_RM = np.maximum(np.column_stack((top_RK, log_tail_R)), _NO_ENTRY)
    found.errors.append(np.abs(stored_RM - true_RM)[:, :-1])
    found.kl.append((np.exp(true_RM) * (true_RM - stored_RM)).sum(1))
    found.tail.append(np.exp(log_tail_R))


def _compare_draws(found: Disagreement, rows: Draws, log_probs_RV: Tensor) -> None:
    """The surprise of draws by the right probabilities is the entropy, on average."""
    entropy_R = -(log_probs_RV.exp() * log_probs_RV.clamp(min=-1e4)).sum(1).numpy()
    weights_RS = rows.counts_RS / rows.counts_RS.sum(1, keepdims=True)
    ids_RS = torch.from_numpy(rows.ids_RS)
    surprise_R = -(weights_RS * log_probs_RV.gather(1, ids_RS).numpy()).sum(1)
    found.errors.append(np.abs(rows.entropy_R - entropy_R))
    found.kl.append(surprise_R - entropy_R)
    stored_RS = np.where(rows.counts_RS > 0, log_probs_RV.gather(1, ids_RS).exp().numpy(), 0)
    found.tail.append(np.maximum(1 - stored_RS.sum(1), 0))


def _compare_hidden(found: Disagreement, stored_RV: Tensor, again_RV: Tensor, log_probs_RV: Tensor) -> None:
    """The format's own rounding is what rounding the teacher's states again does to its log-probabilities."""
    best = log_probs_RV.topk(min(_BEST, log_probs_RV.shape[1]), 1)
    found.rounding = max(found.rounding, float((again_RV.gather(1, best.indices) - best.values).abs().max()))
    found.errors.append((stored_RV.gather(1, best.indices) - best.values).abs().numpy())
    found.kl.append((log_probs_RV.exp() * (log_probs_RV - stored_RV)).sum(1).numpy())
    found.tail.append(np.zeros(len(stored_RV)))


def _some_samples(config: VerifyConfig, cache: KnowledgeCache) -> tuple[np.ndarray, list[np.ndarray]]:
    """Keys, spread over the cache, and the samples that have them."""
    folders = config.shards or tuple(Path(one["folder"]) for one in cache.manifest.config.get("shards", ()))
    opened = [Shards.open(folder) for folder in folders]
    where: dict[bytes, tuple[int, int]] = {}
    wanted = np.linspace(0, len(cache) - 1, min(config.samples, len(cache))).astype(int)
    keys = np.ascontiguousarray(cache.keys[wanted])
    for number, shards in enumerate(opened):
        held = np.flatnonzero(np.isin(_whole(shards.keys), _whole(keys)))
        where |= {shards.keys[i].tobytes(): (number, int(i)) for i in held}
    missing = [key for key in keys if key.tobytes() not in where]
    if missing:
        raise ArtifactError(
            f"{len(missing)} of {len(keys)} samples of the cache are in none of {', '.join(map(str, folders)) or 'no'} "
            "shards folders",
            repair=f"axk1 distill verify {config.cache} --teacher {config.teacher} --shards FOLDER",
        )
    return keys, [opened[where[key.tobytes()][0]].sample(where[key.tobytes()][1]) for key in keys]


def _whole(keys: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(keys).view(f"V{keys.shape[1]}").reshape(-1)


def _print(summary: dict[str, Any], kind: str) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    entry = {
        "topk": "stored log-probability",
        "topk_text": "stored log-probability",
        "sampled": "stored entropy",
        "hidden": f"log-probability of {_BEST} best",
    }
    table.add_row("positions", f"{summary['rows']:,}")
    table.add_row(f"error, {entry[kind]}", f"max {summary['max error']:.4f}, mean {summary['mean error']:.5f} nat")
    table.add_row("the format rounds by", f"{summary['rounding']:.4f} nat at most")
    table.add_row("KL(teacher || stored)", f"{summary['KL']:.6f} +- {summary['KL deviation']:.6f} nat")
    table.add_row("teacher's mass outside", f"{summary['tail mass']:.5f}")
    Console(highlight=False).print(table)


def _judge(config: VerifyConfig, cache: KnowledgeCache, summary: dict[str, float]) -> None:
    """Raises ArtifactError where the teacher disagrees by more than the rounding and the tolerance."""
    allowed = summary["rounding"] + config.tolerance
    why = ""
    if not summary["max error"] <= allowed:  # NaN is no agreement
        why = f"an entry is off by {summary['max error']:.4f} nat, where {allowed:.4f} are allowed"
    elif (
        cache.records.kind == "sampled"
        and not abs(summary["KL"]) <= _SIGMAS * summary["KL deviation"] + config.tolerance
    ):
        why = f"its draws surprise the teacher by {summary['KL']:.4f} nat more than the teacher's own entropy"
    if why:
        raise ArtifactError(
            f"the knowledge cache {str(config.cache)!r} is not what {str(config.teacher)!r} says: {why}",
            repair=f"name the teacher that it was made from, or axk1 distill cache RECIPE.toml --output {config.cache}",
        )
