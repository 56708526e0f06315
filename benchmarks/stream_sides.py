"""The sides of ``stream.py``: each takes a checkpoint, texts [B, T], memory and threads, and scores the texts.

A side returns seconds and ``scores`` [B x (T - 1), 16], the log-probabilities of the best tokens at each position, or
``skipped`` and why.
"""

import importlib.util
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from axk1.distill.cache import KEY_BYTES
from axk1.distill.records import TokenRanks, TopKRecords
from axk1.distill.scoring import SampleScorer, Scorer
from axk1.distill.stream.groups import Group
from axk1.distill.stream.memory import chunk_rows
from axk1.distill.stream.plan import StreamOptions, StreamPlan
from axk1.distill.stream.read_ahead import ReadAhead
from axk1.distill.stream.scorer import StreamScorer
from axk1.distill.teachers import OwnTeacher
from axk1.engine.quantised.packed_files import open_weights
from axk1.model.config import ModelConfig

BATCH = 8192
"""Tokens that go through the model at once, in memory and in the stream."""
_SLACK = 128 << 20
"""What the program takes beside what it plans: code that is loaded at its first use."""
BEST = 16
"""Tokens whose log-probabilities are the result."""


def disk(folder: Path, _ids: Tensor, memory: int, threads: int) -> dict[str, Any]:
    """Reads the checkpoint and does nothing with it: what the disk gives."""
    groups = [Group(name, (weight,)) for name, weight in open_weights(folder).weights.items()]
    ahead = ReadAhead(groups, threads=threads, budget_bytes=memory // 2)
    began = time.perf_counter()
    for _ in ahead:
        pass
    return {"seconds": time.perf_counter() - began, "bytes": float(ahead.bytes_read)}


def stream(folder: Path, ids_BT: Tensor, memory: int, threads: int) -> dict[str, Any]:
    """``axk1 distill cache --stream``, in float32, without writing the cache."""
    records, texts, state = records_of(folder), len(ids_BT), folder.parent / "states"
    lengths, room = np.full(texts, ids_BT.shape[1] - 1), memory - status("VmHWM") - _SLACK
    options = StreamOptions(room, None, batch_tokens=BATCH, pass_tokens=None, hardware=None, threads=threads)
    plan = StreamPlan(
        folder, records, lengths, state, options, chunk=chunk_rows(records, room, int(lengths.sum())),
        device=torch.device("cpu"), precision="fp32",
    )  # fmt: skip
    try:
        scorer = StreamScorer(plan, state, teacher_hash=folder.name, temperature=1.0)
        result = scored(scorer, ids_BT)
    finally:
        shutil.rmtree(state, ignore_errors=True)
    predicted = plan.predicted(int(lengths.sum()), scorer.passes)
    work = sum(seconds for name, seconds in predicted.items() if name != "read")
    figures = {"bytes": float(scorer.read), "waited": scorer.times.seconds["waiting"], "passes": scorer.passes}
    figures |= {"predicted": max(predicted["read"], work)}
    return result | figures | {f"{name} (s)": seconds for name, seconds in scorer.times.seconds.items()}


def in_memory(folder: Path, ids_BT: Tensor, _memory: int, _threads: int) -> dict[str, Any]:
    """The teacher of ``axk1 distill cache``, in float32."""
    needed, there = 2 * sum(f.stat().st_size for f in folder.glob("*.safetensors")), available()
    if needed > 0.9 * there:
        return {"skipped": f"takes {needed / 1e9:.0f} GB in float32, and {there / 1e9:.0f} GB are free"}
    records = records_of(folder)
    teacher = OwnTeacher(folder, vocab_size=records.vocab_size, device=torch.device("cpu"), precision="fp32")
    teacher.states(ids_BT[:1, :16])  # what is set up at the first call
    return scored(Scorer(teacher, records, temperature=1.0, batch_tokens=BATCH), ids_BT)


@torch.inference_mode()
def accelerate(folder: Path, ids_BT: Tensor, memory: int, _threads: int) -> dict[str, Any]:
    """transformers with ``device_map="auto"``: what does not fit the memory lies on disk."""
    for package in ("transformers", "accelerate"):
        if importlib.util.find_spec(package) is None:
            return {"skipped": f"{package} is not installed"}
    needed, there = 2 * sum(f.stat().st_size for f in folder.glob("*.safetensors")), shutil.disk_usage(folder).free
    if needed > 0.95 * there:
        return {"skipped": f"takes {needed / 1e9:.0f} GB of disk in float32, and {there / 1e9:.0f} GB are free"}
    import transformers

    offload = folder.parent / "offload"
    try:
        model = transformers.AXK1ForCausalLM.from_pretrained(
            folder, dtype=torch.float32, device_map="auto", max_memory={"cpu": memory}, offload_folder=offload
        ).eval()
        drop_from_cache(offload, folder)
        began = time.perf_counter()
        logits_RV = model(ids_BT[:, :-1], use_cache=False).logits.flatten(0, 1)
        scores_RK = logits_RV.topk(BEST, 1).values - logits_RV.logsumexp(1, keepdim=True)
        return {"seconds": time.perf_counter() - began, "scores": scores_RK.numpy()}
    finally:
        shutil.rmtree(offload, ignore_errors=True)


def records_of(folder: Path) -> TopKRecords:
    """The best tokens at each position, and no draws from the others."""
    vocabulary = ModelConfig.load(folder).vocab_size
    return TopKRecords(BEST, 0, vocabulary, TokenRanks(np.arange(vocabulary)))


def scored(scorer: SampleScorer, ids_BT: Tensor) -> dict[str, Any]:
    """What a scorer of ours makes of the texts, and how long it takes."""
    keys = np.zeros((len(ids_BT), KEY_BYTES), np.uint8)
    keys[:, :8] = np.arange(len(ids_BT), dtype=">u8").view(np.uint8).reshape(-1, 8)
    step = max(scorer.rows_at_once // (ids_BT.shape[1] - 1), 1) if scorer.rows_at_once else len(ids_BT)
    began, cpu, scores = time.perf_counter(), time.process_time(), []
    for first in range(0, len(ids_BT), step):
        rows = dict(scorer.score(list(ids_BT[first : first + step].numpy()), keys[first : first + step]))
        scores += [rows[number].log_probs_RK for number in sorted(rows)]
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "scores": np.concatenate(scores)}


def drop_from_cache(*folders: Path) -> None:
    """Lets the kernel forget the pages of all files in some folders."""
    for file in (file for folder in folders for file in folder.rglob("*") if file.is_file()):
        number = os.open(file, os.O_RDONLY)
        os.fsync(number)  # pages that are not on disk yet stay
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)


def available() -> int:
    """Bytes of memory that programs can still take."""
    return _kernel_says("/proc/meminfo", "MemAvailable")


def status(name: str) -> int:
    """A figure of this process in bytes: VmHWM is the most that it has held."""
    return _kernel_says("/proc/self/status", name)


def _kernel_says(file: str, name: str) -> int:
    lines = Path(file).read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


SIDES = {"disk": disk, "stream": stream, "in memory": in_memory, "accelerate": accelerate}
