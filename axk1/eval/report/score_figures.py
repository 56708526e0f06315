"""The charts of the scores: how much of the gap is closed, bits per byte, exact match, exact match by task."""

import math
from collections.abc import Sequence
from dataclasses import replace

from axk1.eval.estimates import Estimate
from axk1.eval.report.charts import Axis, Dot, DotRow, dot_chart, row_label_width, track_chart
from axk1.eval.report.figures import Figure
from axk1.eval.report.findings import Finding
from axk1.eval.report.words import MODELS, Words

_PERCENT = Axis(
    Words("exact match: higher is better", "정답률: 높을수록 좋음"),
    format=lambda values: [f"{100 * value:.0f} %" for value in values],
)
_WHISKERS = Words("Whiskers are 95 % intervals.", "수염은 95% 신뢰구간입니다.")


def score_figures(findings: Sequence[Finding]) -> list[Figure]:
    """The charts for which there are scores."""
    made = [_gap(findings), _reasoning(findings), _text(findings), _tasks(findings)]
    return [figure for figure in made if figure is not None]


def _gap(findings: Sequence[Finding]) -> Figure | None:
    chosen = [f for f in findings if f.headline and f.share is not None]
    if not chosen:
        return None
    rows = [DotRow(f.label, [_dot("student", f.share)]) for f in chosen]
    note = Words(
        f"Where the student stands between the same model trained alone (0 %) and its teacher (100 %). {_WHISKERS.en}",
        f"혼자 배운 같은 모델(0%)과 교사(100%) 사이에서 학생의 위치입니다. {_WHISKERS.ko}",
    )
    title = Words("How much of the gap teaching closes", "가르침이 좁힌 격차")
    return Figure("fig-gap", title, note, [track_chart(rows, label="fig-gap")])


def _text(findings: Sequence[Finding]) -> Figure | None:
    title = Words("Held-out text", "따로 떼어 둔 글")
    unit = Words("bits per byte: lower is better", "바이트당 비트: 낮을수록 좋음")
    note = Words(
        f"How well each model predicts text it has never seen. {_WHISKERS.en}",
        f"본 적 없는 글을 얼마나 잘 예측하는지를 나타냅니다. {_WHISKERS.ko}",
    )
    return _dots("fig-text", title, note, [f for f in findings if f.group == "text"], Axis(unit))


def _reasoning(findings: Sequence[Finding]) -> Figure | None:
    title = Words("Reasoning", "추론")
    note = Words(
        f"Exact match on freshly generated problems that no model was taught. {_WHISKERS.en}",
        f"어떤 모델도 배우지 않은 새 문제의 정답률입니다. {_WHISKERS.ko}",
    )
    return _dots("fig-reasoning", title, note, [f for f in findings if f.group == "reasoning"], _PERCENT, place="tall")


def _tasks(findings: Sequence[Finding]) -> Figure | None:
    chosen = [f for f in findings if f.group == "task" and _rows([f])]
    if not chosen:
        return None
    title = Words("Reasoning, task by task", "과제별 추론")
    note = Words(f"Exact match of each kind of problem. {_WHISKERS.en}", f"문제 종류별 정답률입니다. {_WHISKERS.ko}")
    half = (len(chosen) + 1) // 2
    width = row_label_width([f.label for f in chosen])
    axis = replace(_PERCENT, low=0.0, high=1.0)
    charts = [
        dot_chart(_rows(part), x=axis, label="fig-tasks", write=chosen[0].write, label_width=width)
        for part in (chosen[:half], chosen[half:])
        if part
    ]
    return Figure("fig-tasks", title, note, charts, _roles(chosen), place="wide")


def _dots(
    name: str, title: Words, note: Words, findings: Sequence[Finding], axis: Axis, place: str = ""
) -> Figure | None:
    rows = _rows(findings)
    if not rows:
        return None
    possible = (-math.inf, math.inf) if findings[0].group == "text" else (0.0, 1.0)
    chart = dot_chart(rows, x=axis, label=name, write=findings[0].write, possible=possible)
    return Figure(name, title, note, [chart], _roles(findings), place)


def _rows(findings: Sequence[Finding]) -> list[DotRow]:
    """A row for each measure that any model has a value of."""
    rows = [DotRow(f.label, [_dot(role, f.values[role]) for role in MODELS if role in f.values]) for f in findings]
    return [row for row in rows if any(math.isfinite(dot.value) for dot in row.dots)]


def _roles(findings: Sequence[Finding]) -> list[str]:
    return [role for role in MODELS if any(role in f.values for f in findings)]


def _dot(role: str, estimate: Estimate) -> Dot:
    return Dot(role, estimate.value, *(estimate.interval or (estimate.value, estimate.value)))
