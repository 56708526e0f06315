"""Training logs as figures: loss, the teaching's effect, speed, learning rate, gradient norm, expert load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from axk1.eval.report.charts import Axis, Line, heat_map, line_chart
from axk1.eval.report.metrics import Metrics, smooth, thin
from axk1.eval.report.words import STAGES, Words

POINTS = 160  # of a curve; more would only make the page heavier
NATS = Words("nats per token", "토큰당 nat")
TOKENS = Words("training tokens", "학습 토큰 수")
SHARE = Words("share of the stage's steps (%)", "단계 진행률 (%)")

Runs = Mapping[str, Sequence[Metrics]]
"""The logs of each role (base, teacher, student, control), one a seed."""


@dataclass(frozen=True)
class Figure:
    """A chart with its words."""

    id: str
    title: Words
    note: Words
    """What it shows and what to see in it."""
    svgs: Sequence[Markup]
    """One drawing, or several that stand side by side where there is room."""
    legend: Sequence[str] = ()
    """The roles whose signs are explained above it."""
    place: str = ""
    """A CSS class for where it stands: ``wide`` over both columns, ``tall`` over two rows."""


def training_figures(runs: Runs) -> list[Figure]:
    """Loss, teaching, speed, learning rate and gradient norm of all stages; figures without data are left out."""
    made = [
        _pretraining_loss(runs),
        _fine_tuning_loss(runs),
        _student_loss(runs),
        _student_lead(runs),
        _divergence(runs),
        _throughput(runs),
        _learning_rate(runs),
        _gradient_norm(runs),
    ]
    return [figure for figure in made if figure is not None]


def expert_figures(runs: Runs) -> list[Figure]:
    """How evenly the teacher's experts are used: a map of the last logged step, and the busiest expert over time."""
    made = [_expert_map(runs), _expert_ratio(runs)]
    return [figure for figure in made if figure is not None]


def _pretraining_loss(runs: Runs) -> Figure | None:
    lines = _lines("base", runs, _loss_column(runs, "base"))
    title = Words("Teacher: pretraining loss", "교사: 사전학습 손실")
    return _loss_figure("fig-pretrain", title, lines, runs.get("base", ()))


def _fine_tuning_loss(runs: Runs) -> Figure | None:
    lines = _lines("teacher", runs, _loss_column(runs, "teacher"))
    title = Words("Teacher: fine-tuning loss", "교사: 미세조정 손실")
    return _loss_figure("fig-sft", title, lines, runs.get("teacher", ()))


def _student_loss(runs: Runs) -> Figure | None:
    lines = [line for role in ("student", "control") for line in _lines(role, runs, "cross_entropy")]
    title = Words(
        "Student and control: cross-entropy on the same tokens", "학생과 대조군: 같은 토큰에서의 교차 엔트로피"
    )
    return _loss_figure("fig-student", title, lines, [*runs.get("student", ()), *runs.get("control", ())])


def _loss_figure(name: str, title: Words, lines: Sequence[Line], logs: Sequence[Metrics]) -> Figure | None:
    if not lines:
        return None
    chart = line_chart(lines, x=Axis(TOKENS, low=0.0), y=_loss_axis(lines), label=name)
    return Figure(name, title, _loss_note(lines, logs), [chart])


def _loss_note(lines: Sequence[Line], logs: Sequence[Metrics]) -> Words:
    en, ko = [], []
    for line in (line for line in lines if not line.faint):
        finite = [y for _, y in line.points if np.isfinite(y)]
        name = STAGES[line.role]
        en.append(f"{name.en} {finite[0]:.2f} → {finite[-1]:.3f}")
        ko.append(f"{name.ko} {finite[0]:.2f} → {finite[-1]:.3f}")
    broken = sum(log.not_finite for log in logs)
    lost_en = f" {broken} logged steps had no finite loss and stand as gaps." if broken else ""
    lost_ko = f" 기록된 단계 중 {broken}개는 손실이 유한하지 않아 끊어 표시했습니다." if broken else ""
    return Words(f"Smoothed: {', '.join(en)}.{lost_en}", f"평활값: {', '.join(ko)}.{lost_ko}")


def _student_lead(runs: Runs) -> Figure | None:
    """Control minus student, batch by batch: the noise that both share falls away."""
    pairs = list(zip(runs.get("student", ()), runs.get("control", ()), strict=False))
    differences = [found for found in (_paired_difference(*pair) for pair in pairs) if found is not None]
    if not differences:
        return None
    lines = _smoothed("student", differences)
    note = Words(
        "Control's cross-entropy minus the student's on the very same batch. "
        "Above the dashed line, the student predicts the text better.",
        "같은 배치에서 대조군의 교차 엔트로피에서 학생의 값을 뺀 것입니다. 점선 위에서는 학생이 글을 더 잘 예측합니다.",
    )
    ends = [y for line in lines for _, y in line.points[len(line.points) // 20 :] if np.isfinite(y)] or [0.0]
    axis = Axis(NATS, min(0.0, *ends), max(0.0, *ends))
    chart = line_chart(lines, x=Axis(TOKENS, low=0.0), y=axis, label="fig-lead", rule=0.0)
    return Figure("fig-lead", Words("The student's lead, batch by batch", "배치별 학생의 우위"), note, [chart])


def _paired_difference(student: Metrics, control: Metrics) -> tuple[np.ndarray, np.ndarray] | None:
    theirs = {record["step"]: i for i, record in enumerate(control.records)}
    pairs = [(i, theirs[r["step"]]) for i, r in enumerate(student.records) if r["step"] in theirs]
    if not pairs:
        return None
    left, right = np.array(pairs).T
    lead = control.column("cross_entropy")[right] - student.column("cross_entropy")[left]
    return (_tokens(student)[left], lead) if np.isfinite(lead).any() else None


def _divergence(runs: Runs) -> Figure | None:
    """KL to the teacher during training, of student and control."""
    lines = [line for role in ("student", "control") for line in _lines(role, runs, "kl_to_teacher")]
    if not lines:
        return None
    note = Words(
        "Forward KL divergence of the teacher's distribution from the model's, on the same batches: "
        "how far the model's next-token guesses are from the teacher's. Lower is closer.",
        "같은 배치에서 교사의 분포와 모델의 분포 사이의 순방향 KL 발산으로, "
        "다음 토큰 예측이 교사와 얼마나 다른지를 나타냅니다. 낮을수록 가깝습니다.",
    )
    chart = line_chart(lines, x=Axis(TOKENS, low=0.0), y=_loss_axis(lines, low=0.0), label="fig-kl")
    return Figure("fig-kl", Words("KL to the teacher", "교사와의 KL"), note, [chart])


def _throughput(runs: Runs) -> Figure | None:
    lines = _stage_lines(runs, "tokens_per_second")
    if not lines:
        return None
    rates = [f"{STAGES[line.role].en} {_median(line):,.0f}" for line in lines if not line.faint]
    korean = [f"{STAGES[line.role].ko} {_median(line):,.0f}" for line in lines if not line.faint]
    note = Words(f"Median: {', '.join(rates)} tokens/s.", f"중앙값: {', '.join(korean)} 토큰/초.")
    unit = Words("tokens per second", "초당 토큰")
    chart = line_chart(lines, x=_share_axis(), y=Axis(unit, low=0.0), label="fig-speed")
    return Figure("fig-speed", Words("Training speed", "학습 속도"), note, [chart])


def _learning_rate(runs: Runs) -> Figure | None:
    lines = _stage_lines(runs, "lr", smoothed=False)
    if not lines:
        return None
    note = Words(
        "Warm-up, then steady, then decay, as each recipe says.", "예열, 유지, 감쇠의 순서이며 각 레시피를 따릅니다."
    )
    y = Axis(Words("learning rate", "학습률"), low=0.0)
    chart = line_chart(lines, x=_share_axis(), y=y, label="fig-lr")
    return Figure("fig-lr", Words("Learning rate", "학습률"), note, [chart])


def _gradient_norm(runs: Runs) -> Figure | None:
    lines = _stage_lines(runs, "grad_norm")
    if not lines:
        return None
    note = Words(
        "Norm of the whole gradient before clipping, on a logarithmic axis. Spikes and drifts are signs of trouble.",
        "자르기 전 전체 기울기의 크기(로그 축)입니다. 튀거나 계속 커지면 문제의 신호입니다.",
    )
    y = Axis(Words("gradient norm", "기울기 크기"), log=True)
    chart = line_chart(lines, x=_share_axis(), y=y, label="fig-grad")
    return Figure("fig-grad", Words("Gradient norm", "기울기 크기"), note, [chart])


def _expert_map(runs: Runs) -> Figure | None:
    last = [(log, log.expert_load()) for role in ("teacher", "base") for log in runs.get(role, ())]
    found = next(((log, loads[-1]) for log, loads in last if loads), None)
    if found is None:
        return None
    log, (index, load) = found
    ratios = load / np.maximum(load.sum(axis=1, keepdims=True), 1e-12) * load.shape[1]
    step = log.records[index]["step"]
    note = Words(
        f"Step {step}: each expert's share of the tokens, 1 being an even share of {load.shape[1]} experts. "
        f"Busiest {ratios.max():.2f}, idlest {ratios.min():.2f}. Orange is more than its share, blue less.",
        f"{step}번째 단계에서 전문가별 토큰 비중으로, 1은 전문가 {load.shape[1]}개의 균등 비중입니다. "
        f"최대 {ratios.max():.2f}, 최소 {ratios.min():.2f}. 주황은 균등보다 많음, 파랑은 적음입니다.",
    )
    rows = [str(i + 1) for i in range(len(ratios))]
    names = (Words("expert", "전문가"), Words("sparse layer", "희소 층"))
    chart = heat_map(ratios.tolist(), rows=rows, columns=names[0], row_axis=names[1], label="fig-experts")
    return Figure(
        "fig-experts", Words("Expert load of the teacher, last step", "교사의 전문가 부하, 마지막 단계"), note, [chart]
    )


def _expert_ratio(runs: Runs) -> Figure | None:
    lines = [line for role in ("base", "teacher") for line in _smoothed(role, _uneven(runs.get(role, ())), width=1)]
    if not lines:
        return None
    note = Words(
        "Tokens of the busiest expert over the mean of its layer, in the most uneven layer. 1 is perfectly even; "
        "experts divided by experts per token is the worst: the same few are always chosen.",
        "가장 고르지 않은 층에서 가장 바쁜 전문가의 토큰 수를 그 층의 평균으로 나눈 값입니다. 1이면 완전히 고릅니다. "
        "최댓값은 전문가 수를 토큰당 전문가 수로 나눈 값이며, 늘 같은 몇 개만 쓴다는 뜻입니다.",
    )
    high = max(2.0, *(y for line in lines for _, y in line.points if np.isfinite(y)))
    y = Axis(Words("maximum / mean load", "최대 / 평균 부하"), low=1.0, high=high)
    chart = line_chart(lines, x=_share_axis(), y=y, label="fig-balance", rule=1.0)
    return Figure("fig-balance", Words("Expert balance over time", "전문가 균형의 변화"), note, [chart])


def _uneven(logs: Sequence[Metrics]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each log with expert loads: progress in percent, and the busiest expert's ratio in the most uneven layer."""
    curves = []
    for log in logs:
        loads = log.expert_load()
        if loads:
            share = np.array([index for index, _ in loads], dtype=np.float64) / max(len(log) - 1, 1) * 100
            curves.append((share, np.array([_busiest(load).max() for _, load in loads])))
    return curves


def _busiest(load: np.ndarray) -> np.ndarray:
    """Maximum over mean load of each layer: [layers, experts] -> [layers]."""
    return load.max(axis=1) / np.maximum(load.mean(axis=1), 1e-12)


def _loss_column(runs: Runs, role: str) -> str:
    """Cross-entropy where it was logged (``loss`` also holds the balance loss), else the loss."""
    return "cross_entropy" if any(log.has("cross_entropy") for log in runs.get(role, ())) else "loss"


def _tokens(log: Metrics) -> np.ndarray:
    return log.column("tokens") if log.has("tokens") else log.column("step")


def _lines(role: str, runs: Runs, column: str) -> list[Line]:
    curves = [(_tokens(log), log.column(column)) for log in runs.get(role, ()) if log.has(column)]
    return _smoothed(role, curves)


def _stage_lines(runs: Runs, column: str, *, smoothed: bool = True) -> list[Line]:
    """One curve a stage over its progress in percent, so that stages of unlike length share a chart."""
    lines = []
    for role in ("base", "teacher", "student", "control"):
        logs = [log for log in runs.get(role, ()) if log.has(column)]
        curves = [(np.linspace(0, 100, len(log)) if len(log) > 1 else np.zeros(1), log.column(column)) for log in logs]
        lines += _smoothed(role, curves, width=None if smoothed else 1)
    return lines


def _smoothed(role: str, curves: Sequence[tuple[np.ndarray, np.ndarray]], width: int | None = None) -> list[Line]:
    """A bold smoothed curve with a faint one behind: the raw steps of one seed, or each seed behind their mean."""
    if not curves:
        return []
    even = [(x, smooth(y, width or max(1, len(y) // 25))) for x, y in curves]
    name = STAGES[role]
    if len(curves) > 1:
        behind = [Line(role, thin(x, y, POINTS), faint=True) for x, y in even]
        return [*behind, Line(role, thin(*_mean_curve(even), POINTS), name)]
    raw = [Line(role, thin(*curves[0], POINTS), faint=True)] if width is None and len(curves[0][0]) > 25 else []
    return [*raw, Line(role, thin(*even[0], POINTS), name)]


def _mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of several curves on the grid of the shortest one."""
    grid = min((x[np.isfinite(x)] for x, _ in curves), key=lambda x: x[-1] if len(x) else 0.0)
    rows = []
    for x, y in curves:
        known = np.isfinite(x) & np.isfinite(y)
        rows.append(np.interp(grid, x[known], y[known]) if known.any() else np.full(len(grid), np.nan))
    return grid, np.mean(rows, axis=0)


def _loss_axis(lines: Sequence[Line], low: float | None = None) -> Axis:
    """From the lowest loss to where the curves are after their first steps, whose height would flatten the rest."""
    bold = [line for line in lines if not line.faint]
    late = [y for line in bold for _, y in line.points[max(1, len(line.points) // 25) :] if np.isfinite(y)]
    every = [y for line in lines for _, y in line.points if np.isfinite(y)]
    high = max(late or every)
    least = min(every)
    return Axis(NATS, low=least - 0.03 * (high - least) if low is None else low, high=high)


def _share_axis() -> Axis:
    return Axis(SHARE, 0.0, 100.0)


def _median(line: Line) -> float:
    return float(np.nanmedian([y for _, y in line.points]))
