"""What ``transfer.py`` has measured so far: the JSON, the tables of ``docs/transfer.md`` and its two plots.

Every difference is paired: the student of a seed less the control, or the rival, of the same seed, which learnt from
the same teacher, from the same starting weights, on the same samples. Its error is the standard error over seeds.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import Row, publish
from transfer_arms import ARMS, BY_NAME

from axk1.core.artifact import write_text_atomic
from axk1.eval.estimates import Estimate, gap_closed_over_seeds, over_seeds

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/transfer.md"
CONTROL = "the same student without a teacher"

Figures = dict[str, float]


@dataclass(frozen=True)
class Measure:
    """One figure of a student."""

    name: str
    label: str
    unit: str
    show: Callable[[float], str]
    sign: Callable[[float], str]
    """How a difference is shown."""
    higher_is_better: bool = False


MEASURES = [
    Measure("bits_ko", "Korean", "bits/byte", "{:.3f}".format, "{:+.3f}".format),
    Measure("bits_en", "English", "bits/byte", "{:.3f}".format, "{:+.3f}".format),
    Measure("kl", "KL to the teacher", "nat/token", "{:.3f}".format, "{:+.3f}".format),
    Measure("ece", "calibration error", "share", "{:.2%}".format, "{:+.2%}".format),
    Measure("reasoning", "reasoning", "share", "{:.1%}".format, "{:+.1%}".format, higher_is_better=True),
]
PAIRS = [
    ("sampled_32", "hidden"), ("draws_64", "hidden"), ("sampled_32", "draws_64"), ("draws_64", "renormalised_64"),
    ("sampled_32", "renormalised_32"), ("mass_64", "renormalised_64"), ("mass_64", "cut_64"), ("draws_64", "mass_64"),
    ("control_prompts", "control"), ("draws_64", "control_prompts"), ("on_policy", "longer"),
]  # fmt: skip
"""Questions: does the first do better than the second?"""


def report(output: Path, *, seeds: int, publish_results: bool) -> None:
    """Prints and writes what is there; students that are missing are named, not guessed.

    Args:
        output: the folder of the runs.
        seeds: how many there should be.
        publish_results: also write ``results/transfer-<machine>.json``, the page's tables and the plots.
    """
    found = {name: _of_arm(output, name, seeds) for name in ("teacher", *BY_NAME)}
    missing = [f"{name} ({seeds - len(of)} of {seeds})" for name, of in found.items() if len(of) < seeds]
    print(f"not measured: {', '.join(missing) or 'nothing'}")
    table, pairs = table_of_arms(found), table_of_pairs(found)
    print(f"\n{table}\n\n{pairs}")
    if publish_results:
        publish("transfer", rows_of(found), ("torch", "reasoning-gym"))
        _into_page(table, pairs)
        _plot(found)


def _of_arm(output: Path, name: str, seeds: int) -> dict[int, Figures]:
    """The figures of the seeds that are done."""
    found = {}
    for seed in range(seeds):
        path = output / f"seed-{seed}" / "parts" / f"{name}.json"
        if path.exists():
            figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
            found[seed] = figures | {"kl": (figures["kl_ko"] + figures["kl_en"]) / 2}
    return found


def difference(found: dict[str, dict[int, Figures]], first: str, second: str, measure: str) -> Estimate | None:
    """First less second over the seeds that both have; None where there is none."""
    common = sorted(found[first].keys() & found[second].keys())
    if not common:
        return None
    return over_seeds([found[first][seed][measure] - found[second][seed][measure] for seed in common])


def closed(found: dict[str, dict[int, Figures]], name: str, measure: str) -> Estimate | None:
    """The share of the way from the control to the teacher."""
    common = sorted(found["teacher"].keys() & found["control"].keys() & found[name].keys())
    if not common:
        return None
    columns = ([found[who][seed][measure] for seed in common] for who in ("control", "teacher", name))
    return gap_closed_over_seeds(*columns)


def rows_of(found: dict[str, dict[int, Figures]]) -> list[Row]:
    """The rows of the JSON: every student beside the control."""
    rows = []
    for arm in ARMS[1:]:
        if not found[arm.name].keys() & found["control"].keys():
            rows.append(Row(arm.label, "all", "", None, None, "not measured yet", None, ""))
            continue
        for measure in MEASURES:
            away = difference(found, arm.name, "control", measure.name)
            common = found[arm.name].keys() & found["control"].keys()
            mine, other = (
                sum(found[who][seed][measure.name] for seed in common) / len(common) for who in (arm.name, "control")
            )
            better, worse = (mine, other) if measure.higher_is_better else (other, mine)
            spread = f"{_signed(away, measure)}, {away.n} seeds"
            gap = closed(found, arm.name, measure.name) if measure.name.startswith("bits") else None
            spread += f"; {_gap(gap)} of the gap to the teacher closed" if gap else ""
            ratio = better / worse if worse else None
            rows.append(Row(arm.label, measure.name, measure.unit, mine, other, CONTROL, ratio, spread))
    return rows


def table_of_arms(found: dict[str, dict[int, Figures]]) -> str:
    """Teacher, control, and every way to teach less the control, in Markdown."""
    heads = ["", "bytes", *(measure.label for measure in MEASURES), "gap closed, ko", "gap closed, en", "seeds"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for name, label in (("teacher", "teacher"), ("control", BY_NAME["control"].label)):
        if found[name]:
            values = [_plain(over_seeds([f[m.name] for f in found[name].values()]), m) for m in MEASURES]
            lines.append([label, "", *values, "", "", str(len(found[name]))])
    for arm in ARMS[1:]:
        if not found[arm.name]:
            continue
        away = [difference(found, arm.name, "control", measure.name) for measure in MEASURES]
        if away[0] is None:
            continue
        cells = [_signed(one, measure) for one, measure in zip(away, MEASURES, strict=True)]
        gaps = [_gap(closed(found, arm.name, f"bits_{language}")) for language in ("ko", "en")]
        size = (
            "" if arm.variant == "text" else f"{over_seeds([f['bytes'] for f in found[arm.name].values()]).value:.0f}"
        )
        lines.append([arm.label, size, *cells, *gaps, str(away[0].n)])
    return _markdown(lines)


def table_of_pairs(found: dict[str, dict[int, Figures]]) -> str:
    """The questions, in Markdown."""
    heads = ["first", "less second", *(measure.label for measure in MEASURES), "seeds"]
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)]]
    for first, second in PAIRS:
        away = [difference(found, first, second, measure.name) for measure in MEASURES]
        if away[0] is not None:
            cells = [_signed(one, measure) for one, measure in zip(away, MEASURES, strict=True)]
            lines.append([BY_NAME[first].label, BY_NAME[second].label, *cells, str(away[0].n)])
    return _markdown(lines)


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(estimate: Estimate, measure: Measure) -> str:
    error = "" if estimate.stderr is None else f" ± {measure.show(estimate.stderr)}"
    return measure.show(estimate.value) + error


def _signed(estimate: Estimate, measure: Measure) -> str:
    error = "" if estimate.stderr is None else f" ± {measure.show(estimate.stderr)}"
    return measure.sign(estimate.value) + error


def _gap(gap: Estimate | None) -> str:
    if gap is None:
        return ""
    return f"{gap.value:.0%}" + ("" if gap.stderr is None else f" ± {gap.stderr:.0%}")


def _into_page(table: str, pairs: str) -> None:
    """Puts the tables between their marks in the page."""
    page = PAGE.read_text(encoding="utf-8")
    for mark, text in (("arms", table), ("pairs", pairs)):
        pattern = re.compile(rf"(<!-- {mark} -->\n).*?(\n<!-- end -->)", re.S)
        page = pattern.sub(lambda match, text=text: match[1] + text + match[2], page)
    write_text_atomic(PAGE, page)


def _plot(found: dict[str, dict[int, Figures]]) -> None:
    """``transfer-gap.png``: the share of the gap that each way closes; ``transfer-cost.png``: KL against bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    arms = [arm for arm in ARMS[1:] if not arm.after and closed(found, arm.name, "bits_ko")]
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.36 * len(arms)))
    for offset, language, colour in ((-0.18, "ko", "#22577a"), (0.18, "en", "#e07a5f")):
        gaps = [closed(found, arm.name, f"bits_{language}") for arm in arms]
        values, errors = [g.value for g in gaps], [g.stderr or 0 for g in gaps]
        places = [i + offset for i in range(len(arms))]
        axes.barh(places, values, 0.34, xerr=errors, color=colour, label={"ko": "Korean", "en": "English"}[language])
    axes.set_yticks(range(len(arms)), [arm.label for arm in arms])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("share of the gap in bits per byte, control to teacher, that is closed")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    _save(figure, "transfer-gap.png")

    figure, axes = pyplot.subplots(figsize=(7, 3.8))
    families = {"sampled": "sampled", "draws": "top k and draws", "mass": "top k and the tail's mass",
                "renormalised": "top k, renormalised", "cut": "top k, cut", "hidden": "whole distribution"}  # fmt: skip
    for number, (family, label) in enumerate(families.items()):
        points = []
        for arm in ARMS:
            if arm.name.split("_")[0] == family and found[arm.name]:
                kl = over_seeds([f["kl"] for f in found[arm.name].values()])
                size = over_seeds([f["bytes"] for f in found[arm.name].values()])
                points.append((size.value, kl.value, kl.stderr or 0))
        if points:
            x, y, error = zip(*sorted(points), strict=True)
            axes.errorbar(x, y, error, marker="o", capsize=3, label=label, color=f"C{number}")
    if found["control"]:
        level = over_seeds([f["kl"] for f in found["control"].values()]).value
        axes.axhline(level, color="grey", linestyle="--", label="no teacher")
    axes.set_xscale("log", base=2)
    axes.set_xticks([32, 64, 128, 256, 512], ["32", "64", "128", "256", "512"])
    axes.set_xlabel("bytes a position in the cache")
    axes.set_ylabel("KL to the teacher, held-out text (nat a token)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _save(figure, "transfer-cost.png")


def _save(figure: object, name: str) -> None:
    figure.savefig(ROOT / "docs" / name, dpi=90, bbox_inches="tight")
