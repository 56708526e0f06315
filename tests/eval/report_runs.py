"""Makes run folders as the stages write them, small and fast, for the tests of the report page."""

import gzip
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from axk1.core.artifact import building, write_manifest
from axk1.model.config import ModelConfig

TEACHER = ModelConfig(
    vocab_size=4096, hidden_size=256, num_hidden_layers=6, num_attention_heads=4, intermediate_size=512,
    q_lora_rank=96, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32,
    n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=256, max_position_embeddings=1024,
)  # fmt: skip
MODES = ("think", "no_think")
STUDENT = ModelConfig(
    architecture="Qwen3ForCausalLM", vocab_size=4096, hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, head_dim=32, intermediate_size=384, max_position_embeddings=1024, tie_word_embeddings=True,
)  # fmt: skip


def write_metrics(
    path: Path,
    *,
    steps: int,
    start: float,
    floor: float,
    seed: int,
    experts: int = 0,
    kl: tuple[float, float] | None = None,
) -> None:
    """A training log with a falling loss, in the form of ``metrics.jsonl``."""
    noise, per_step = random.Random(seed), 4096
    with open(path, "w", encoding="utf-8") as file:
        for step in range(10, steps + 1, 10):
            share = step / steps
            shared = random.Random(f"batch {step}").gauss(0, 0.05)  # student and control see the same batches
            loss = floor + (start - floor) * math.exp(-7 * share) + shared + noise.gauss(0, 0.01)
            line: dict[str, Any] = {
                "step": step, "tokens": step * per_step, "seconds": step * 0.4,
                "tokens_per_second": 10_000 * (1 + noise.gauss(0, 0.03)),
                "lr": 3e-3 * min(1.0, share / 0.02) * (1 if share < 0.8 else 1 - ((share - 0.8) / 0.2) ** 0.5),
                "loss": loss + 0.01, "cross_entropy": loss,
                "grad_norm": math.exp(-share) * math.exp(noise.gauss(0, 0.2)),
            }  # fmt: skip
            if experts:
                line["balance_loss"] = 1.0 + 0.5 * math.exp(-5 * share)
                line["expert_load"] = [_load(noise, experts, 0.5 * math.exp(-3 * share) + 0.08) for _ in range(5)]
            if kl:
                line["kl_to_teacher"] = kl[1] + (kl[0] - kl[1]) * math.exp(-6 * share) + 0.3 * shared
            file.write(json.dumps(line) + "\n")


def _load(noise: random.Random, experts: int, spread: float) -> list[float]:
    raw = [math.exp(noise.gauss(0, spread)) for _ in range(experts)]
    return [value / sum(raw) for value in raw]


def write_checkpoint(folder: Path, config: ModelConfig, *, command: Sequence[str] = (), **log: Any) -> None:
    """A checkpoint artifact: config.json, the log and the manifest (the page reads no weights)."""
    with building(folder) as temporary:
        (temporary / "config.json").write_text(json.dumps(config.to_hf()), encoding="utf-8")
        write_metrics(temporary / "metrics.jsonl", **log)
        counts = {"steps": log["steps"], "tokens": log["steps"] * 4096, "seconds": log["steps"] * 0.4}
        counts |= {"precision": "bf16", "device": "cpu", "threads": 2, "processes": 1}
        write_manifest(temporary, kind="checkpoint", config={"rows": 16}, counts=counts, inputs={"tokenizer": "0" * 64})


def write_shared(run: Path) -> None:
    """Documents, conversations, tokenizer and shards, as their stages leave them."""
    with building(run / "documents") as folder:
        line = {"id": "a", "text": "의안", "source": "korean-assembly-bills", "licence": "CC BY 4.0", "language": "ko"}
        with gzip.open(folder / "train.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        (folder / "data_card.md").write_text("# Data card\n\n한국어와 영어 문서 <b>&</b> licences.\n", encoding="utf-8")
        licences = {
            "korean-assembly-bills": "CC BY 4.0; National Assembly of the Republic of Korea",
            "fastapi-docs": "MIT; Sebastián Ramírez",
        }
        kept = {"train": {"documents": 5161, "bytes": 7_884_814}, "heldout": {"documents": 300, "bytes": 430_355}}
        sources = {"korean-assembly-bills": {**kept, "removed": {"near-duplicate": 84}}, "fastapi-docs": kept}
        counts = {"train": {"documents": 7709, "bytes": 20_683_312}, "sources": sources}
        write_manifest(folder, kind="documents", counts=counts, licences=licences)
    with building(run / "conversations") as folder:
        counts = {"conversations": 20_000, "by_task": {"chain_sum": 2000}}
        write_manifest(folder, kind="conversations", counts=counts, licences={"reasoning-gym 0.1.25": "Apache-2.0"})
    with building(run / "tokenizer") as folder:
        write_manifest(folder, kind="tokenizer", counts={"vocab_size": 4096})
    for name in ("text", "chat"):
        with building(run / "shards" / name) as folder:
            write_manifest(folder, kind="shards", counts={"tokens": 24_000_000, "samples": 120_000})


def write_models(folder: Path, *, seed: int = 0, steps: int = 600) -> None:
    """Base, teacher, knowledge, student and control of one seed."""
    write_checkpoint(folder / "base", TEACHER, steps=steps, start=8.3, floor=2.35, seed=seed, experts=8)
    write_checkpoint(folder / "teacher", TEACHER, steps=steps // 2, start=1.9, floor=0.6, seed=seed + 1, experts=8)
    with building(folder / "knowledge") as temporary:
        write_manifest(temporary, kind="knowledge_cache", counts={"tokens": 2_457_600, "bytes_per_token": 96.5})
    log = {"steps": steps, "start": 8.3, "seed": seed + 2}
    write_checkpoint(folder / "student", STUDENT, floor=2.62, kl=(3.1, 0.32), **log)
    write_checkpoint(folder / "control", STUDENT, floor=2.71, kl=(3.1, 0.47), **log)


TASKS = ("chain_sum", "gcd", "spell_backward")


def write_scores(folder: Path, *, bits: dict[str, float], right: float, seed: int = 0) -> None:
    """A scores artifact: held-out documents at about ``bits`` per byte, problems answered right at the rate ``right``.

    Documents and problems depend on the seed alone, so the models of a seed are measured on the same ones.
    """
    samples: dict[str, list[dict[str, Any]]] = {}
    for language, level in bits.items():
        lines = []
        for i in range(40):
            hard = random.Random(f"{language} {seed} {i}").gauss(0, 0.2)
            size = 400 + 10 * i
            line = {
                "doc_id": f"{language}-{i}",
                "doc": {"source": "s", "language": language},
                "bits": (level + hard) * size,
            }
            lines.append(line | {"bytes": size, "tokens": size // 3, "metrics": ["bits_per_byte"]})
        samples[f"heldout_{language}"] = lines
    for task in TASKS:
        samples[f"reasoning_{task}"] = [_answer(task, i, mode, right, seed) for mode in MODES for i in range(40)]
    with building(folder) as temporary:
        results = {"results": {}, "configs": {task: {"task": task} for task in samples}, "model_name": folder.name}
        (temporary / "results.json").write_text(json.dumps(results), encoding="utf-8")
        for task, lines in samples.items():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (temporary / f"samples_{task}.jsonl").write_text(text, encoding="utf-8")
        write_manifest(temporary, kind="scores", counts={"samples": sum(map(len, samples.values())), "seconds": 12.5})


def _answer(task: str, i: int, mode: str, right: float, seed: int) -> dict[str, Any]:
    luck, target = random.Random(f"{task} {seed} {i} {mode}").random(), str(17 + i)
    correct = luck < right
    answer = target if correct else "13"
    thought = f"{i} + 17 = {answer}\n</think>\n\n" if mode == "think" else ""
    language = ("ko", "en")[i % 2]
    question = f"{i} 더하기 17은?" if language == "ko" else f"What is {i} plus 17?"
    doc = {"problem": f"{task}:{i}", "task": task, "language": language, "mode": mode, "question": question}
    return {
        "doc_id": f"{task}/{i}/{language}/{mode}", "doc": doc, "target": target, "resps": [[thought + answer]],
        "filtered_resps": [answer], "metrics": ["exact_match"], "exact_match": float(correct), "score": float(correct),
        "completion_tokens": 9, "finish_reason": "stop",
    }  # fmt: skip


LEVELS = {
    "teacher": ({"ko": 1.765, "en": 2.11}, 0.85),
    "student": ({"ko": 1.829, "en": 2.24}, 0.60),
    "control": ({"ko": 1.907, "en": 2.33}, 0.35),
}
"""Bits per byte and share of right answers of a run in which teaching works."""


def write_run(
    run: Path, *, seeds: int = 1, levels: dict[str, tuple[dict[str, float], float]] | None = None, steps: int = 600
) -> Path:
    """A whole run as the chain leaves it: the first seed in the folder, further ones in ``seed-1`` and so on."""
    run.mkdir(parents=True, exist_ok=True)
    write_shared(run)
    for seed in range(seeds):
        folder = run / f"seed-{seed}" if seed else run
        write_models(folder, seed=10 * seed, steps=steps)
        for role, (bits, right) in (levels or LEVELS).items():
            moved = {language: value + 0.003 * seed for language, value in bits.items()}
            write_scores(folder / "scores" / role, bits=moved, right=right + 0.02 * seed, seed=seed)
    (run / "chain.json").write_text(json.dumps({"Documents": {"seconds": 61.0}, "Tokenizer": {"seconds": 12.5}}))
    return run
