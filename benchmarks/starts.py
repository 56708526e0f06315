"""What a good start is worth: students cut from their teacher, or put together from its experts, against chance.

    python benchmarks/starts.py [--seeds 3] [--tokens 120000] [--jobs 2] [--output out/starts]
    python benchmarks/starts.py --report         # the tables and the JSON from what is there already

Needs a finished ``axk1 quickstart --seeds 3``: seed s has a teacher and a cache of its own. All students have two
thirds of the teacher's parameters, read the same samples of its cache and differ in where they start, and in whether
the learning rates are those of ``recipes/nano/student.toml`` or a third of them. A part that is up to date is skipped,
one that was killed goes on where it stood (see ``transfer.py``).
"""

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Row, publish
from page_tables import fill
from transfer import Part, evaluated, run_all, seed_run
from transfer_heldout import heldout_figures

from axk1.core import runtime
from axk1.core.artifact import read_manifest, write_text_atomic
from axk1.core.config import from_dict, load_toml
from axk1.distill.initialise.config import InitConfig
from axk1.distill.initialise.init_student import init_student
from axk1.distill.student import DistillConfig, train_student
from axk1.distill.teachers import checkpoint_hash

ROOT = Path(__file__).resolve().parents[1]
STARTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "random": ("drawn at random", "init-dense", {"method": "random"}),
    "dense": ("experts as one dense MLP", "init-dense", {}),
    "experts": ("4 of 16 experts", "init-experts", {}),
    "depth": ("2 of 4 layers", "init-depth", {}),
    "width": ("168 of 256 channels", "init-width", {}),
}
"""Name: (for people, the recipe, what differs from it)."""
RATES: dict[str, dict[str, Any]] = {
    "": {},
    "_third": {"lr": 3e-3, "muon_lr": 1e-3},
}
CONTROL = {"kl_weight": 0.0, "ce_weight": 1.0, "track_kl": False}
ARMS = ["random_control", "dense_control_third", *(f"{start}{rate}" for rate in RATES for start in STARTS)]
"""In the order in which they are run."""
ALONG = (15_000, 30_000, 60_000, 90_000)
"""Tokens after which the KL is reported: of the step that was written last before."""


def main() -> None:
    """Makes what is missing, then reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="teachers, each with a student of every kind")
    parser.add_argument("--tokens", type=int, default=120_000, help="tokens that a student reads")
    parser.add_argument("--jobs", type=int, default=2, help="processes beside each other, of one thread each")
    parser.add_argument("--run", type=Path, default=Path("out/nano"), help="the finished quickstart")
    parser.add_argument("--output", type=Path, default=Path("out/starts"), help="where everything goes")
    parser.add_argument("--report", action="store_true", help="report what is there, run nothing")
    parser.add_argument("--worker", nargs=2, metavar=("ARM", "SEED"), help="for this program's own use")
    options = parser.parse_args()
    os.chdir(ROOT)
    if options.worker:
        work(options.worker[0], int(options.worker[1]), options)
        return
    if not options.report:
        run_all([_part(arm, seed, options) for seed in range(options.seeds) for arm in ("teacher", *ARMS)], options)
    report(options)


def _part(arm: str, seed: int, options: argparse.Namespace) -> Part:
    words = [sys.executable, __file__, "--worker", arm, str(seed), "--tokens", str(options.tokens)]
    words += ["--run", str(options.run), "--output", str(options.output)]
    identity = {"words": words[2:], "teacher": checkpoint_hash(seed_run(options.run, seed) / "teacher")}
    return Part(f"seed {seed}: {arm}", words, options.output / "parts" / f"{arm}-{seed}.json", identity)


def work(arm: str, seed: int, options: argparse.Namespace) -> None:
    """The worker's process: makes a start, trains it, and leaves the figures of both."""
    runtime.end_with_parent()
    torch.set_num_threads(1)
    source = seed_run(options.run, seed)
    model, figures = source / "teacher", {}
    if arm != "teacher":
        begun = make(arm.split("_")[0], seed, options)
        figures = {"parameters": read_manifest(begun).counts["student"]["parameters"]}
        figures["made_kl"] = heldout_kl(begun, source / "teacher", options.run)
        model = train(arm, begun, seed, options)
        figures["along"] = kl_along(model)
    figures |= evaluated(model, options.output / "scores" / f"{arm}-{seed}", seed, quick=False)
    figures |= heldout_figures(model, source / "teacher", options.run / "documents")
    write_text_atomic(options.output / "parts" / f"{arm}-{seed}.figures", json.dumps(figures))


def make(start: str, seed: int, options: argparse.Namespace) -> Path:
    """A student as it begins."""
    _, recipe, changes = STARTS[start]
    output = options.output / "made" / f"{start}-{seed}"
    values = load_toml(f"recipes/nano/{recipe}.toml") | {"output": str(output), "seed": seed, "threads": 1, **changes}
    values |= {"teacher": str(seed_run(options.run, seed) / "teacher")}
    return init_student(from_dict(InitConfig, values, where=start))


def train(arm: str, begun: Path, seed: int, options: argparse.Namespace) -> Path:
    """The student after its training."""
    source, rate = seed_run(options.run, seed), "_third" if arm.endswith("_third") else ""
    values = load_toml("recipes/nano/student.toml")
    values |= {"model": str(begun), "teacher": str(source / "teacher"), "cache": str(source / "knowledge")}
    values |= {"output": str(options.output / "students" / f"{arm}-{seed}"), "total_tokens": options.tokens}
    values |= {"seed": seed, "threads": 1, "optim": values["optim"] | RATES[rate]}
    return train_student(from_dict(DistillConfig, values | (CONTROL if "_control" in arm else {}), where=arm))


def heldout_kl(student: Path, teacher: Path, run: Path) -> float:
    """KL to the teacher on held-out text, the mean of both languages, in nats a token."""
    figures = heldout_figures(student, teacher, run / "documents")
    return (figures["kl_ko"] + figures["kl_en"]) / 2


def kl_along(student: Path) -> dict[str, float]:
    """KL to the teacher while training, on what was read for the first time; empty where it was not tracked."""
    lines = [json.loads(line) for line in (student / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    tracked = [line for line in lines if "kl_to_teacher" in line]
    before = {tokens: [line for line in tracked if line["tokens"] <= tokens] for tokens in ALONG}
    return {str(tokens): found[-1]["kl_to_teacher"] for tokens, found in before.items() if found}


def report(options: argparse.Namespace) -> None:
    """The tables as Markdown; with all seeds they go into ``docs/transfer.md``, and the JSON is written."""
    taken = {arm: _figures(arm, options) for arm in ("teacher", *ARMS)}
    tables = {"starts": results_table(taken), "starts along": along_table(taken)}
    print("\n".join(tables.values()))
    if all(len(found) == options.seeds for found in taken.values()):
        publish("starts", compared(taken), ("torch",))
        fill("docs/transfer.md", tables)


def results_table(taken: dict[str, list[dict[str, Any]]]) -> str:
    """A row for every arm: where it began, and what became of it."""
    heads = ["start", "learning rates", "KL as made", "KL trained", "Korean", "English", "reasoning"]
    heads += ["gap closed, ko", "gap closed, en"]
    lines = [f"| {' | '.join(heads)} |\n|---|---|{'---:|' * (len(heads) - 2)}\n"]
    for arm, found in taken.items():
        cells = [_shown(found, key, ".3f") for key in ("made_kl", "kl", "bits_ko", "bits_en")]
        cells.append(_shown(found, "reasoning", ".1%"))
        if arm not in ("teacher", "random_control"):
            gaps = [_gap_closed(found, taken["random_control"], taken["teacher"], f"bits_{at}") for at in ("ko", "en")]
            cells += [_shown([{"gap": gap} for gap in each], "gap", ".0%") for each in gaps]
        lines.append(f"| {' | '.join([_label(arm), _rates(arm), *cells, '', ''][: len(heads)])} |\n")
    return "".join(lines)


def along_table(taken: dict[str, list[dict[str, Any]]]) -> str:
    """KL while training, the mean over seeds."""
    heads = [f"{tokens // 1000} K" for tokens in ALONG]
    lines = [f"| start | learning rates | {' | '.join(heads)} |\n|---|---|{'---:|' * len(ALONG)}\n"]
    for arm, found in taken.items():
        curves = [one["along"] for one in found if one.get("along")]
        if curves:
            cells = [f"{np.mean([curve[str(tokens)] for curve in curves]):.3f}" for tokens in ALONG]
            lines.append(f"| {_label(arm)} | {_rates(arm)} | {' | '.join(cells)} |\n")
    return "".join(lines)


def compared(taken: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """Every start against chance with the same learning rates."""
    rows = []
    for arm, found in taken.items():
        chance = "random_third" if arm.endswith("_third") else "random"
        if arm == "teacher" or "_control" in arm or arm == chance:
            continue
        for metric, key, unit in (
            ("KL", "kl", "nat"),
            ("Korean", "bits_ko", "bits/byte"),
            ("English", "bits_en", "bits/byte"),
        ):
            ours, peer = (float(np.mean([one[key] for one in side])) for side in (found, taken[chance]))
            case, spread = f"{_label(arm)}, {_rates(arm)} learning rates", f"{len(found)} seeds"
            rows.append(Row(case, metric, unit, ours, peer, "drawn at random", peer / ours, spread))
    return rows


def _label(arm: str) -> str:
    if arm == "teacher":
        return "the teacher itself"
    return STARTS[arm.split("_")[0]][0] + ", no teacher" * ("_control" in arm)


def _rates(arm: str) -> str:
    return "" if arm == "teacher" else "a third" if arm.endswith("_third") else "the recipe's"


def _gap_closed(found: list[dict], control: list[dict], teacher: list[dict], key: str) -> list[float]:
    """Of each seed: how much of the way from the control to the teacher is done."""
    return [(c[key] - one[key]) / (c[key] - t[key]) for one, c, t in zip(found, control, teacher, strict=False)]


def _figures(arm: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    stamps = [options.output / "parts" / f"{arm}-{seed}.json" for seed in range(options.seeds)]
    found = [json.loads(stamp.read_text(encoding="utf-8"))["figures"] for stamp in stamps if stamp.is_file()]
    return [{**one, "kl": (one["kl_ko"] + one["kl_en"]) / 2} for one in found]


def _shown(found: list[dict[str, Any]], key: str, style: str) -> str:
    """Mean and its standard error."""
    values = [one[key] for one in found if key in one]
    if not values:
        return ""
    error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{np.mean(values):{style}} ± {error:{style}}".replace("%", " %").replace(" % ±", " ±")


if __name__ == "__main__":
    main()
