"""Does teaching teach, and how much must a cache hold? One student size, equal tokens, many ways to teach.

    python benchmarks/transfer.py [--seeds 3] [--tokens 170000] [--jobs 2] [--output out/transfer] [--quick]
    python benchmarks/transfer.py --report          # the table, the plots and the JSON from what is there already

Needs a finished ``axk1 quickstart --seeds 3``: seed s has a teacher of its own, ``out/nano/teacher`` or
``out/nano/seed-S/teacher``. Every cache and every student is a process of its own with one thread; a part that is up to
date is skipped, one that was killed goes on where it stood. ``transfer_arms.py`` says what is compared,
``transfer_heldout.py`` measures KL and calibration, ``transfer_report.py`` makes table and plots.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfer_arms import ARMS, BY_NAME, CACHES, train_arm
from transfer_heldout import HELDOUT_BYTES, heldout_figures
from transfer_report import report

from axk1.core import runtime
from axk1.core.artifact import read_manifest, write_text_atomic
from axk1.core.config import from_dict, load_toml
from axk1.core.progress import console, print_plan, progress
from axk1.distill.teachers import checkpoint_hash
from axk1.engine.llm import LLM
from axk1.eval.evaluate import EvalConfig, evaluate

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("control", "hidden", "draws_64", "renormalised_64")
QUICK_TOKENS = 8192


@dataclass
class Part:
    """A cache, or a student with its figures: one process."""

    name: str
    words: list[str]
    """The command."""
    stamp: Path
    """Written when it is done; holds what it was made from."""
    identity: dict[str, Any]
    needs: list[Path] = field(default_factory=list)
    """Stamps of the parts that come before it."""

    @property
    def done(self) -> bool:
        """Whether it was made from just this."""
        try:
            return json.loads(self.stamp.read_text(encoding="utf-8"))["identity"] == self.identity
        except (FileNotFoundError, ValueError, KeyError):
            return False


def main() -> None:
    """Runs what is missing, then reports."""
    options = arguments()
    os.chdir(ROOT)
    if options.worker:
        work(options.worker, options)
        return
    if not options.report:
        run_all(plan(options), options)
    report(options.output, seeds=options.seeds, publish_results=not options.quick)


def arguments() -> argparse.Namespace:
    """The options of this program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="teachers, each with a student of every kind")
    parser.add_argument("--tokens", type=int, default=170_000, help="tokens that a student reads")
    parser.add_argument("--jobs", type=int, default=2, help="processes beside each other, of one thread each")
    parser.add_argument("--run", type=Path, default=Path("out/nano"), help="the finished quickstart")
    parser.add_argument("--output", type=Path, default=Path("out/transfer"), help="where caches and students go")
    parser.add_argument("--arms", nargs="*", default=None, help=f"some of {', '.join(BY_NAME)}")
    parser.add_argument("--quick", action="store_true", help="one seed, few tokens and arms; nothing is published")
    parser.add_argument("--report", action="store_true", help="report what is there, run nothing")
    parser.add_argument("--worker", nargs=2, metavar=("ARM", "SEED"), help="for this program's own use")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.tokens, options.arms = 1, QUICK_TOKENS, options.arms or list(QUICK)
        options.output = options.output.with_name(f"{options.output.name}-quick")
    return options


def seed_run(run: Path, seed: int) -> Path:
    """Where the quickstart keeps a seed."""
    return run if seed == 0 else run / f"seed-{seed}"


def plan(options: argparse.Namespace) -> list[Part]:
    """All parts in the order of their importance, each behind what it needs."""
    parts: dict[str, Part] = {}
    arms = [arm for arm in ARMS if options.arms is None or arm.name in options.arms]
    for name in ("teacher", *(arm.name for arm in arms)):
        for seed in range(options.seeds):
            wanted = [_figures_part(name, seed, options)]
            if name in BY_NAME:
                wanted.insert(0, _cache_part(BY_NAME[name].cache, seed, options))
            parts |= {part.name: part for part in wanted if part.name not in parts}
    return list(parts.values())


def _cache_part(cache: str, seed: int, options: argparse.Namespace) -> Part:
    """The recipe's share of the student's tokens is cached, the same samples in every cache."""
    folder, teacher = options.output / f"seed-{seed}", seed_run(options.run, seed) / "teacher"
    recipe = "recipes/nano/cache.toml"
    share = load_toml(recipe)["max_tokens"] / load_toml("recipes/nano/student.toml")["total_tokens"]
    words = [sys.executable, "-m", "axk1", "distill", "cache", recipe, "--teacher", str(teacher), "--threads", "1"]
    words += ["--output", str(folder / "caches" / cache), "--max-tokens", str(int(options.tokens * share))]
    for name, value in CACHES[cache].items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    identity = {"words": words[1:], "teacher": checkpoint_hash(teacher)}
    return Part(f"seed {seed}: cache {cache}", words, folder / "parts" / f"cache-{cache}.json", identity)


def _figures_part(name: str, seed: int, options: argparse.Namespace) -> Part:
    """A student, trained and examined; or the teacher, examined."""
    folder, teacher = options.output / f"seed-{seed}", seed_run(options.run, seed) / "teacher"
    words = [sys.executable, __file__, "--worker", name, str(seed), "--tokens", str(options.tokens)]
    words += ["--run", str(options.run), "--output", str(options.output)]
    needs = []
    if name in BY_NAME:
        arm = BY_NAME[name]
        needs = [folder / "parts" / f"cache-{arm.cache}.json"]
        needs += [folder / "parts" / f"{arm.after}.json"] if arm.after else []
    identity = {"tokens": options.tokens, "teacher": checkpoint_hash(teacher), "heldout_bytes": HELDOUT_BYTES}
    identity["arm"] = BY_NAME[name].identity if name in BY_NAME else name
    return Part(f"seed {seed}: {name}", words, folder / "parts" / f"{name}.json", identity, needs)


def run_all(parts: list[Part], options: argparse.Namespace) -> None:
    """Runs the parts that are not done, ``--jobs`` at a time; leaves with exit code 1 where one failed."""
    waiting, title = [part for part in parts if not part.done], Path(sys.argv[0]).stem
    print_plan(
        title,
        {
            "students": f"{options.tokens:,} tokens each, {options.seeds} seeds",
            "parts": f"{len(parts)}, of which {len(parts) - len(waiting)} are up to date",
            "processes": f"{options.jobs}, a thread each",
            "output": options.output,
        },
    )
    running: dict[subprocess.Popen[bytes], tuple[Part, float]] = {}
    failed: list[str] = []
    try:
        with progress(title, total=len(parts), unit="parts") as meter:
            meter.skip(len(parts) - len(waiting))
            while waiting or running:
                stamps = {part.stamp for part in waiting} | {part.stamp for part, _ in running.values()}
                ready = [part for part in waiting if not stamps & set(part.needs)]
                if ready and len(running) < options.jobs:
                    waiting.remove(ready[0])
                    running[_start(ready[0])] = ready[0], time.monotonic()
                    continue
                for process in [one for one in running if one.poll() is not None]:
                    part, start = running.pop(process)
                    meter.advance(note=part.name)
                    if process.returncode:
                        failed.append(part.name)
                        console.print(f"{part.name} failed: {_log(part)}\n  {shlex.join(part.words)}")
                    else:
                        _stamp(part, time.monotonic() - start)
                time.sleep(0.2)
    finally:
        for process in running:
            process.terminate()  # a training that is told to stop saves its state first
        for process in running:
            process.wait()
    if failed:
        console.print(f"error: {len(failed)} parts failed: {', '.join(failed)}\nrepair: read their logs, run again")
        sys.exit(1)


def _start(part: Part) -> subprocess.Popen[bytes]:
    part.stamp.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **runtime.ENVIRONMENT, "OMP_NUM_THREADS": "1", runtime.PARENT: str(os.getpid())}
    with open(_log(part), "wb") as log:
        return subprocess.Popen(part.words, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _log(part: Part) -> Path:
    return part.stamp.with_suffix(".log")


def _stamp(part: Part, seconds: float) -> None:
    """Notes what a part was made from, with the figures that it left."""
    note = {"identity": part.identity, "seconds": round(seconds, 1)}
    figures = part.stamp.with_suffix(".figures")
    if figures.exists():
        note["figures"] = json.loads(figures.read_text(encoding="utf-8"))
        figures.unlink()
    write_text_atomic(part.stamp, json.dumps(note, indent=2) + "\n")


def work(which: list[str], options: argparse.Namespace) -> None:
    """The worker's process: trains a student and leaves its figures."""
    runtime.end_with_parent()
    name, seed = which[0], int(which[1])
    folder, teacher = options.output / f"seed-{seed}", seed_run(options.run, seed) / "teacher"
    model, figures = teacher, {}
    if name in BY_NAME:
        arm = BY_NAME[name]
        paths = {"teacher": teacher, "caches": folder / "caches", "students": folder / "students"}
        model = train_arm(arm, **paths, tokens=options.tokens, seed=seed)
        cache = read_manifest(folder / "caches" / arm.cache).counts
        figures["bytes"] = (cache["bytes"] - _matrix_bytes(folder / "caches" / arm.cache)) / cache["rows"]
        figures["train_seconds"] = read_manifest(model).counts["seconds"]
    scores = evaluated(model, folder / "scores" / name, seed, quick="-quick" in options.output.name)
    figures |= scores | heldout_figures(model, teacher, options.run / "documents")
    write_text_atomic(folder / "parts" / f"{name}.figures", json.dumps(figures))


def _matrix_bytes(cache: Path) -> int:
    """What a cache holds once, whatever its length."""
    matrix = cache / "output_matrix.safetensors"
    return matrix.stat().st_size if matrix.exists() else 0


def evaluated(model: Path, output: Path, seed: int, *, quick: bool) -> dict[str, float]:
    """The scores of ``axk1 eval recipes/nano/eval.toml``."""
    values = load_toml("recipes/nano/eval.toml") | {"model": str(model), "output": str(output), "seed": seed}
    if quick:
        values |= {"problems_per_task": 8, "heldout_bytes": 20_000}
    config = from_dict(EvalConfig, values, where="eval")
    evaluate(LLM.load(model), config)
    results = json.loads((output / "results.json").read_text(encoding="utf-8"))["results"]
    figures = {f"bits_{language}": results[f"heldout_{language}"]["bits_per_byte,none"] for language in ("ko", "en")}
    return figures | {name: results[name]["exact_match,none"] for name in results if name.startswith("reasoning")}


if __name__ == "__main__":
    main()
