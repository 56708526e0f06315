"""Writes the table of ``docs/assistant.md`` from ``benchmarks/results/agents_tasks-assistant-*.json``.

python benchmarks/make_assistant_tables.py [--check]
"""

from page_tables import fill, results

_SPLITS = {"all": "all", "seen": "taught forms", "names": "names", "phrasings": "phrasings", "tool": "the tool"}
_METRICS = {
    "success": "success", "missing slots, precision": "precision", "missing slots, recall": "recall",
    "unsafe actions": "unsafe", "turns a task": "turns", "tokens a task": "tokens",
}  # fmt: skip


def main() -> None:
    """Fills the page."""
    fill("docs/assistant.md", {"assistant": table(results("agents_tasks-assistant"))})


def table(rows: list[dict]) -> str:
    """Teacher, student and control on each split."""
    by_case = {(row["case"], row["metric"]): row for row in rows}
    names = list(dict.fromkeys(row["case"].split(",")[0] for row in rows))
    lines = [f"| new to it | who | {' | '.join(_METRICS.values())} |\n|---|---|{'---:|' * len(_METRICS)}\n"]
    for split, said in _SPLITS.items():
        for name in sorted(names, key=lambda one: ("teacher", "student", "control").index(one.split()[1])):
            cells = (_cell(by_case.get((f"{name}, brief: {split}", metric))) for metric in _METRICS)
            lines.append(f"| {said} | {name.split()[1]} | {' | '.join(cells)} |\n")
    return "".join(lines)


def _cell(row: dict | None) -> str:
    if row is None or row["ours"] is None:
        return "-"
    if not row["unit"]:
        return f"{row['ours']:,.1f}" if row["ours"] < 100 else f"{row['ours']:,.0f}"
    ends = row["spread"].partition(", ")[2].removesuffix(" %")
    return f"{row['ours']:.0f} % ({ends})"


if __name__ == "__main__":
    main()
