"""What the scores say: estimates with errors by measure, and the verdict in one sentence, made from the numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from axk1.eval.estimates import Estimate
from axk1.eval.report.words import Text, Words

Outcome = Literal["ahead", "behind", "level", "unknown"]
Group = Literal["text", "reasoning", "task"]


@dataclass(frozen=True)
class Finding:
    """One thing that was measured on the models."""

    task: str
    label: Text
    group: Group
    """``text`` (bits per byte), ``reasoning`` (exact match over all tasks), ``task`` (exact match of one task)."""
    headline: bool
    """Whether the verdict rests on it."""
    values: Mapping[str, Estimate]
    """By role: teacher, student, control."""
    difference: Estimate | None = None
    """Student minus control, paired, in the finding's own unit."""
    gap: Estimate | None = None
    """Share of the way from control to teacher that the student has gone."""

    @property
    def higher_is_better(self) -> bool:
        """Bits per byte should be low, exact match high."""
        return self.group != "text"

    @property
    def outcome(self) -> Outcome:
        """Whether the student is ahead of the control, or behind, by more than the 95 % interval of the difference."""
        interval = self.difference.interval if self.difference is not None else None
        if interval is None or not all(map(math.isfinite, interval)):
            return "unknown"
        if interval[0] <= 0 <= interval[1]:
            return "level"
        return "ahead" if (interval[0] > 0) == self.higher_is_better else "behind"

    @property
    def share(self) -> Estimate | None:
        """The share of the gap closed; None where the teacher is not better than the control, so there is no gap."""
        if self.gap is None or not math.isfinite(self.gap.value):
            return None
        lead = self.values["teacher"].value - self.values["control"].value
        return self.gap if (lead > 0) == self.higher_is_better else None

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

    def write_error(self, estimate: Estimate) -> str:
        """The standard error of a value, without a unit; empty when there is none."""
        if estimate.stderr is None or not math.isfinite(estimate.stderr):
            return ""
        return f"{estimate.stderr:.3f}" if self.group == "text" else f"{100 * estimate.stderr:.1f}"


@dataclass(frozen=True)
class Verdict:
    """What the run shows, in words."""

    headline: Words
    detail: Words


def verdict(findings: Sequence[Finding], seeds: int) -> Verdict:
    """The sentence at the top of the page. It says plainly when the student loses, and when nothing can be said.

    Args:
        findings: what was measured; those marked as headlines decide.
        seeds: how many training runs the numbers are means of.
    """
    heads = [f for f in findings if f.headline]
    by_outcome = {outcome: [f for f in heads if f.outcome == outcome] for outcome in ("ahead", "behind", "level")}
    judged = sum(map(len, by_outcome.values()))
    if not judged:
        return _NONE
    sentences = {"ahead": _won(heads), "behind": _LOST, "level": _LEVEL}
    for outcome, sentence in sentences.items():
        if len(by_outcome[outcome]) == judged:
            return Verdict(sentence, _caveat(seeds))
    return Verdict(_mixed(by_outcome), _caveat(seeds))


_NONE = Verdict(
    Words(
        "No verdict yet: student and control cannot be compared.",
        "아직 판정할 수 없습니다. 학생과 대조군을 비교할 점수가 없습니다.",
    ),
    Words("The rest of the page shows what is there.", "아래에는 지금까지 있는 것을 보여 줍니다."),
)
_LOST = Words(
    "The taught student loses to the same student trained alone: in this run, teaching did harm.",
    "교사에게 배운 학생이 혼자 배운 같은 모델에 졌습니다. 이번 실행에서는 가르침이 오히려 해가 되었습니다.",
)
_LEVEL = Words(
    "The taught student and the same student trained alone cannot be told apart: teaching shows no effect here.",
    "교사에게 배운 학생과 혼자 배운 같은 모델을 구별할 수 없습니다. 이번 실행에서 가르침의 효과는 보이지 않습니다.",
)


def _won(heads: Sequence[Finding]) -> Words:
    en = "The taught student beats the same student trained alone"
    ko = "교사에게 배운 학생이 혼자 배운 같은 모델을 앞섰"
    shares = [share.value for f in heads if (share := f.share) is not None]
    if not shares:
        return Words(f"{en}.", f"{ko}습니다.")
    low, high = f"{min(shares):.0%}".rstrip("%"), f"{max(shares):.0%}".rstrip("%")
    share = low if low == high else f"{low} to {high}"
    korean = low if low == high else f"{low}~{high}"
    return Words(
        f"{en}, and closes {share} % of the gap to its teacher.", f"{ko}고, 교사와의 격차를 {korean}% 좁혔습니다."
    )


def _mixed(by_outcome: Mapping[str, Sequence[Finding]]) -> Words:
    english = {"ahead": "is ahead on", "behind": "is behind on", "level": "cannot be told apart on"}
    korean = {"ahead": "앞섬", "behind": "뒤짐", "level": "구별 안 됨"}
    parts_en, parts_ko = [], []
    for outcome in ("ahead", "behind", "level"):
        if by_outcome[outcome]:
            parts_en.append(f"{english[outcome]} {_list(_names(by_outcome[outcome], 'en'))}")
            parts_ko.append(f"{', '.join(_names(by_outcome[outcome], 'ko'))} {korean[outcome]}")
    mixed = (
        Words("Mixed: against", "엇갈린 결과: ")
        if by_outcome["ahead"] and by_outcome["behind"]
        else Words("Against", "")
    )
    return Words(
        f"{mixed.en} the same student trained alone, the taught student {'; it '.join(parts_en)}.",
        f"{mixed.ko}혼자 배운 같은 모델과 비교해 교사에게 배운 학생은 {', '.join(parts_ko)}.",
    )


def _caveat(seeds: int) -> Words:
    if seeds > 1:
        return Words(
            f"All numbers are means over {seeds} training runs with different seeds.",
            f"모든 수치는 시드가 다른 학습 {seeds}회의 평균입니다.",
        )
    return Words(
        "This is one training run: the errors say how far other documents and problems could move the numbers, "
        "not how far another seed could.",
        "학습은 한 번만 했습니다. 오차는 다른 글과 문제였다면 수치가 얼마나 달라질지를 나타내며, "
        "다른 시드였다면 얼마나 달라질지는 나타내지 않습니다.",
    )


def _names(findings: Sequence[Finding], language: Literal["en", "ko"]) -> list[str]:
    return [_name(finding, language) for finding in findings]


def _name(finding: Finding, language: Literal["en", "ko"]) -> str:
    label = finding.label
    name = getattr(label, language) if isinstance(label, Words) else label
    return name[:1].lower() + name[1:] if language == "en" and not name.startswith(("Korean", "English")) else name


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
