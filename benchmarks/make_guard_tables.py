"""Writes the table of ``docs/guard.md`` from ``benchmarks/results/guard-*.json``.

python benchmarks/make_guard_tables.py [--check]
"""

from page_tables import fill, results

_ATTACKS = "hidden instructions, {}: all"


def main() -> None:
    """Fills the page."""
    fill("docs/guard.md", {"guard": table(results("guard"))})


def table(rows: list[dict]) -> str:
    """What is found and what is flagged for nothing, by kind of text."""
    by_case = {(row["case"], row["metric"]): row for row in rows}
    personal = [row for row in rows if row["case"].startswith("personal data: ") and row["metric"] == "found whole"]
    lines = ["| what | found, ours | Presidio's patterns | texts |\n|---|---:|---:|---|\n"]
    lines += [_line(row["case"], row["ours"], row["peer"], row["spread"]) for row in personal]
    carriers = by_case["personal data: carriers", "found besides, per text"]
    lines.append(
        f"| found besides what was put in, in a text | {carriers['ours']:.2f} | {carriers['peer']:.2f} | "
        f"{carriers['spread']} |\n"
    )
    for part in ("seen", "unseen"):
        caught = by_case[_ATTACKS.format(part), "caught"]
        lines.append(_line(f"attacks, {part}", caught["ours"], None, caught["spread"]))
        flagged = by_case[f"benign texts, {part}", "flagged"]
        what = f"harmless texts about such things, {part}: flagged"
        lines.append(_line(what, flagged["ours"], None, flagged["spread"]))
    for part in ("seen", "unseen"):
        found = by_case[f"unsafe requests, {part}", "found"]
        lines.append(_line(f"unsafe requests, {part}", found["ours"], None, found["spread"]))
        flagged = by_case[f"harmless requests, {part}", "flagged"]
        lines.append(_line(f"harmless requests, {part}: flagged", flagged["ours"], None, flagged["spread"]))
    for case in ("SQuARe questions, Korean", "SQuARe questions, English", "KoBBQ"):
        row = by_case[case, "flagged"]
        lines.append(_line(f"{case} (sensitive, not unsafe): flagged", row["ours"], None, row["spread"]))
    row = by_case["KorQuAD, bills, reviews, manuals", "flagged as attacks"]
    lines.append(_line("ordinary texts: flagged as attacks", row["ours"], None, row["spread"]))
    return "".join(lines)


def _line(what: str, ours: float, peer: float | None, texts: str) -> str:
    other = "" if peer is None else f"{peer:.0%}"
    return f"| {what} | {ours:.1%} | {other} | {texts} |\n"


if __name__ == "__main__":
    main()
