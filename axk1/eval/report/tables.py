"""The words and tables at the top of the page: what was made, the key figures, the scores, the models."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from axk1.core.progress import human
from axk1.eval.estimates import Estimate
from axk1.eval.report.findings import Finding
from axk1.eval.report.run_folder import RunFolder, TrainedModel
from axk1.eval.report.words import MODELS, STAGES, Text, Words, count, span

NONE = Words("–", "–")


@dataclass(frozen=True)
class Card:
    """One key figure."""

    title: Words
    value: Text
    versus: Words
    """What it is to be held against."""


@dataclass(frozen=True)
class Cell:
    """A number of a table with its standard error."""

    value: str
    error: str = ""


@dataclass(frozen=True)
class Judgement:
    """A verdict on one row: a sign and words, so that colour is not needed."""

    tone: str
    sign: str
    words: Words


@dataclass(frozen=True)
class ScoreRow:
    """One finding of the score table."""

    label: Text
    cells: Sequence[Cell | None]
    difference: Cell | None
    verdict: Judgement
    share: Cell | None
    """Share of the gap closed."""


@dataclass(frozen=True)
class ScoreGroup:
    """Rows under one heading."""

    title: Words
    rows: Sequence[ScoreRow]


@dataclass(frozen=True)
class ModelRow:
    """One trained model, or the mean of it over the seeds."""

    name: Words
    architecture: str
    total: Words
    active: Words
    tokens: Words
    seconds: Words
    rate: str


_JUDGEMENTS = {
    "ahead": Judgement("good", "▲", Words("student ahead", "학생 우위")),
    "behind": Judgement("bad", "▼", Words("student behind", "학생 열세")),
    "level": Judgement("even", "=", Words("within the error", "오차 이내")),
    "unknown": Judgement("even", "", NONE),
}
_GROUPS = {
    "text": Words("Held-out text, bits per byte (lower is better)", "따로 떼어 둔 글, 바이트당 비트(낮을수록 좋음)"),
    "reasoning": Words(
        "Fresh reasoning problems, exact match (higher is better)", "새 추론 문제, 정답률(높을수록 좋음)"
    ),
}


def score_rows(findings: Sequence[Finding]) -> list[ScoreGroup]:
    """The score table: text and reasoning; single tasks have a chart of their own."""
    groups = []
    for group, title in _GROUPS.items():
        rows = [_score_row(f) for f in findings if f.group == group]
        if rows:
            groups.append(ScoreGroup(title, rows))
    return groups


def _score_row(finding: Finding) -> ScoreRow:
    cells = [_cell(finding, finding.values.get(role)) for role in MODELS]
    difference = None
    if finding.difference is not None and math.isfinite(finding.difference.value):
        written = finding.write_difference(finding.difference.value)
        difference = Cell(written, finding.write_error(finding.difference))
    return ScoreRow(finding.label, cells, difference, _JUDGEMENTS[finding.outcome], _share(finding.share))


def _share(share: Estimate | None) -> Cell | None:
    if share is None:
        return None
    known = share.stderr is not None and math.isfinite(share.stderr)
    return Cell(f"{100 * share.value:.0f} %", f"{100 * share.stderr:.0f}" if known else "")


def _cell(finding: Finding, estimate: Estimate | None) -> Cell | None:
    if estimate is None or not math.isfinite(estimate.value):
        return None
    return Cell(finding.write(estimate.value), finding.write_error(estimate))


def cards(findings: Sequence[Finding], run: RunFolder) -> list[Card]:
    """A few key figures: the headline findings, and how long it all took."""
    made = [_score_card(f) for f in findings if f.headline and "student" in f.values]
    seconds, note = total_seconds(run)
    if seconds:
        made.append(Card(Words("Wall time", "소요 시간"), span(seconds), note))
    return made


def _score_card(finding: Finding) -> Card:
    def of(role: str) -> str:
        return finding.write(finding.values[role].value) if role in finding.values else "–"

    versus = Words(f"control {of('control')}, teacher {of('teacher')}", f"대조군 {of('control')}, 교사 {of('teacher')}")
    label = finding.label if isinstance(finding.label, Words) else Words(finding.label, finding.label)
    unit = Words("bits per byte", "바이트당 비트") if finding.group == "text" else Words("exact match", "정답률")
    title = Words(f"Student, {label.en}: {unit.en}", f"학생, {label.ko}: {unit.ko}")
    return Card(title, of("student"), versus)


def made_sentence(run: RunFolder) -> Words:
    """What was made, in one sentence."""
    teacher, student = _mean_model(run, "teacher") or _mean_model(run, "base"), _mean_model(run, "student")
    if teacher is None or teacher.size is None:
        return Words("This run has no finished teacher yet.", "이 실행에는 아직 완성된 교사가 없습니다.")
    kind = Words("mixture-of-experts teacher", "전문가 혼합 교사")
    size = teacher.size
    en = f"A {kind.en} of {human(size.total)} parameters ({human(size.active)} active)"
    ko = f"파라미터 {count(size.total).ko} 개(활성 {count(size.active).ko} 개)의 {kind.ko} 모델"
    if student is None or student.size is None:
        return Words(f"{en} was trained; there is no student yet.", f"{ko}을 학습했습니다. 학생은 아직 없습니다.")
    return Words(
        f"{en} taught a dense student of {human(student.size.total)} parameters; the control is the same student "
        f"trained on the same tokens without a teacher.",
        f"{ko}이 파라미터 {count(student.size.total).ko} 개의 밀집 학생 모델을 가르쳤습니다. "
        f"대조군은 같은 토큰으로 교사 없이 학습한 같은 모델입니다.",
    )


def _mean_model(run: RunFolder, role: str) -> TrainedModel | None:
    return next((s.models[role] for s in run.seeds if role in s.models and s.models[role].size), None)


def model_rows(run: RunFolder) -> list[ModelRow]:
    """One row a model, with tokens, time and speed as means over the seeds."""
    rows = []
    for role in ("base", *MODELS):
        models = [seed.models[role] for seed in run.seeds if role in seed.models]
        if models:
            rows.append(_model_row(role, models))
    return rows


def _model_row(role: str, models: Sequence[TrainedModel]) -> ModelRow:
    size = next((f.size for f in models if f.size is not None), None)
    tokens, seconds = _mean_count(models, "tokens"), _mean_count(models, "seconds")
    name = STAGES[role]
    if role in ("base", "teacher"):
        name = Words(f"teacher, {name.en}", f"교사, {name.ko}")
    return ModelRow(
        name=name,
        architecture=size.architecture if size else "–",
        total=count(size.total) if size else NONE,
        active=count(size.active) if size else NONE,
        tokens=count(tokens) if tokens else NONE,
        seconds=span(seconds) if seconds else NONE,
        rate=f"{tokens / seconds:,.0f}" if tokens and seconds else "–",
    )


def _mean_count(models: Sequence[TrainedModel], name: str) -> float:
    """The mean of a count of the manifests; of an unfinished run, the last value of its log."""
    values = []
    for model in models:
        counted = model.manifest.counts.get(name) if model.manifest else None
        column = model.metrics.column(name)
        last = float(column[-1]) if len(column) and math.isfinite(column[-1]) else None
        value = counted if isinstance(counted, int | float) else last
        if value is not None:
            values.append(float(value))
    return mean(values) if values else 0.0


def total_seconds(run: RunFolder) -> tuple[float, Words]:
    """Wall time, and of what: all stages where the chain noted them, else the training stages."""
    try:
        notes = json.loads((run.path / "chain.json").read_text(encoding="utf-8"))
        noted = [float(note["seconds"]) for note in notes.values()]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        noted = []
    if noted:
        return sum(noted), _of_seeds(Words("all stages", "모든 단계"), len({_seed(title) for title in notes}))
    training = sum(_mean_count([model], "seconds") for seed in run.seeds for model in seed.models.values())
    return training, _of_seeds(Words("training stages", "학습 단계"), len(run.seeds))


def _seed(title: str) -> str:
    """The seed that a chain's note is of; stages that all seeds share count to the first one."""
    found = re.search(r"\(seed (\d+)\)$", title)
    return found[1] if found else "0"


def _of_seeds(stages: Words, seeds: int) -> Words:
    """Names how many seeds the time was noted for: those that another machine trained are not among them."""
    many = "seed" if seeds == 1 else "seeds"
    return Words(f"{stages.en}, {seeds} {many}", f"{stages.ko}, 시드 {seeds}개")


def errors_note(seeds: int) -> Words:
    """What ± means in the score table, and when a row counts as won or lost."""
    if seeds > 1:
        en = f"Means over {seeds} seeds; ± is one standard error over the seeds."
        ko = f"시드 {seeds}개의 평균이며, ±는 시드 사이의 표준오차입니다."
    else:
        en = "± is one standard error over documents or problems (jackknife)."
        ko = "±는 글 또는 문제에 대한 표준오차(잭나이프)입니다."
    return Words(
        f"{en} Differences are paired, on the same documents and problems; one counts as ahead or behind when its 95 % "
        "interval leaves out zero.",
        f"{ko} 차이는 같은 글과 문제끼리 짝지어 계산했고, 95% 신뢰구간에 0이 없을 때만 우위 또는 열세로 봅니다.",
    )
