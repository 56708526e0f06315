"""``axk1 distill cache``: a teacher and shards -> what the teacher says at every position, on disk."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from axk1.core.artifact import is_current
from axk1.core.config import to_dict
from axk1.core.errors import ArtifactError
from axk1.core.lock import locked
from axk1.core.progress import Meter, console, print_next, print_plan, progress
from axk1.distill.building import CacheBuilder
from axk1.distill.cache import KIND
from axk1.distill.config import CacheConfig
from axk1.distill.hidden import MATRIX, compact
from axk1.distill.material import CacheMaterial
from axk1.distill.records import TopKRecords, concatenate
from axk1.distill.scoring import SampleScorer, Scorer
from axk1.distill.server import ServerScorer
from axk1.distill.teachers import open_teacher
from axk1.train.precision import choose_device, choose_precision

CHUNK_ROWS = 1 << 16
"""Rows of a chunk, which is what a kill can cost."""


def build_cache(config: CacheConfig, *, dry_run: bool = False) -> Path:
    """Scores samples with the teacher and stores what it says, or goes on where a killed run stood.

    Returns:
        The knowledge cache.

    Raises:
        ArtifactError: an input is missing or corrupt (names the command that makes it), or another process is
            writing to the same output.
        TokenizerMismatch: teacher and shards were made with different tokenizers.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    material = CacheMaterial(config, CHUNK_ROWS)
    builder = CacheBuilder(config.output, material.plan)
    print_plan("distill cache", material.describe(builder))
    if dry_run:
        return config.output
    with locked(config.output.with_name(f".{config.output.name}.lock"), f"writing {str(config.output)!r}"):
        if is_current(config.output, kind=KIND, config=to_dict(config), inputs=material.inputs):
            builder.discard()
            console.print(f"{config.output} is up to date")
        else:
            _fill(config, material, builder)
    _print_size(config.output, int(material.plan.rows.sum()))
    print_next("axk1 distill train recipes/nano/student.toml")
    return config.output


def _fill(config: CacheConfig, material: CacheMaterial, builder: CacheBuilder) -> None:
    """Makes the chunks that are missing, and the artifact."""
    plan, start = material.plan, time.perf_counter()
    if builder.state.exists() and not builder.resumable:
        console.print(f"{builder.state} holds work on other samples, settings or another teacher; it is replaced")
    scorer, tensors, where = _open_scorer(config, material)
    with progress("distill cache", total=int(plan.rows.sum()), unit="tokens") as meter:
        fill(builder, scorer, lambda part: material.samples(material.selection[part]), meter)
    seconds = round(time.perf_counter() - start, 1)
    counts = {"samples": len(plan.keys), "tokens": int(material.selection.lengths.sum()), "rows": int(plan.rows.sum())}
    counts |= {"seconds": seconds, **where}
    licences = {name: text for opened in material.shards for name, text in opened.manifest.licences.items()}
    builder.finish(config=to_dict(config), inputs=material.inputs, counts=counts, licences=licences, tensors=tensors)


def fill(
    builder: CacheBuilder, scorer: SampleScorer, samples: Callable[[slice], list[np.ndarray]], meter: Meter | None
) -> None:
    """Makes the chunks of a plan that are missing.

    Args:
        builder: where they go.
        scorer: the teacher.
        samples: the token ids of a part of the plan's samples.
        meter: is told of every position.
    """
    plan, done = builder.plan, set(builder.resume())
    if meter is not None:
        meter.skip(sum(int(plan.rows[plan.chunks[number]].sum()) for number in done))
    for number, part in enumerate(plan.chunks):
        if number not in done:
            scored = {}
            for sample, rows in scorer.score(samples(part), plan.keys[part]):
                scored[sample] = rows
                if meter is not None:
                    meter.advance(int(plan.rows[part][sample]))
            builder.write(number, concatenate([scored[sample] for sample in sorted(scored)]))


def _print_size(folder: Path, rows: int) -> None:
    """Tells what a cache takes on disk, all its files, and at each position but for what is held once."""
    sizes = {file.name: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    per_row = (sum(sizes.values()) - sizes.get(MATRIX, 0)) / max(rows, 1)
    whole = sum(sizes.values()) / 1e6
    console.print(
        f"{folder}: {whole:,.1f} MB for {rows:,} positions, {per_row:.1f} bytes at each with index and header"
    )


def _open_scorer(
    config: CacheConfig, material: CacheMaterial
) -> tuple[SampleScorer, dict[str, torch.Tensor], dict[str, str]]:
    """The teacher, what the cache holds of it once, and where it computes."""
    records = material.plan.records
    if config.asks_server and isinstance(records, TopKRecords):
        scorer = ServerScorer(config.server, records)
        scorer.check(material.samples(material.selection[:4]))
        return scorer, {}, {"device": str(config.server.base_url)}
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    teacher = open_teacher(
        config.teacher, material.facts.kind, vocab_size=records.vocab_size, device=device, precision=precision
    )
    tensors = {}
    if config.kind == "hidden":
        if teacher.weight_VH is None:
            raise ArtifactError(
                f"the logits of {str(config.teacher)!r} are not its last states times its output matrix",
                repair='set kind = "topk" or "sampled"',
            )
        tensors[MATRIX] = compact(teacher.weight_VH)
    scorer = Scorer(teacher, records, temperature=config.temperature, batch_tokens=config.batch_tokens)
    return scorer, tensors, {"precision": precision, "device": device.type}
