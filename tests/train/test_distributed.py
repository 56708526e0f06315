"""The same command under ``torchrun``: two processes compute what one computes."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from axk1.core.artifact import verify
from axk1.core.errors import Interrupted
from axk1.train.pretrain import pretrain


def run_on_two(recipe_file):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = ["-m", "axk1", "pretrain", str(recipe_file)]
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=300)


def metrics_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_go_on_where_one_stopped_and_compute_the_same(recipe, recipe_file, stop_after, tmp_path):
    optim = {"name": "muon", "lr": 1e-4, "warmup_steps": 0}  # and AdamW for what is no hidden matrix
    config = recipe(steps=6, optim=optim, output=str(tmp_path / "stopped"), micro_batches=2)
    stop_after(2)
    with pytest.raises(Interrupted):
        pretrain(config)
    run = run_on_two(recipe_file(config))
    assert run.returncode == 0, run.stderr
    assert "2 processes" in run.stderr
    assert run.stderr.count("next:") == 1
    whole = pretrain(recipe(steps=6, optim=optim, output=str(tmp_path / "whole")))
    assert verify(config.output, kind="checkpoint").counts["processes"] == 2
    weights = load_file(config.output / "model.safetensors")
    for name, value in load_file(whole / "model.safetensors").items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-6, msg=name)
    for line, other in zip(metrics_of(config.output), metrics_of(whole), strict=True):
        for figure in ("step", "tokens", "lr", "loss", "grad_norm", "cross_entropy", "balance_loss"):
            assert line[figure] == pytest.approx(other[figure], rel=1e-4), figure
        torch.testing.assert_close(torch.tensor(line["expert_load"]), torch.tensor(other["expert_load"]))
