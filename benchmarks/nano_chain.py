"""The scores of a finished quickstart: student against control, with the teacher beside them.

    axk1 quickstart --seeds 3 && python benchmarks/nano_chain.py

Reads ``out/nano``, writes ``results/nano_chain-<machine>.json`` and prints the table of the READMEs.
"""

import json
from pathlib import Path

from harness import Row, publish

from axk1.core.artifact import read_manifest
from axk1.model.inspect import inspect_model

RUN = Path("out/nano")


def main() -> None:
    """Publishes the comparison of the run."""
    comparison = json.loads((RUN / "comparison/comparison.json").read_text(encoding="utf-8"))
    publish("nano_chain", [_row(m, comparison["seeds"]) for m in comparison["measures"]], ("torch", "reasoning-gym"))
    print("| measure | teacher | control | student | student - control | gap closed |\n|---|---:|---:|---:|---:|---:|")
    for measure in comparison["measures"]:
        share = measure["higher_is_better"]
        cells = [_cell(measure[who], share) for who in ("teacher", "control", "student", "student_minus_control")]
        gap = _cell(measure["gap_closed"], True) if measure["gap_closed"] else "-"
        print(f"| {measure['task']} | {' | '.join(cells)} | {gap} |")
    for who in ("teacher", "student"):
        summary, counts = inspect_model(RUN / who), read_manifest(RUN / who).counts
        millions = f"{summary.total / 1e6:.2f} M, {summary.active_without_embedding / 1e6:.2f} M active"
        print(f"{who}: {millions}, {counts['tokens']:,} tokens in {counts['seconds']} s")
    print("base:", read_manifest(RUN / "base").counts)
    print("seconds:", {k: v["seconds"] for k, v in json.loads((RUN / "chain.json").read_text()).items()})


def _row(measure: dict, seeds: int) -> Row:
    ours, peer = measure["student"]["value"], measure["control"]["value"]
    higher = measure["higher_is_better"]
    low, high = measure["student_minus_control"]["interval_95"] or (float("nan"), float("nan"))
    spread = f"student - control: 95 % interval {low:+.4f} to {high:+.4f}, {seeds} seed(s)"
    ratio = (ours / peer if higher else peer / ours) if ours and peer else float("nan")
    unit = "share" if higher else "bits/byte"
    return Row(
        measure["task"], measure["metric"], unit, ours, peer, "the same student without a teacher", ratio, spread
    )


def _cell(estimate: dict, share: bool) -> str:
    show = (lambda x: f"{100 * x:.1f} %") if share else (lambda x: f"{x:.3f}")
    return show(estimate["value"]) + ("" if estimate["stderr"] is None else f" ± {show(estimate['stderr'])}")


if __name__ == "__main__":
    main()
