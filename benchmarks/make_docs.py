"""Makes ``docs/benchmarks.md`` from the files in ``benchmarks/results``.

python benchmarks/make_docs.py [--check]
"""

import json
import sys
from pathlib import Path

from harness import figure, goal_reached

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/benchmarks.md"
HEAD = """# Benchmarks

Made by `python benchmarks/make_docs.py` from `benchmarks/results`. Each table names the command that measured it, the
machine and the versions. A ratio above 1 always means that ours is better. Both sides ran in one run, warmed up and in
turn; figures are medians.
"""


def page() -> str:
    """The whole page."""
    documents = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "benchmarks/results").glob("*.json"))
    ]
    return HEAD + "".join(_section(document) for document in documents)


def _section(document: dict) -> str:
    machine, versions = document["machine"], document["versions"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"
    lines = [
        f"\n## {document['benchmark']}\n",
        f"`{document['command']}` on {where}{', ' + machine['gpu'] if machine['gpu'] else ''}, {document['date']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".\n",
        "| case | metric | ours | peer | | ratio | spread | goal |",
        "|---|---|---:|---:|---|---:|---|---|",
    ]
    for row in document["rows"]:
        goal = goal_reached(row["goal"], row["met"])
        figures = " | ".join([*(figure(row[side], row["unit"]) for side in ("ours", "peer")), row["peer_name"]])
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        metric = row["metric"].replace("_", " ")
        lines.append(f"| {row['case']} | {metric} | {figures} | {ratio} | {row['spread']} | {goal} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(
            PAGE.read_text(encoding="utf-8") != page()
            and "docs/benchmarks.md is not what benchmarks/make_docs.py makes"
        )
    PAGE.write_text(page(), encoding="utf-8")
