"""Writes the tables of ``docs/agents-measured.md`` from ``benchmarks/results/agents_*.json``.

python benchmarks/make_agents_tables.py [--check]
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/agents-measured.md"
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


def page(text: str) -> str:
    """The page with its tables made anew."""
    tasks, bfcl, tau2 = (_documents(name) for name in ("agents_tasks", "agents_bfcl", "agents_tau2"))
    tables = {
        "tasks": _table("model, form", TASK_METRICS, _part(_rows(tasks), "all")),
        "left out": _table("model, form", TASK_METRICS, _part(_rows(tasks), "missing")),
        "splits": splits(_rows(tasks)),
        "bfcl": bfcl_table(_rows(bfcl)),
        "missing": missing(_rows(bfcl)),
        "tau2": _table("who drives", TAU2_METRICS, _rows(tau2)),
        "commands": "".join(f"- `{one['command']}` ({_where(one)})\n" for one in [*tasks, *bfcl, *tau2]),
    }
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        text = re.sub(pattern, lambda found, made=table: found[1] + made + found[2], text, flags=re.S)
    return text


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


def _documents(name: str) -> list[dict]:
    paths = sorted((ROOT / "benchmarks/results").glob(f"{name}-*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _rows(documents: list[dict]) -> Rows:
    return [row for document in documents for row in document["rows"]]


def _where(document: dict) -> str:
    return f"{document['machine']['cpu']}, {document['date']}"


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit(before != page(before) and "docs/agents-measured.md has tables that this program does not make")
    PAGE.write_text(page(before), encoding="utf-8")
