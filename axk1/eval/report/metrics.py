"""Reads ``metrics.jsonl``, the log of a training run, also when the run was killed in the middle of a line."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Metrics:
    """The logged steps of one run, in order."""

    records: Sequence[Mapping[str, Any]]
    """One mapping a step, as it was logged."""
    unreadable: int = 0
    """How many lines were no JSON object with a step."""

    def __len__(self) -> int:
        return len(self.records)

    def column(self, name: str) -> np.ndarray:
        """The values of a field, float64 [steps]; NaN where a step lacks it or it is no number."""
        return np.array([_number(record.get(name)) for record in self.records], dtype=np.float64)

    def has(self, name: str) -> bool:
        """Whether any step has a finite value of the field."""
        return bool(np.isfinite(self.column(name)).any())

    def expert_load(self) -> list[tuple[int, np.ndarray]]:
        """(index of the step, load [sparse layers, experts]) of the steps that logged a whole matrix."""
        found = []
        for i, record in enumerate(self.records):
            load = _matrix(record.get("expert_load"))
            if load is not None:
                found.append((i, load))
        return found

    @property
    def not_finite(self) -> int:
        """How many steps logged a loss that is no finite number."""
        return sum("loss" in record and not math.isfinite(_number(record["loss"])) for record in self.records)


def read_metrics(path: Path) -> Metrics:
    """Reads a log. A missing or empty file gives no steps; of a step logged twice (a resumed run) the later counts."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return Metrics([])
    by_step: dict[int, Mapping[str, Any]] = {}
    unreadable = 0
    for line in filter(str.strip, lines):
        record = _record(line)
        if record is None:
            unreadable += 1
        else:
            by_step[record["step"]] = record
    return Metrics([by_step[step] for step in sorted(by_step)], unreadable)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """A centred moving average over about ``width`` steps that passes over NaN; float64 [n] -> [n]."""
    if width <= 1 or not len(values):
        return values
    known = np.isfinite(values)
    kernel = np.ones(min(width, len(values)) | 1)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="full")
    count = np.convolve(known.astype(float), kernel, mode="full")
    half = len(kernel) // 2
    inside = slice(half, half + len(values))
    average = np.divide(total[inside], count[inside], out=np.full(len(values), np.nan), where=count[inside] > 0)
    return np.where(known, average, np.nan)


def thin(x: np.ndarray, y: np.ndarray, points: int) -> list[tuple[float, float]]:
    """At most ``points`` (x, y) pairs: means of equal runs of steps; a run without a finite value stays a gap."""
    groups = np.array_split(np.arange(len(x)), min(points, len(x))) if len(x) else []
    return [(float(np.mean(x[group])), _mean(y[group])) for group in groups]


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    step = record.get("step") if isinstance(record, dict) else None
    return record if isinstance(step, int) and not isinstance(step, bool) else None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _matrix(value: Any) -> np.ndarray | None:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return matrix if matrix.ndim == 2 and matrix.size and np.isfinite(matrix).all() else None
