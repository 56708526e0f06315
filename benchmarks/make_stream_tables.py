"""Writes the tables of ``docs/one-machine-teacher.md``: what the planner says of A.X K1, and what was measured.

python benchmarks/make_stream_tables.py [--check]

The plans come from the code that ``axk1 distill cache --stream`` plans with, over the released model's config, without
its weights; the measured points from ``benchmarks/results/stream*.json``.
"""

import json

import numpy as np
import torch
from page_tables import ROOT, fill

from axk1.core.progress import duration
from axk1.distill.records import TokenRanks, TopKRecords
from axk1.distill.stream.byte_size import format_bytes
from axk1.distill.stream.plan import StreamOptions, StreamPlan
from axk1.distill.stream.rates import HARDWARE
from axk1.model.config import ModelConfig

MODEL = ROOT / "recipes/axk1-519b"
MEMORY, DEVICE_MEMORY = 128 << 30, {"h200": 120 << 30, "h100": 70 << 30, "rtx4090": 21 << 30}
"""Main memory of the planned machines, and the memory of their GPU that is used."""
TEXT, PASSES = 4096, (100_000, 300_000, 1_000_000)
"""Tokens of a text, and tokens for which the weights are read once."""
PREDICTION = "the plan's prediction"
HEAD = (
    "| machine | tokens of a pass | states | the pass takes | tokens/s | hours for a billion tokens | limited by |\n"
    "|---|---:|---:|---:|---:|---:|---|\n"
)


def main() -> None:
    """Fills the page."""
    fill("docs/one-machine-teacher.md", {"plan": planned(), "measured": measured()})


def planned() -> str:
    """One pass of each length on each machine, by the planner."""
    config = ModelConfig.load(MODEL)
    records = TopKRecords(16, 32, config.vocab_size, TokenRanks(np.arange(config.vocab_size)))
    lines = []
    for name in HARDWARE:
        options = StreamOptions(MEMORY, DEVICE_MEMORY[name.split("-")[0]], 65536, None, name)
        lengths = np.full(4, TEXT)  # of the texts of one batch: the plan is then the same on every disk
        plan = StreamPlan(
            MODEL, records, lengths, ROOT, options, chunk=TEXT, device=torch.device("cuda"), precision="bf16"
        )  # fmt: skip
        for tokens in PASSES:
            times = plan.predicted(tokens, 1)
            work = sum(seconds for stage, seconds in times.items() if stage != "read")
            seconds, limit = max(times["read"], work), plan.limit(times)
            states = format_bytes(tokens * 3 * 4 * config.hidden_size)
            speed = f"{tokens / seconds:,.0f} | {1e9 / tokens * seconds / 3600:,.0f}"
            lines.append(f"| `{name}` | {tokens:,} | {states} | {duration(seconds)} | {speed} | {limit} |\n")
    return HEAD + "".join(lines)


def measured() -> str:
    """What was predicted and what was measured, from the benchmark's results."""
    rows = ["| measured on | case | predicted | measured |\n|---|---|---:|---:|\n"]
    for path in sorted((ROOT / "benchmarks/results").glob("stream*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        for row in document["rows"]:
            if row["peer_name"] == PREDICTION:
                times = f"{duration(row['peer'])} | {duration(row['ours'])}"
                rows.append(f"| {document['machine']['cpu']}, {document['date']} | {row['case']} | {times} |\n")
    return "".join(rows) if len(rows) > 1 else "Nothing has been measured yet: `python benchmarks/stream.py` does.\n"


if __name__ == "__main__":
    main()
