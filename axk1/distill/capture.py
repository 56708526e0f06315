"""``axk1 distill cache``: a teacher and shards -> what the teacher says at every position, on disk."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from axk1.core.artifact import is_current
from axk1.core.config import require, to_dict
from axk1.core.errors import ArtifactError, CheckpointError
from axk1.core.lock import locked
from axk1.core.progress import Meter, console, print_next, print_plan, progress
from axk1.distill.building import CacheBuilder, CachePlan
from axk1.distill.cache import KIND
from axk1.distill.config import CacheConfig
from axk1.distill.hidden import MATRIX, compact
from axk1.distill.material import CacheMaterial
from axk1.distill.records import TopKRecords, concatenate
from axk1.distill.scoring import SampleScorer, Scorer
from axk1.distill.server import ServerScorer
from axk1.distill.stream.plan import StreamPlan, options_of
from axk1.distill.stream.scorer import StreamScorer
from axk1.distill.stream.states import enough_disk
from axk1.distill.teachers import open_teacher
from axk1.train.parallel.processes import Processes, joined
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
    with joined(choose_device(config.device).type if config.stream else "cpu") as processes:
        return _build(config, processes, dry_run=dry_run)


def _build(config: CacheConfig, processes: Processes, *, dry_run: bool) -> Path:
    material = CacheMaterial(config, CHUNK_ROWS)
    builder = CacheBuilder(config.output, material.plan)
    stream = _plan_stream(config, material, builder, processes) if config.stream else None
    require(processes.world_size == 1 or config.stream, "stream", False, "true where torchrun starts several processes")
    if processes.is_first:
        print_plan("distill cache", material.describe(builder, stream))
    if dry_run:
        return config.output
    lock = locked(config.output.with_name(f".{config.output.name}.lock"), f"writing {str(config.output)!r}")
    with lock if processes.is_first else contextlib.nullcontext():
        processes.barrier()
        if is_current(config.output, kind=KIND, config=config, inputs=material.inputs):
            processes.barrier()
            builder.discard()
            if processes.is_first:
                console.print(f"{config.output} is up to date")
        else:
            _fill(config, material, builder, stream, processes)
    if processes.is_first:
        _print_size(config.output, int(material.plan.rows.sum()))
        print_next("axk1 distill train recipes/nano/student.toml")
    return config.output


def _fill(
    config: CacheConfig, material: CacheMaterial, builder: CacheBuilder, stream: StreamPlan | None,
    processes: Processes,
) -> None:  # fmt: skip
    """Makes the chunks that are missing, and the artifact."""
    plan, start = material.plan, time.perf_counter()
    if processes.is_first:
        if builder.state.exists() and not builder.resumable:
            console.print(f"{builder.state} holds work on other samples, settings or another teacher; it is replaced")
        builder.resume()
    processes.barrier()

    def samples(part: np.ndarray) -> list[np.ndarray]:
        return material.samples(material.selection[part])

    if stream is not None:
        tensors, where = _fill_streamed(config, builder, stream, samples, processes)
    else:
        scorer, tensors, where = _open_scorer(config, material)
        with progress("distill cache", total=int(plan.rows.sum()), unit="tokens") as meter:
            fill(builder, scorer, samples, meter)
    processes.barrier()
    if not processes.is_first:
        return
    seconds = round(time.perf_counter() - start, 1)
    counts = {"samples": len(plan.keys), "tokens": int(material.selection.lengths.sum()), "rows": int(plan.rows.sum())}
    counts |= {"seconds": seconds, **where}
    licences = {name: text for opened in material.shards for name, text in opened.manifest.licences.items()}
    builder.finish(config=to_dict(config), inputs=material.inputs, counts=counts, licences=licences, tensors=tensors)


def fill(
    builder: CacheBuilder, scorer: SampleScorer, samples: Callable[[np.ndarray], list[np.ndarray]],
    meter: Meter | None, processes: Processes | None = None,
) -> None:  # fmt: skip
    """Makes the chunks of a plan that are missing.

    Args:
        builder: where they go.
        scorer: the teacher.
        samples: the token ids of some of the plan's samples, by their numbers.
        meter: is told of every position.
        processes: who shares the work; each has its own of what a scorer is given at once.
    """
    plan, done, processes = builder.plan, set(builder.resume()), processes or Processes()
    if meter is not None:
        meter.skip(sum(int(plan.rows[plan.chunks[number]].sum()) for number in done))
    for together in _together(plan, scorer.rows_at_once)[processes.rank :: processes.world_size]:
        if missing := [number for number in together if number not in done]:
            _fill_chunks(builder, scorer, samples, missing, meter)


def _together(plan: CachePlan, rows_at_once: int) -> list[list[int]]:
    """The chunks that a scorer is given at once, the same after a kill."""
    groups, size = [], 0
    for number, part in enumerate(plan.chunks):
        rows = int(plan.rows[part].sum())
        if not groups or size + rows > rows_at_once:
            groups, size = [*groups, []], 0
        groups[-1].append(number)
        size += rows
    return groups


def _fill_chunks(
    builder: CacheBuilder, scorer: SampleScorer, samples: Callable[[np.ndarray], list[np.ndarray]],
    numbers: list[int], meter: Meter | None,
) -> None:  # fmt: skip
    """Scores the samples of some chunks together; a chunk is written as soon as all of its samples are there."""
    plan = builder.plan
    parts = [np.arange(plan.chunks[number].start, plan.chunks[number].stop) for number in numbers]
    chosen = np.concatenate(parts)
    chunk_of = np.repeat(numbers, [len(part) for part in parts]).tolist()
    left, scored = {number: len(part) for number, part in zip(numbers, parts, strict=True)}, {}
    for sample, rows in scorer.score(samples(chosen), plan.keys[chosen]):
        number = chunk_of[sample]
        scored.setdefault(number, {})[sample] = rows
        left[number] -= 1
        if meter is not None:
            meter.advance(int(plan.rows[chosen[sample]]))
        if not left[number]:
            done = scored.pop(number)
            with enough_disk(builder.state, plan.bytes, "the cache"):
                builder.write(number, concatenate([done[one] for one in sorted(done)]))


def _plan_stream(
    config: CacheConfig, material: CacheMaterial, builder: CacheBuilder, processes: Processes
) -> StreamPlan:
    """How the teacher is streamed."""
    device = choose_device(config.device)
    # What is measured may come out otherwise in another process; all do as the first one.
    wanted = processes.is_first and choose_precision(config.precision, device) == "bf16"
    precision = "bf16" if processes.sum([int(wanted)])[0] else "fp32"
    device_memory = config.device_memory
    if device_memory is None and device.type == "cuda":
        device_memory = str(torch.cuda.mem_get_info()[0] * 9 // 10)
    options = options_of(
        config.memory, device_memory, batch_tokens=config.batch_tokens, pass_tokens=config.pass_tokens,
        hardware=config.hardware,
    )  # fmt: skip
    plan = material.plan
    return StreamPlan(
        config.teacher, plan.records, plan.rows, builder.state, options, chunk=plan.chunk_rows, device=device,
        precision=precision, processes=processes.world_size,
    )  # fmt: skip


def _fill_streamed(
    config: CacheConfig, builder: CacheBuilder, plan: StreamPlan,
    samples: Callable[[np.ndarray], list[np.ndarray]], processes: Processes,
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:  # fmt: skip
    """Fills the cache from a streamed teacher. What the cache holds of it once, and where it computed."""
    if plan.files is None:
        raise CheckpointError(
            f"{str(config.teacher)!r} holds no weights", repair=f"hf download MODEL --local-dir {config.teacher}"
        )
    folder = builder.state / f"pass-{processes.rank}"
    work = plan.rows * (plan.config.num_hidden_layers + 1)
    with progress("streaming", total=work // processes.world_size, unit="tokens x layers") as meter:
        scorer = StreamScorer(
            plan, folder, teacher_hash=builder.plan.teacher_hash, temperature=config.temperature, meter=meter
        )
        scorer.rows_at_once = processes.sum([scorer.rows_at_once if processes.is_first else 0])[0]
        fill(builder, scorer, samples, None, processes)
    scorer.print_times()
    tensors = {MATRIX: compact(scorer.output_matrix())} if config.kind == "hidden" and processes.is_first else {}
    return tensors, {"precision": plan.precision, "device": plan.device.type}


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
