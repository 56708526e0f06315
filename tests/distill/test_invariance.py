"""A step is the same however its tokens are arranged: normalised by tokens, not by rows, parts or processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from distill_world import VOCABULARY, bigram_table, cache_config, save_bigram_teacher, write_shards
from safetensors.torch import load_file

from axk1.distill.capture import build_cache
from axk1.distill.student import DistillConfig, train_student
from axk1.model.config import ModelConfig
from axk1.train.config import OptimizerConfig, ShardSource

STUDENT = ModelConfig(
    architecture="Qwen3ForCausalLM", vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, head_dim=8,
    num_attention_heads=2, num_key_value_heads=1, intermediate_size=24, max_position_embeddings=64,
    tie_word_embeddings=True,
)  # fmt: skip
ARRANGEMENTS = {
    "8 rows of 8": {"rows": 8, "sequence_length": 8},
    "in 4 parts": {"rows": 8, "sequence_length": 8, "micro_batches": 4},
    "packed, 4 rows of 16": {"rows": 4, "sequence_length": 16},
    "packed, 1 row of 64": {"rows": 1, "sequence_length": 64},
}


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """Eight samples of eight tokens, so that one step holds all of them in any arrangement; some are no targets."""
    folder, generator = tmp_path_factory.mktemp("school"), np.random.default_rng(0)
    samples = [generator.integers(0, VOCABULARY, 8) for _ in range(8)]
    write_shards(folder / "shards", samples, masks=[generator.random(8) < 0.6 for _ in samples])
    save_bigram_teacher(folder / "teacher", bigram_table())
    (folder / "student.json").write_text(json.dumps(STUDENT.to_hf()))
    build_cache(cache_config(folder, tail_samples=0))
    return folder


def fields_of(folder: Path, output: Path, divergence: str, arrangement: str) -> dict[str, object]:
    return {
        "model": str(folder / "student.json"), "cache": str(folder / "knowledge"), "output": str(output),
        "tokenizer": str(folder / "tokenizer"), "steps": 1, "log_steps": 1, "threads": 1, "precision": "fp32",
        "device": "cpu", "divergence": divergence, **ARRANGEMENTS[arrangement],
    }  # fmt: skip


def after_a_step(folder: Path, output: Path, divergence: str, arrangement: str) -> Path:
    fields = fields_of(folder, output, divergence, arrangement)
    paths = {name: Path(fields.pop(name)) for name in ("model", "cache", "output", "tokenizer")}
    optim = OptimizerConfig(lr=1e-3, warmup_steps=0)
    train_student(DistillConfig(**fields, **paths, shards=(ShardSource(folder / "shards"),), optim=optim))
    return output


def assert_same(folder, other):
    """Equal parameters, and equal figures: AdamW's first step hardly shows how large a gradient was."""
    weights, others = (load_file(one / "model.safetensors") for one in (folder, other))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=0, atol=1e-6, msg=name)
    line, same = (json.loads((one / "metrics.jsonl").read_text()) for one in (folder, other))
    for name in line:
        if name in ("loss", "grad_norm", "cross_entropy", "tokens") or name.endswith("to_teacher"):
            assert same[name] == pytest.approx(line[name], rel=1e-5), name


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
def test_rows_parts_and_packing(school, tmp_path, divergence):
    first, *others = (
        after_a_step(school, tmp_path / str(number), divergence, arrangement)
        for number, arrangement in enumerate(ARRANGEMENTS)
    )
    for other in others:
        assert_same(first, other)


@pytest.mark.parametrize("divergence", ["forward_kl", "jsd"])
def test_two_processes(school, tmp_path, divergence):
    fields = fields_of(school, tmp_path / "two", divergence, "8 rows of 8")
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    lines += ["[[shards]]", f'folder = "{school / "shards"}"', "[optim]", "lr = 1e-3", "warmup_steps = 0"]
    (tmp_path / "recipe.toml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "axk1", "distill", "train", str(tmp_path / "recipe.toml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "2 processes" in run.stderr
    assert_same(after_a_step(school, tmp_path / "one", divergence, "8 rows of 8"), tmp_path / "two")
