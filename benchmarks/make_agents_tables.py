"""Writes the tables of ``docs/agents-measured.md`` from ``benchmarks/results/agents_*.json``.

python benchmarks/make_agents_tables.py [--check]
"""

import json

from page_tables import ROOT, fill, results

_NAMES = ("agents_tasks", "agents_bfcl", "agents_tau2")
SPLITS = ("seen", "names", "phrasings", "tool")
TASK_METRICS = {
    "success": "success", "success but for the wording": "but for wording", "missing slots, precision": "precision",
    "missing slots, recall": "recall", "unsafe actions": "unsafe", "stopped by the person": "stopped",
    "turns a task": "turns", "tokens a task": "tokens",
}  # fmt: skip
BFCL_METRICS = {
    "right": "right", "called a function": "called", "asked": "asked",
    "carried out with invented values": "with invented values", "unsafe actions": "unsafe",
    "stopped by the person": "stopped", "finished after the answer": "finished", "turns a question": "turns",
    "tokens a question": "tokens",
}  # fmt: skip
TAU2_METRICS = {
    "success": "success", "unsafe actions": "unsafe", "stopped by the person": "stopped",
    "needless changes": "needless changes", "asked a task": "questions", "turns a task": "turns",
    "tokens a task": "tokens",
}  # fmt: skip
Rows = list[dict]


def main() -> None:
    """Fills the page."""
    tasks, bfcl, tau2 = map(results, _NAMES)
    tables = {
        "tasks": _table("model, form", TASK_METRICS, _part(tasks, "all")),
        "left out": _table("model, form", TASK_METRICS, _part(tasks, "missing")),
        "splits": splits(tasks),
        "bfcl": bfcl_table(bfcl),
        "missing": missing(bfcl),
        "tau2": _table("who drives", TAU2_METRICS, tau2),
        "commands": commands(),
    }
    fill("docs/agents-measured.md", tables)


def commands() -> str:
    """What measured the figures, and where."""
    paths = [path for name in _NAMES for path in sorted((ROOT / "benchmarks/results").glob(f"{name}-*.json"))]
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return "".join(f"- `{one['command']}` ({one['machine']['cpu']}, {one['date']})\n" for one in documents)


def splits(rows: Rows) -> str:
    """What is done but for the wording, in each split."""
    lines = [f"| model, form | {' | '.join(SPLITS)} |\n|---|{'---:|' * len(SPLITS)}\n"]
    found = {row["case"]: row for row in rows if row["metric"] == "success but for the wording"}
    for who in dict.fromkeys(case.rpartition(": ")[0] for case in found if case.endswith(": all")):
        cells = (_cell(found.get(f"{who}: {split}"), "ours", 0) for split in SPLITS)
        lines.append(f"| {who} | {' | '.join(cells)} |\n")
    return "".join(lines)


def bfcl_table(rows: Rows) -> str:
    """For each set and choice the figures with the rule and without it."""
    lines = [f"| set, choice | rule | {' | '.join(BFCL_METRICS.values())} |\n|---|---|{'---:|' * len(BFCL_METRICS)}\n"]
    rows = [row for row in rows if not row["case"].startswith("missing values")]
    for case in dict.fromkeys(row["case"] for row in rows):
        here = {row["metric"]: row for row in rows if row["case"] == case}
        for place, (side, rule) in enumerate((("ours", "with"), ("peer", "without"))):
            cells = (_cell(here.get(metric), side, place) for metric in BFCL_METRICS)
            lines.append(f"| {'' if place else case} | {rule} | {' | '.join(cells)} |\n")
    return "".join(lines)


def missing(rows: Rows) -> str:
    """Precision and recall of questions over all sets."""
    lines = ["| choice | rule | precision | recall |\n|---|---|---:|---:|\n"]
    rows = [row for row in rows if row["case"].startswith("missing values")]
    for case in dict.fromkeys(row["case"] for row in rows):
        here = {row["metric"]: row for row in rows if row["case"] == case}
        for place, (side, rule) in enumerate((("ours", "with"), ("peer", "without"))):
            cells = " | ".join(_cell(here[metric], side, place) for metric in ("precision", "recall"))
            lines.append(f"| {'' if place else case.partition(', ')[2]} | {rule} | {cells} |\n")
    return "".join(lines)


def _table(first: str, metrics: dict[str, str], rows: Rows) -> str:
    lines = [f"| {first} | {' | '.join(metrics.values())} |\n|---|{'---:|' * len(metrics)}\n"]
    for case in dict.fromkeys(row["case"] for row in rows):
        here = {row["metric"]: row for row in rows if row["case"] == case}
        cells = " | ".join(_cell(here.get(metric), "ours", 0) for metric in metrics)
        lines.append(f"| {case.removesuffix(': all').removesuffix(': missing')} | {cells} |\n")
    return "".join(lines)


def _cell(row: dict | None, side: str, place: int) -> str:
    """A figure; a share with how many of how many, and its interval."""
    if row is None or row[side] is None:
        return "-"
    if not row["unit"]:
        return f"{row[side]:,.1f}" if row[side] < 100 else f"{row[side]:,.0f}"
    counted, _, ends = row["spread"].split(" / ")[place].partition(", ")
    return f"{row[side]:.0f} % ({counted}; {ends.removesuffix(' %')})"


def _part(rows: Rows, name: str) -> Rows:
    return [row for row in rows if row["case"].endswith(f": {name}")]


if __name__ == "__main__":
    main()
