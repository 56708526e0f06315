"""``axk1 compare``: teacher, control and student side by side, with paired differences.

Every comparison is between answers to the same problems and bits of the same documents, so what makes a problem hard
for both drops out of the difference. With one seed the errors are sampling errors, by the jackknife over documents or
problems (paired: a unit is left out of both models at once). With several seeds they are errors over seeds, from one
paired difference per seed; fresh problems and fresh training are both in them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from axk1.core import artifact
from axk1.core.config import require, to_dict
from axk1.core.errors import ArtifactError
from axk1.core.progress import console, print_next, print_plan
from axk1.eval.estimates import Estimate, difference, gap_closed, gap_closed_over_seeds, over_seeds
from axk1.eval.scores import MADE_BY, Measure, Scores

KIND = "comparison"
COMPARISON = "comparison.json"
ROLES = ("teacher", "control", "student")
_ERROR_OF_ONE_SEED = (
    "One seed. Standard errors are sampling errors: the jackknife over documents (bits per byte) or problems (exact "
    "match); differences are paired, a unit left out of both models at once. They say nothing about other seeds."
)
_ERROR_OF_SEEDS = (
    "{seeds} seeds. A value is the mean over seeds; its standard error is s / sqrt({seeds}) over seeds. Differences "
    "are taken within each seed, on the same problems and documents; their error is that of the {seeds} differences."
)
_BEYOND = "A difference counts as beyond the error when its 95 % interval by Student's t leaves out zero."


@dataclass(frozen=True)
class CompareConfig:
    """Which scores to compare."""

    output: Path
    """Folder to write the comparison to."""
    run: Path | None = None
    """Folder of a run: its scores lie in ``scores/<model>``, those of further seeds, where complete, in
    ``seed-*/scores/<model>``."""
    teacher: tuple[Path, ...] = ()
    """Scores of the teacher, one folder for each seed; instead of ``run``."""
    control: tuple[Path, ...] = ()
    """Scores of the student trained without the teacher, seeds in the same order."""
    student: tuple[Path, ...] = ()
    """Scores of the student that was taught, seeds in the same order."""

    def __post_init__(self) -> None:
        named = [len(getattr(self, role)) for role in ROLES]
        require((self.run is None) == any(named), "run", self.run, "a folder, or scores of all three models instead")
        require(len(set(named)) == 1, "teacher, control, student", named, "the same number of folders for each")


@dataclass(frozen=True)
class Row:
    """One measure of all models."""

    task: str
    metric: str
    higher_is_better: bool
    values: Mapping[str, Estimate]
    """By role."""
    gain: Estimate
    """The student's value minus the control's."""
    gap: Estimate | None
    """The share of the way from control to teacher that the student has gone; None when they are equal."""

    @property
    def beyond_error(self) -> bool:
        """Whether the difference between student and control is more than chance explains."""
        interval = self.gain.interval
        return interval is not None and not interval[0] <= 0 <= interval[1]

    @property
    def student_ahead(self) -> bool:
        """Whether the student is better than the control beyond the error."""
        return self.beyond_error and (self.gain.value > 0) == self.higher_is_better


def compare(config: CompareConfig, *, dry_run: bool = False) -> Path:
    """Compares the models, prints the table and writes ``comparison.json``.

    Returns:
        The output folder.

    Raises:
        ArtifactError: scores are missing, or were not taken with the same problems and documents.
    """
    folders = score_folders(config)
    seeds = len(folders["student"])
    print_plan(
        "compare",
        {**{role: ", ".join(map(str, paths)) for role, paths in folders.items()}, "output": config.output},
    )
    if dry_run:
        return config.output
    rows = compare_scores({role: [Scores.open(path) for path in paths] for role, paths in folders.items()})
    _write(config, folders, rows)
    _print_table(rows, seeds)
    print_next(f"axk1 report {config.run or config.output.parent}")
    return config.output


def score_folders(config: CompareConfig) -> dict[str, list[Path]]:
    """The scores of each role, one folder per seed, in the same order of seeds."""
    if config.run is None:
        return {role: list(getattr(config, role)) for role in ROLES}
    runs = [config.run]
    for path in sorted(config.run.glob("seed-*"), key=lambda path: (len(path.name), path.name)):
        if all((path / "scores" / role / artifact.MANIFEST).exists() for role in ROLES):
            runs.append(path)
        else:
            console.print(f"{path} is left out: it does not have the scores of all three models")
    return {role: [run / "scores" / role for run in runs] for role in ROLES}


def compare_scores(scores: Mapping[str, Sequence[Scores]]) -> list[Row]:
    """One row for each measure that all models have.

    Args:
        scores: by role (teacher, control, student), one for each seed, seeds in the same order.

    Raises:
        ArtifactError: models of one seed were measured on different problems or documents.
    """
    measured = {role: [found.measures for found in of_role] for role, of_role in scores.items()}
    for seed, student in enumerate(measured["student"]):
        for role in ROLES:
            _check_same_units(student, measured[role][seed], scores["student"][seed], scores[role][seed])
    return [_row(task, {role: [m[task] for m in measured[role]] for role in ROLES}) for task in measured["student"][0]]


def _check_same_units(first: Mapping[str, Measure], second: Mapping[str, Measure], one: Scores, other: Scores) -> None:
    same = first.keys() == second.keys() and all(
        measure.units.keys() == second[task].units.keys()
        and all(measure.units[unit][1] == second[task].units[unit][1] for unit in measure.units)
        for task, measure in first.items()
    )
    if not same:
        raise ArtifactError(
            f"{str(one.folder)!r} and {str(other.folder)!r} were not measured on the same problems and documents",
            repair=f"{MADE_BY} for both, with the same recipe and seed",
        )


def _row(task: str, of_role: Mapping[str, Sequence[Measure]]) -> Row:
    measure = of_role["student"][0]
    single = len(of_role["student"]) == 1
    values, gain, gap = _one_seed(of_role) if single else _several_seeds(of_role)
    return Row(task, measure.metric, measure.higher_is_better, values, gain, gap)


_Comparison = tuple[dict[str, Estimate], Estimate, Estimate | None]


def _one_seed(of_role: Mapping[str, Sequence[Measure]]) -> _Comparison:
    units = list(of_role["student"][0].units)
    columns = {role: measures[0].columns(units) for role, measures in of_role.items()}
    values = {role: measures[0].estimate for role, measures in of_role.items()}
    gain = difference(columns["student"], columns["control"])
    return values, gain, gap_closed(columns["control"], columns["teacher"], columns["student"])


def _several_seeds(of_role: Mapping[str, Sequence[Measure]]) -> _Comparison:
    by_seed = {role: [measure.estimate.value for measure in measures] for role, measures in of_role.items()}
    gains = [student - control for student, control in zip(by_seed["student"], by_seed["control"], strict=True)]
    gap = gap_closed_over_seeds(by_seed["control"], by_seed["teacher"], by_seed["student"])
    return {role: over_seeds(values) for role, values in by_seed.items()}, over_seeds(gains), gap


def _write(config: CompareConfig, folders: Mapping[str, Sequence[Path]], rows: Sequence[Row]) -> None:
    seeds = len(folders["student"])
    content = {
        "seeds": seeds,
        "errors": _errors(seeds),
        "models": {role: list(map(str, paths)) for role, paths in folders.items()},
        "measures": [_plain(row) for row in rows],
    }
    inputs = {
        f"{role}-{seed}": artifact.read_manifest(path).content_hash
        for role, paths in folders.items()
        for seed, path in enumerate(paths)
    }
    with artifact.building(config.output) as folder:
        (folder / COMPARISON).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        artifact.write_manifest(folder, kind=KIND, config=to_dict(config), inputs=inputs)


def _errors(seeds: int) -> str:
    return f"{_ERROR_OF_ONE_SEED if seeds == 1 else _ERROR_OF_SEEDS.format(seeds=seeds)} {_BEYOND}"


def _plain(row: Row) -> dict[str, Any]:
    def estimate(found: Estimate | None) -> dict[str, Any] | None:
        if found is None:
            return None
        interval = list(found.interval) if found.interval else None
        return {"value": found.value, "stderr": found.stderr, "interval_95": interval, "n": found.n}

    return {
        "task": row.task,
        "metric": row.metric,
        "higher_is_better": row.higher_is_better,
        **{role: estimate(row.values[role]) for role in ROLES},
        "student_minus_control": estimate(row.gain),
        "beyond_error": row.beyond_error,
        "student_ahead": row.student_ahead,
        "gap_closed": estimate(row.gap),
    }


def _print_table(rows: Sequence[Row], seeds: int) -> None:
    table = Table(title="Teacher, control and student, ± standard error", title_justify="left")
    table.add_column("measure", no_wrap=True)
    for heading in (*ROLES, "student - control", "gap closed"):
        table.add_column(heading, justify="right")
    for row in rows:
        show: Callable[[float], str] = _percent if row.higher_is_better else _bits
        style = "bold green" if row.student_ahead else "red" if row.beyond_error else ""
        gap = "-" if row.gap is None else _with_error(row.gap, _percent)
        gain = f"{'+' if row.gain.value > 0 else ''}{_with_error(row.gain, show)}"
        values = [_with_error(row.values[role], show) for role in ROLES]
        name = f"{row.task}  {'exact match ↑' if row.higher_is_better else 'bits per byte ↓'}"
        table.add_row(name, *values, f"[{style}]{gain}[/]" if style else gain, gap)
    output = Console(highlight=False)
    output.width = max(output.width, 120)  # a narrow table would break every number in two
    output.print(table)
    output.print("↓ lower is better, ↑ higher is better. ", end="")
    output.print(f"Green: the student is ahead beyond the error; red: behind. {_errors(seeds)}")


def _with_error(estimate: Estimate, show: Callable[[float], str]) -> str:
    error = "" if estimate.stderr is None else f" ± {show(estimate.stderr)}"
    return f"{show(estimate.value)}{error}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _bits(value: float) -> str:
    return f"{value:.3f}"
