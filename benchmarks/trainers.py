"""Whole trainers at a vocabulary of 163,840: tokens a second and peak memory beside TRL's GKD and DistillationTrainer.

    python benchmarks/trainers.py [--quick] [--threads 2]

A random teacher (A.X K1's architecture at nano size) and a random student (Qwen3 at nano size), fp32, both written as
Hugging Face folders and opened by both sides; the same sequences of real text. The teacher's output matrix is scaled so
that its distributions have an entropy of a few nats. Every side is a process of its own; memory is the peak of the
whole process. Time is that of the training steps but the first.

Off-policy, GKD's teacher computes in the step. Ours has two figures: from a cache that is there, as for the second
student and every later one, and with the capture, as for the first. The learning rate is next to nothing and each
sequence comes once, so that the mean divergence over the run must be the same: a row counts only where it agrees.
On-policy, both write answers of 64 tokens and learn from the teacher's distribution on them, by the reverse KL.
"""

import contextlib
import importlib.metadata
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness import Row, arguments, publish, refuse_busy_machine
from trainers_world import CACHES, make_world

from axk1.core.runtime import ENVIRONMENT

PREPARED = ("teacher", "student")
GKD, DISTILLATION = "TRL GKDTrainer", "TRL DistillationTrainer"
SPEED_GOAL, MEMORY_GOAL = 4.0, 4.0
AGREEMENT = 2e-3
"""How far the mean divergence of the whole-distribution cache may lie from GKD's: its states are rounded to bf16."""
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Sizes:
    """How much is trained."""

    rows: int
    """Sequences of a step."""
    length: int
    """Tokens of a sequence."""
    steps: int
    """Steps, the first of which is not timed."""
    answers: int = 64
    """Tokens of an answer of the student."""


FULL, QUICK = Sizes(rows=4, length=256, steps=6), Sizes(rows=2, length=128, steps=4)


def main() -> None:
    """Measures all sides and publishes the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--worker", nargs=2, metavar=("SIDE", "FOLDER"), help="for this program's own use")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    if options.worker:
        from trainers_sides import SIDES

        side, folder = options.worker
        print(json.dumps(SIDES[side](Path(folder), sizes, options.threads)))
        return
    refuse_busy_machine(options.force)
    with tempfile.TemporaryDirectory(prefix="axk1-trainers-") as folder:
        world = Path(folder)
        make_world(world, ROOT / "out/nano", sizes)
        rows = off_policy(world, options.threads, options.quick) + on_policy(world, options.threads, options.quick)
    publish("trainers", rows, ("torch", *filter(installed, ("trl", "transformers"))))


def off_policy(world: Path, threads: int, quick: bool) -> list[Row]:
    """Teaching on given text."""
    measured = {}
    for kind in CACHES:
        captured = measure(f"capture {kind}", world, threads, quick)
        taught = measure(f"train {kind}", world, threads, quick)
        both = 1 / (1 / captured["rate"] + 1 / taught["rate"])
        memory = max(captured["memory"], taught["memory"])
        measured[f"from a {kind} cache"] = taught
        measured[f"{kind}, capture counted"] = {**taught, "rate": both, "memory": memory}
        print(f"{kind}: capture {captured['rate']:,.0f} tokens/s, {captured['bytes']:.0f} bytes a token")
    peer = measure("gkd", world, threads, quick)
    if "skipped" in peer:
        return [Row(case, "speed", "tokens/s", mine["rate"], None, f"{GKD}: {peer['skipped']}", None, "")
                for case, mine in measured.items()]  # fmt: skip
    mine = measured["from a hidden cache"]["divergence"]
    assert math.isclose(mine, peer["divergence"], rel_tol=AGREEMENT), f"KL is {mine} here, {peer['divergence']} in GKD"
    for case, one in measured.items():
        print(f"{case}: mean KL {one['divergence']:.4f}, GKD {peer['divergence']:.4f}")
    return [row for case, one in measured.items() for row in compare(f"off-policy, {case}", one, peer, GKD)]


def on_policy(world: Path, threads: int, quick: bool) -> list[Row]:
    """Teaching on the student's own answers; the rate counts the answers' tokens."""
    mine = measure("on-policy", world, threads, quick)
    peer = measure("distillation", world, threads, quick)
    if "skipped" in peer:
        name = f"{DISTILLATION}: {peer['skipped']}"
        return [Row("on-policy", "speed", "answer tokens/s", mine["rate"], None, name, None, "")]
    return compare("on-policy, answers of 64 tokens", mine, peer, DISTILLATION, "answer tokens/s")


def compare(case: str, mine: dict, peer: dict, name: str, unit: str = "tokens/s") -> list[Row]:
    """Speed and memory of a case."""
    spread = f"{mine['spread']} / {peer['spread']}"
    return [
        Row(case, "speed", unit, mine["rate"], peer["rate"], name, mine["rate"] / peer["rate"], spread, SPEED_GOAL),
        Row(case, "peak_memory", "MB", mine["memory"], peer["memory"], name, peer["memory"] / mine["memory"], "",
            MEMORY_GOAL),
    ]  # fmt: skip


def measure(side: str, world: Path, threads: int, quick: bool) -> dict:
    """Runs one side in a process of its own."""
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, __file__, "--threads", str(threads), "--worker", side, str(world)]
    start = time.monotonic()
    run = subprocess.run(words + ["--quick"] * quick, env=environment, capture_output=True, text=True, cwd=ROOT)
    if run.returncode:
        raise RuntimeError(f"{side}: {run.stderr[-3000:]}")
    print(f"{side}: {time.monotonic() - start:.0f} s", flush=True)
    return json.loads(run.stdout.splitlines()[-1])


def installed(package: str) -> bool:
    """Whether a package is here."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version(package))
    return False


def rate_of(tokens: int, seconds: list[float]) -> dict[str, object]:
    """Tokens a second by the median step, and the range."""
    rates = sorted(tokens / one for one in seconds)
    return {"rate": tokens / statistics.median(seconds), "spread": f"{rates[0]:,.0f} - {rates[-1]:,.0f}"}


if __name__ == "__main__":
    main()
