"""Writes the tables of ``docs/retrieval.md`` from ``benchmarks/results/retrieval-*.json`` and ``search_scale_*.json``.

python benchmarks/make_retrieval_tables.py [--check]
"""

from page_tables import fill, results

METRICS = ("MRR@10", "recall@10", "nDCG@10")
HYBRID = "hybrid"


def main() -> None:
    """Fills the page."""
    rows = results("retrieval")
    fill("docs/retrieval.md", {"quality": quality(rows), "leads": leads(rows), "rates": rates(rows), "scale": scale()})


def quality(rows: list[dict]) -> str:
    """For each set and way the three measures."""
    rows = [row for row in rows if row["metric"] in METRICS]
    lines = ["| set | way | " + " | ".join(METRICS) + " |\n|---|---|" + "---:|" * len(METRICS) + "\n"]
    for case in dict.fromkeys(row["case"] for row in rows):
        here = [row for row in rows if row["case"] == case]
        ways = dict.fromkeys(row["peer_name"] for row in here)
        for number, way in enumerate([HYBRID, *ways]):
            side = "ours" if way == HYBRID else "peer"
            found = {row["metric"]: row[side] for row in here if way in (HYBRID, row["peer_name"])}
            figures = " | ".join(f"{found[metric]:.3f}" for metric in METRICS)
            bold = "**" if way == HYBRID else ""
            lines.append(f"| {'' if number else case} | {bold}{way}{bold} | {figures} |\n")
    return "".join(lines)


def leads(rows: list[dict]) -> str:
    """How far the hybrid is ahead of each part in MRR@10, with the interval of the difference."""
    lines = ["| set | ahead of | by, in MRR@10 | 95 % interval |\n|---|---|---:|---|\n"]
    for row in rows:
        if row["metric"] == "MRR@10" and row["goal"] is not None:
            interval = row["spread"].rpartition("difference ")[2]
            set_name = row["case"].partition(":")[0]
            lines.append(f"| {set_name} | {row['peer_name']} | {row['ours'] - row['peer']:+.3f} | {interval} |\n")
    return "".join(lines)


def rates(rows: list[dict]) -> str:
    """How fast the default encoder is."""
    lines = ["| encoder | passages/s |\n|---|---:|\n"]
    lines += [f"| {row['case']} | {row['ours']:.0f} |\n" for row in rows if row["metric"] == "encoding"]
    return "".join(lines)


def scale() -> str:
    """What more passages cost: a column for each size."""
    found = [results(f"search_scale_{size}") for size in (100_000, 1_000_000)]
    lines = ["| | " + " | ".join(rows[0]["case"] for rows in found) + " |\n|---|" + "---:|" * len(found) + "\n"]
    for number, row in enumerate(found[0]):
        figures = " | ".join(_figure(rows[number]["ours"], row["unit"]) for rows in found)
        lines.append(f"| {row['metric']} | {figures} |\n")
    return "".join(lines)


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


if __name__ == "__main__":
    main()
