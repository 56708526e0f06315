"""Opens the scores of a run and compares the models: findings for the page, as ``axk1 compare`` computes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from axk1.core.errors import ArtifactError
from axk1.eval.compare import Row, compare_scores
from axk1.eval.estimates import Estimate, over_seeds
from axk1.eval.report.findings import Finding
from axk1.eval.report.run_folder import Missing, RunFolder
from axk1.eval.report.words import MODELS, Words
from axk1.eval.scores import HELDOUT, REASONING, Scores

_HEADLINES = ("heldout_ko", "heldout_en", "reasoning")
_LABELS = {
    "heldout_ko": Words("Korean text", "한국어 글"),
    "heldout_en": Words("English text", "영어 글"),
    "heldout_code": Words("code", "코드"),
    "reasoning": Words("reasoning", "추론"),
    "reasoning_think": Words("with thinking", "생각하고 답함"),
    "reasoning_no_think": Words("without thinking", "바로 답함"),
    "reasoning_ko": Words("in Korean", "한국어 문제"),
    "reasoning_en": Words("in English", "영어 문제"),
}


@dataclass(frozen=True)
class Scored:
    """All scores of a run."""

    findings: Sequence[Finding]
    by_seed: Sequence[Mapping[str, Scores]]
    """The opened scores of each seed, by role."""
    seeds: int
    """Seeds that the findings rest on."""
    missing: Sequence[Missing]


def read_scores(run: RunFolder) -> Scored:
    """Opens what there is. Seeds that lack a model's scores stay out of the comparison; what is missing is named."""
    missing: list[Missing] = []
    by_seed = [_open(run, seed.folder.name if seed.name else "", missing) for seed in run.seeds]
    whole = [scores for scores in by_seed if len(scores) == len(MODELS)]
    if whole:
        try:
            rows = compare_scores({role: [scores[role] for scores in whole] for role in MODELS})
            return Scored(_sorted([_compared(row) for row in rows]), by_seed, len(whole), missing)
        except ArtifactError as error:
            missing.append(Missing("scores", error.message))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            missing.append(Missing("scores", f"they cannot be compared: {error!r}"))
    return Scored(_sorted(_uncompared(by_seed, missing)), by_seed, max(1, sum(map(bool, by_seed))), missing)


def _open(run: RunFolder, seed: str, missing: list[Missing]) -> dict[str, Scores]:
    opened = {}
    for role in MODELS:
        folder = run.path / seed / "scores" / role
        try:
            opened[role] = Scores.open(folder)
        except ArtifactError as error:
            missing.append(Missing(str(folder.relative_to(run.path)), f"{error.message} (made by: axk1 eval)"))
    return opened


def _compared(row: Row) -> Finding:
    return _finding(row.task, row.values, row.gain, row.gap)


def _uncompared(by_seed: Sequence[Mapping[str, Scores]], missing: list[Missing]) -> list[Finding]:
    """Each model's own values, where not all three were scored, or not on the same items."""
    values: dict[str, dict[str, Estimate]] = {}
    for role in MODELS:
        try:
            measured = [scores[role].measures for scores in by_seed if role in scores]
            for task in dict.fromkeys(task for found in measured for task in found):
                own = [found[task].estimate for found in measured if task in found]
                mean = own[0] if len(own) == 1 else over_seeds([estimate.value for estimate in own])
                values.setdefault(task, {})[role] = mean
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            missing.append(Missing(f"scores/{role}", f"its samples cannot be read: {error!r}"))
    return [_finding(task, estimates, None, None) for task, estimates in values.items()]


def _finding(task: str, values: Mapping[str, Estimate], difference: Estimate | None, gap: Estimate | None) -> Finding:
    label = _LABELS.get(task, task.removeprefix(REASONING).removeprefix(HELDOUT).replace("_", " "))
    group = "text" if task.startswith(HELDOUT) else "reasoning" if task in _LABELS else "task"
    return Finding(task, label, group, task in _HEADLINES, values, difference, gap)


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    order = list(_LABELS)
    return sorted(findings, key=lambda f: (order.index(f.task) if f.task in order else len(order), f.task))
