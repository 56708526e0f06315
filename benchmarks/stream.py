"""A teacher larger than memory scores text: our stream against the same model in memory, and against accelerate.

    python benchmarks/stream.py [--quick] [--threads 2] [--gigabytes 8] [--memory 2GiB] [--work FOLDER]

A random A.X K1 of about 8 GB in bfloat16 (see ``stream_models.py``) is written, scores text, and is deleted. All sides
compute in float32 and give the log-probabilities of the 16 best tokens at every position of the same texts of 512
tokens; a row counts only if these agree. Every side is a process of its own.

- stream: ``axk1 distill cache --stream``; the checkpoint goes by once, within ``--memory`` for the whole process.
- in memory: the teacher of ``axk1 distill cache``; loading is not part of its time. It needs 4 bytes a weight, or is
  left out.
- accelerate: ``AXK1ForCausalLM`` of transformers with ``device_map="auto"`` and the same memory; the rest lies on disk,
  as float32. It scores as many texts as it can hold at once, once. Its files are dropped from the page cache before, as
  they would not fit there if the machine had no more than the memory that is asked for.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from harness import Row, arguments, publish, refuse_busy_machine
from stream_models import small_axk1, write
from stream_sides import SIDES, status

from axk1.core.runtime import ENVIRONMENT
from axk1.distill.stream.byte_size import parse_bytes
from axk1.model.config import ModelConfig

TEXT = 512
"""Tokens of a text."""
BEGINNING = 32
"""Places of a text at which the sides must agree."""
BATCHES, QUICK = (2048, 8192, 32768), (2048, 8192)
"""Tokens that are scored at once, in the stream's full and quick measurements."""
PEER_TOKENS = (512, 4096)
"""Tokens that accelerate scores at once: a text, and so many that their logits take 0.6 GB."""
PREDICTION = "the plan's prediction"
GOALS = {"in memory": 0.8, "accelerate": 20.0, "memory": 1.0}


def main() -> None:
    """Writes the model, runs the sides, deletes the model."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, help="size of the checkpoint (default 8; with --quick 1)")
    parser.add_argument("--memory", help="most memory of the stream's process (default 2GiB; with --quick 768MiB)")
    parser.add_argument("--work", type=Path, help="where the model is written (default: a temporary folder)")
    parser.add_argument("--worker", nargs=3, metavar="X", help="for this program's own use")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.memory = parse_bytes(options.memory or ("768MiB" if options.quick else "2GiB"), "memory")
    if options.worker:
        work(options)
        return
    refuse_busy_machine(options.force)
    options.gigabytes = options.gigabytes or (1 if options.quick else 8)
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        rows = compare(Path(name), options)
    publish(f"stream_{options.gigabytes:g}gb", rows, ("torch", "transformers", "accelerate"))


def compare(folder: Path, options: argparse.Namespace) -> list[Row]:
    """All rows."""
    nbytes = write(small_axk1(options.gigabytes), folder / "model")
    print(f"written: a model of {nbytes / 1e9:.1f} GB", flush=True)
    batches = QUICK if options.quick else BATCHES
    case = f"{nbytes / 1e9:.1f} GB"
    disk = measure("disk", folder, 0, options)
    memory = measure("in memory", folder, batches[-1], options)
    offloaded = {tokens: measure("accelerate", folder, tokens, options) for tokens in PEER_TOKENS}
    rows = []
    for tokens in batches:
        ours = measure("stream", folder, tokens, options)
        goal = GOALS["in memory"] if tokens == batches[-1] else None
        rows.append(speed(f"{case}, {tokens:,} tokens", ours, memory, "in memory", goal))
    for peer_tokens, peer in offloaded.items():
        name = f"accelerate, {peer_tokens:,} at once"
        rows.append(speed(f"{case}, {tokens:,} tokens", ours, peer, name, GOALS["accelerate"]))
    rows.append(
        figure(case, ("peak memory", "MB"), ours["peak"] / 1e6, options.memory / 1e6, "--memory", GOALS["memory"])
    )
    if "peak" in offloaded[PEER_TOKENS[0]]:
        peer_peak = offloaded[PEER_TOKENS[0]]["peak"] / 1e6
        rows.append(figure(case, ("peak memory", "MB"), ours["peak"] / 1e6, peer_peak, "accelerate, one text"))
    used, alone = ours["bytes"] / ours["seconds"] / 1e9, disk["bytes"] / disk["seconds"] / 1e9
    note = f"{ours['waited'] / ours['seconds']:.0%} of the time waiting for weights"
    rows.append(Row(case, "reading", "GB/s", used, alone, "reading alone", used / alone, note))
    rows.append(figure(f"{case}, {tokens:,} tokens", ("time", "s"), ours["seconds"], ours["predicted"], PREDICTION))
    return rows


def speed(case: str, ours: dict, peer: dict, name: str, goal: float | None) -> Row:
    """Tokens a second of both, once their results agree."""
    if "skipped" in peer:
        return Row(case, "scoring", "tokens/s", ours["rate"], None, f"{name}: {peer['skipped']}", None, "", goal)
    agree(np.load(ours["scores"]), np.load(peer["scores"]), name)
    return figure(case, ("scoring", "tokens/s"), ours["rate"], peer["rate"], name, goal)


def figure(case: str, metric: tuple[str, str], ours: float, peer: float, name: str, goal: float | None = None) -> Row:
    """A figure of both sides, which is measured once."""
    better = ours / peer if metric[1] == "tokens/s" else peer / ours
    return Row(case, *metric, ours, peer, name, better, "one run", goal)


def agree(ours: np.ndarray, other: np.ndarray, name: str) -> None:
    """Fails unless the log-probabilities at the texts' beginnings are the same but for a few tokens of tied experts.

    The random weights leave the scores of 192 experts close together, so that the last bit decides now and then. The
    tokens behind such a one see another text, so that in long texts few places stay the same; hence the beginnings.
    """
    rows = min(len(ours), len(other)) // (TEXT - 1) * (TEXT - 1)
    apart = np.abs(ours[:rows] - other[:rows]).reshape(-1, TEXT - 1, *ours.shape[1:])
    assert np.isfinite(apart).all(), f"{name}: not all log-probabilities are numbers"
    early = apart[:, :BEGINNING]
    said = (
        f"{name}: log-probabilities apart by {np.median(early):.2g} (median) at the texts' first {BEGINNING} places, "
        f"{np.mean(early > 1e-2):.1%} by more than 0.01; {np.median(apart):.2g} and {np.mean(apart > 1e-2):.1%} at all"
    )
    print(said, flush=True)
    assert np.median(early) < 1e-4 and np.mean(early > 1e-2) < 0.1, said


def measure(side: str, folder: Path, tokens: int, options: argparse.Namespace) -> dict:
    """Runs one side in a process of its own."""
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(options.threads)}
    words = [sys.executable, __file__, "--threads", str(options.threads), "--memory", str(options.memory)]
    words += ["--worker", side, str(folder), str(tokens)]
    run = subprocess.run(words, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{side}: {run.stderr[-3000:]}")
    result = json.loads(run.stdout.splitlines()[-1])
    shown = {key: round(value, 3) for key, value in result.items() if isinstance(value, float)}
    print(f"{side}, {tokens:,} tokens: {result.get('skipped') or shown}", flush=True)
    return result


def work(options: argparse.Namespace) -> None:
    """The worker's process: prints what scoring took, and writes the scores beside the model."""
    side, folder, tokens = options.worker[0], Path(options.worker[1]), int(options.worker[2])
    vocabulary = ModelConfig.load(folder / "model").vocab_size
    ids_BT = torch.randint(0, vocabulary, (tokens // TEXT, TEXT), generator=torch.Generator().manual_seed(1))
    result = SIDES[side](folder / "model", ids_BT, options.memory, options.threads)
    if "skipped" not in result:
        result["peak"] = status("VmHWM")
        if (scores := result.pop("scores", None)) is not None:
            result["scores"] = str(folder / f"{side}-{tokens}.npy")
            result["rate"] = tokens / result["seconds"]
            np.save(result["scores"], scores)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
