"""The kinds of a knowledge cache by name."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from axk1.distill.hidden import HiddenRecords, HiddenStates
from axk1.distill.records import ORDER, Distributions, Records, TokenRanks, TopKRecords
from axk1.distill.sampled import Draws, SampledRecords
from axk1.distill.text_records import TextTopKRecords


def records_of(description: dict[str, Any], folder: Path) -> Records:
    """The record format that a ``cache.json`` describes. Raises ValueError for a kind that is not known."""
    sizes = {name: value for name, value in description.items() if name != "kind"}
    of_top_k = ("top_k", "tail_samples", "vocab_size", "steps_per_nat")
    match description.get("kind"):
        case TopKRecords.kind:
            return _with_ranks(TopKRecords, of_top_k, sizes, folder)
        case TextTopKRecords.kind:
            return _with_ranks(TextTopKRecords, of_top_k, sizes, folder)
        case SampledRecords.kind:
            return _with_ranks(SampledRecords, ("draws", "vocab_size"), sizes, folder)
        case HiddenRecords.kind:
            return HiddenRecords(int(sizes["hidden_size"]), int(sizes["vocab_size"]))
    kinds = ", ".join(repr(one.kind) for one in (TopKRecords, TextTopKRecords, SampledRecords, HiddenRecords))
    raise ValueError(f"kind = {description.get('kind')!r} is not known; allowed: {kinds}")


def arrays_of(rows: Distributions | Draws | HiddenStates) -> dict[str, np.ndarray]:
    """Looked-up rows as arrays, by the names that a loss gives its targets, one entry per position.

    ``topk``: ``ids_NK`` int64, ``log_probs_NK``, ``log_tail_N``, ``tail_ids_NS`` int64, ``entropy_N`` (fp32).
    ``topk_text``: these and ``text_log_probs_N``, see ``TextDistributions``.
    ``sampled``: ``ids_NS`` and ``counts_NS`` int64 (over their sum they are weights), ``entropy_N``.
    ``hidden``: ``states_NH`` uint16, the bits of bf16: ``torch.from_numpy(states_NH).view(torch.bfloat16)``; with
    ``KnowledgeCache.output_matrix()`` they are the teacher's logits. A row of zeros is a state of zeros.
    """
    return {one.name.replace("_R", "_N"): getattr(rows, one.name) for one in fields(rows)}


def _with_ranks(cls: Any, names: tuple[str, ...], sizes: dict[str, Any], folder: Path) -> Records:
    ranks = TokenRanks(np.fromfile(folder / ORDER, "<u4"))
    return cls(**{name: int(sizes[name]) for name in names}, ranks=ranks)
