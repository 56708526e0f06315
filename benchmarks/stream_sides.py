"""The sides of ``stream.py``: each takes a checkpoint, texts [B, T], memory and threads, and scores the texts.

A side returns seconds and ``scores`` [B, T - 1], the log-probability of each next token, or ``skipped`` and why.
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

from axk1.distill.stream.groups import Group
from axk1.distill.stream.read_ahead import ReadAhead
from axk1.engine.quantised.packed_files import open_weights
from axk1.model.checkpoint import load_model

BATCH = 8192
"""Tokens that go through the model in memory at once."""
_ROWS = 256
"""Positions whose logits are held at once."""


def disk(folder: Path, _ids: Tensor, memory: int, threads: int) -> dict[str, Any]:
    """Reads the checkpoint and does nothing with it: what the disk gives."""
    groups = [Group(name, (weight,)) for name, weight in open_weights(folder).weights.items()]
    ahead = ReadAhead(groups, threads=threads, budget_bytes=memory // 2)
    began = time.perf_counter()
    for _ in ahead:
        pass
    return {"seconds": time.perf_counter() - began, "bytes": float(ahead.bytes_read)}


@torch.inference_mode()
def in_memory(folder: Path, ids_BT: Tensor, _memory: int, _threads: int) -> dict[str, Any]:
    """``load_model`` in float32."""
    needed, there = 2 * sum(f.stat().st_size for f in folder.glob("*.safetensors")), available()
    if needed > 0.9 * there:
        return {"skipped": f"takes {needed / 1e9:.0f} GB in float32, and {there / 1e9:.0f} GB are free"}
    model = load_model(folder, dtype=torch.float32)
    model(ids_BT[:1, :16])  # what is set up at the first call
    began, scores = time.perf_counter(), []
    for batch_BT in ids_BT.split(max(BATCH // ids_BT.shape[1], 1)):
        states_BTH = model.hidden(batch_BT).states_BTH
        scores.append(next_log_probs(states_BTH, model.output_weight, batch_BT))
    return {"seconds": time.perf_counter() - began, "scores": np.concatenate(scores)}


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
        logits_BTV = model(ids_BT, use_cache=False).logits
        scores = log_probs_of(logits_BTV[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten())
        return {"seconds": time.perf_counter() - began, "scores": scores.view(len(ids_BT), -1).numpy()}
    finally:
        shutil.rmtree(offload, ignore_errors=True)


def next_log_probs(states_BTH: Tensor, weight_VH: Tensor, ids_BT: Tensor) -> np.ndarray:
    """The log-probability of each next token [B, T - 1], some positions' logits at a time."""
    states_RH, targets_R = states_BTH[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten()
    parts = zip(states_RH.split(_ROWS), targets_R.split(_ROWS), strict=True)
    found = torch.cat([log_probs_of(states @ weight_VH.T, targets) for states, targets in parts])
    return found.view(len(ids_BT), -1).numpy()


def log_probs_of(logits_RV: Tensor, targets_R: Tensor) -> Tensor:
    """log softmax at the targets [R]."""
    return logits_RV.gather(1, targets_R[:, None])[:, 0] - logits_RV.logsumexp(1)


def drop_from_cache(*folders: Path) -> None:
    """Lets the kernel forget the pages of all files in some folders."""
    for file in (file for folder in folders for file in folder.rglob("*") if file.is_file()):
        number = os.open(file, os.O_RDONLY)
        os.fsync(number)  # pages that are not on disk yet stay
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)


def available() -> int:
    """Bytes of memory that programs can still take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


SIDES = {"disk": disk, "in memory": in_memory, "accelerate": accelerate}
