"""What the scores say: estimates with errors by measure, and the verdict in one sentence, made from the numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from axk1.eval.report.words import Text, Words

Outcome = Literal["ahead", "behind", "level", "unknown"]
Group = Literal["text", "reasoning", "task"]

NORMAL_95 = 1.96


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is."""

    value: float
    error: float = math.nan
    """Standard error; NaN when unknown."""
    low: float = math.nan
    """Lower end of the 95 % interval; NaN takes value - 1.96 error."""
    high: float = math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; the value itself, twice, when its error is unknown."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return self.low, self.high
        reach = NORMAL_95 * self.error if math.isfinite(self.error) else 0.0
        return self.value - reach, self.value + reach


@dataclass(frozen=True)
class Measure:
    """One thing that was measured on all models."""

    key: str
    label: Text
    group: Group
    """``text`` (bits per byte), ``reasoning`` (exact match over all tasks), ``task`` (exact match of one task)."""
    headline: bool
    """Whether the verdict rests on it."""
    models: Mapping[str, Estimate]
    """By role: teacher, student, control."""
    difference: Estimate | None = None
    """Student minus control, in the measure's own unit, paired where the same items were scored."""
    gap: Estimate | None = None
    """Share of the way from control to teacher that the student has gone."""

    @property
    def higher_is_better(self) -> bool:
        """Bits per byte should be low, exact match high."""
        return self.group != "text"

    @property
    def outcome(self) -> Outcome:
        """Whether the student is ahead of the control by more than the 95 % interval of the difference."""
        if self.difference is None or not math.isfinite(self.difference.value):
            return "unknown"
        low, high = self.difference.interval
        if low <= 0 <= high:
            return "level"
        return "ahead" if (low > 0) == self.higher_is_better else "behind"

    def write(self, value: float) -> str:
        """A value as the page shows it: 1.829 bits, 41.2 %."""
        if not math.isfinite(value):
            return "–"
        return f"{value:.3f}" if self.group == "text" else f"{100 * value:.1f} %"

    def write_difference(self, value: float) -> str:
        """A difference, with its sign; of exact match in percentage points."""
        if not math.isfinite(value):
            return "–"
        return (f"{value:+.3f}" if self.group == "text" else f"{100 * value:+.1f} pp").replace("-", "−")


@dataclass(frozen=True)
class Verdict:
    """What the run shows, in words."""

    headline: Words
    detail: Words


def verdict(measures: Sequence[Measure]) -> Verdict:
    """The sentence at the top of the page. It says plainly when the student loses, and when nothing can be said."""
    heads = [m for m in measures if m.headline]
    by_outcome = {outcome: [m for m in heads if m.outcome == outcome] for outcome in ("ahead", "behind", "level")}
    judged = sum(map(len, by_outcome.values()))
    if not judged:
        return _no_verdict()
    if len(by_outcome["ahead"]) == judged:
        return Verdict(_won(heads), _tally(heads))
    if len(by_outcome["behind"]) == judged:
        return Verdict(_LOST, _tally(heads))
    if len(by_outcome["level"]) == judged:
        return Verdict(_LEVEL, _tally(heads))
    return Verdict(_mixed(by_outcome), _tally(heads))


_LOST = Words(
    "The taught student loses to the same student trained alone: in this run, teaching did harm.",
    "교사에게 배운 학생이 혼자 배운 같은 모델에 졌습니다. 이번 실행에서는 가르침이 오히려 해가 되었습니다.",
)
_LEVEL = Words(
    "The taught student and the same student trained alone cannot be told apart: teaching shows no effect here.",
    "교사에게 배운 학생과 혼자 배운 같은 모델을 구별할 수 없습니다. 이번 실행에서 가르침의 효과는 보이지 않습니다.",
)


def _no_verdict() -> Verdict:
    return Verdict(
        Words(
            "No verdict yet: student and control have not both been scored.",
            "아직 판정할 수 없습니다. 학생과 대조군의 점수가 모두 있지는 않습니다.",
        ),
        Words("The rest of the page shows what is there.", "아래에는 지금까지 있는 것을 보여 줍니다."),
    )


def _won(heads: Sequence[Measure]) -> Words:
    en = "The taught student beats the same student trained alone"
    ko = "교사에게 배운 학생이 혼자 배운 같은 모델을 앞섰"
    shares = [m.gap.value for m in heads if m.gap is not None and math.isfinite(m.gap.value)]
    if not shares:
        return Words(f"{en}.", f"{ko}습니다.")
    low, high = f"{min(shares):.0%}".rstrip("%"), f"{max(shares):.0%}".rstrip("%")
    share = low if low == high else f"{low} to {high}"
    korean = low if low == high else f"{low}~{high}"
    return Words(
        f"{en}, and closes {share} % of the gap to its teacher.", f"{ko}고, 교사와의 격차를 {korean}% 좁혔습니다."
    )


def _mixed(by_outcome: Mapping[str, Sequence[Measure]]) -> Words:
    english = {"ahead": "is ahead on", "behind": "is behind on", "level": "cannot be told apart on"}
    korean = {"ahead": "앞섬", "behind": "뒤짐", "level": "구별 안 됨"}
    parts_en, parts_ko = [], []
    for outcome in ("ahead", "behind", "level"):
        if by_outcome[outcome]:
            parts_en.append(f"{english[outcome]} {_list(_names(by_outcome[outcome], 'en'))}")
            parts_ko.append(f"{', '.join(_names(by_outcome[outcome], 'ko'))} {korean[outcome]}")
    return Words(
        f"Mixed: against the same student trained alone, the taught student {'; it '.join(parts_en)}.",
        f"엇갈린 결과: 혼자 배운 같은 모델과 비교해 교사에게 배운 학생은 {', '.join(parts_ko)}.",
    )


def _tally(heads: Sequence[Measure]) -> Words:
    """Student against control in figures, one clause a measure."""
    known = [m for m in heads if "student" in m.models and "control" in m.models]
    en = [f"{_name(m, 'en')} {_versus(m, 'against')}" for m in known]
    ko = [f"{_name(m, 'ko')} {_versus(m, '대')}" for m in known]
    return Words(
        f"Student against control: {'; '.join(en)}." if en else "", f"학생 대 대조군: {'; '.join(ko)}." if ko else ""
    )


def _versus(measure: Measure, word: str) -> str:
    student, control = (measure.write(measure.models[role].value) for role in ("student", "control"))
    return f"{student} {word} {control}"


def _names(measures: Sequence[Measure], language: Literal["en", "ko"]) -> list[str]:
    return [_name(measure, language) for measure in measures]


def _name(measure: Measure, language: Literal["en", "ko"]) -> str:
    label = measure.label
    name = getattr(label, language) if isinstance(label, Words) else label
    return name[:1].lower() + name[1:] if language == "en" and not name.startswith(("Korean", "English")) else name


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
