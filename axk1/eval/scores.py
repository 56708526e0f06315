"""Scores: an artifact with ``results.json`` in lm-evaluation-harness's form and ``samples_<task>.jsonl``.

The samples hold everything; ``measures`` turns them into the numbers of ``results.json``, and a comparison turns the
samples of two models into paired differences. Tasks:

- ``heldout_ko``, ``heldout_en``: bits per byte of held-out documents; a unit is a document;
- ``reasoning_<dataset>``: exact match on problems of one dataset of reasoning-gym; a unit is a problem, which may be
  asked several times (with and without thinking, in two languages);
- ``reasoning`` and its parts ``reasoning_ko``, ``reasoning_en``, ``reasoning_think``, ``reasoning_no_think``: groups
  over all datasets.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axk1.core.artifact import read_manifest
from axk1.core.errors import ArtifactError
from axk1.eval.estimates import Estimate, ratio

KIND = "scores"
RESULTS = "results.json"
MADE_BY = "axk1 eval recipes/nano/eval.toml --model MODEL --output SCORES"
HELDOUT, REASONING = "heldout_", "reasoning_"
_GROUPS = {
    "reasoning": {},
    "reasoning_ko": {"language": "ko"},
    "reasoning_en": {"language": "en"},
    "reasoning_think": {"mode": "think"},
    "reasoning_no_think": {"mode": "no_think"},
}
"""Groups over all reasoning tasks, and what a sample's ``doc`` must say to belong to one."""

Sample = dict[str, Any]
"""A line of ``samples_<task>.jsonl``."""


@dataclass(frozen=True)
class Measure:
    """One number about a model, as a ratio of sums over units."""

    task: str
    metric: str
    """``bits_per_byte`` or ``exact_match``."""
    units: Mapping[str, tuple[float, float]]
    """Numerator and denominator of each document or problem."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is a better model."""
        return self.metric == "exact_match"

    @property
    def estimate(self) -> Estimate:
        """The value with its sampling error."""
        return ratio(*self.columns(list(self.units)))

    def columns(self, units: Sequence[str]) -> tuple[list[float], list[float]]:
        """Numerators and denominators of these units, in this order."""
        return [self.units[unit][0] for unit in units], [self.units[unit][1] for unit in units]


@dataclass(frozen=True)
class Scores:
    """A scores artifact, read."""

    folder: Path
    results: Mapping[str, Any]
    """The content of ``results.json``."""
    samples: Mapping[str, Sequence[Sample]]
    """The samples of each task."""

    @property
    def measures(self) -> dict[str, Measure]:
        """The measures by task or group."""
        return measures(self.samples)

    @classmethod
    def open(cls, folder: str | Path) -> "Scores":
        """Reads a scores artifact. Raises ArtifactError when it is missing, incomplete or corrupt."""
        folder = Path(folder)
        read_manifest(folder, kind=KIND, made_by=MADE_BY)
        try:
            results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
            samples = {task: _read_lines(samples_path(folder, task)) for task in results["configs"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"the scores in {str(folder)!r} cannot be read: {error}", repair=MADE_BY) from None
        return cls(folder, results, samples)


def measures(samples: Mapping[str, Sequence[Sample]]) -> dict[str, Measure]:
    """Everything that the samples of a model say, by task or group; groups without samples are left out."""
    found = {}
    reasoning = [sample for task, lines in samples.items() if task.startswith(REASONING) for sample in lines]
    for group, wanted in _GROUPS.items():
        members = [sample for sample in reasoning if wanted.items() <= sample["doc"].items()]
        if members:
            found[group] = _exact_match(group, members)
    for task, lines in samples.items():
        if lines:
            found[task] = _exact_match(task, lines) if task.startswith(REASONING) else _bits_per_byte(task, lines)
    return dict(sorted(found.items(), key=lambda item: (not item[0].startswith(HELDOUT), item[0])))


def samples_path(folder: Path, task: str) -> Path:
    """Where the samples of a task lie."""
    return folder / f"samples_{task}.jsonl"


def _bits_per_byte(task: str, lines: Sequence[Sample]) -> Measure:
    return Measure(task, "bits_per_byte", {line["doc_id"]: (line["bits"], line["bytes"]) for line in lines})


def _exact_match(task: str, lines: Sequence[Sample]) -> Measure:
    units: dict[str, tuple[float, float]] = {}
    for line in lines:
        points, answers = units.get(line["doc"]["problem"], (0.0, 0.0))
        units[line["doc"]["problem"]] = (points + line["exact_match"], answers + 1)
    return Measure(task, "exact_match", units)


def _read_lines(path: Path) -> list[Sample]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
