"""Runs that are killed, asked to stop, or started again with something else."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from axk1.core.errors import ArtifactError, Interrupted
from axk1.train.checkpointing import TrainingState
from axk1.train.config import TrainConfig
from axk1.train.parallel.processes import Processes
from axk1.train.pretrain import pretrain

TIMED = ("seconds", "tokens_per_second")


def steps_logged(config: TrainConfig) -> int:
    metrics = config.output.with_name(f"{config.output.name}.state") / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def wait_for_step(config: TrainConfig, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while steps_logged(config) < step:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.005)


def start(recipe_file: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "axk1", "pretrain", str(recipe_file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def untimed(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMED} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights and metrics are the same to the last bit."""
    weights, others = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    assert untimed(one) == untimed(other)


def test_a_run_killed_and_then_stopped_equals_one_that_was_left_alone(recipe, recipe_file, tmp_path):
    config = recipe(steps=24, checkpoint_steps=1, output=str(tmp_path / "killed"))
    file = recipe_file(config)
    with start(file) as process:
        wait_for_step(config, 3, process)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with start(file) as process:
        wait_for_step(config, 8, process)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert "the training state is saved" in said
    assert f"axk1 pretrain {file}" in said
    assert [path.name[:5] for path in (tmp_path / "killed.state").glob("*step*")] == ["step-"]
    assert not config.output.exists()
    assert_same_run(pretrain(config), pretrain(recipe(steps=24, output=str(tmp_path / "whole"))))


def test_going_on_after_a_stop_counts_everything_once(recipe, stop_after, tmp_path):
    config = recipe(steps=30, output=str(tmp_path / "stopped"))
    stop_after(5)
    with pytest.raises(Interrupted, match="stopped after step") as caught:
        pretrain(config)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    state = tmp_path / "stopped.state"
    (state / ".step-00000099.building").mkdir()  # what a kill in the middle of saving leaves
    with open(state / "metrics.jsonl", "a") as file:
        file.write('{"step": 99, "loss": 1.0}\n{"step": 1')
    assert_same_run(pretrain(config), pretrain(recipe(steps=30, output=str(tmp_path / "whole"))))
    assert not state.exists()


def test_another_config_does_not_go_on_with_this_state(recipe, stop_after, tmp_path):
    config = recipe(steps=30)
    stop_after(2)
    with pytest.raises(Interrupted):
        pretrain(config)
    changed = recipe(steps=30, optim={"name": "muon", "lr": 1e-3})
    with pytest.raises(ArtifactError, match=r"config\.optim\.lr was 0\.003, is 0\.001") as caught:
        pretrain(changed)
    assert "rm -r" in caught.value.repair
    # What does not change the result may change.
    assert pretrain(recipe(steps=30, log_steps=10, checkpoint_steps=7)).exists()


@pytest.mark.parametrize("broken", ["__0_0.distcp", ".metadata", "progress.json"])
def test_a_corrupt_state_is_named(recipe, stop_after, tmp_path, broken):
    config = recipe(steps=30)
    stop_after(2)
    with pytest.raises(Interrupted):
        pretrain(config)
    (folder,) = (tmp_path / "out.state").glob("step-*")
    (folder / broken).write_bytes((folder / broken).read_bytes()[: (folder / broken).stat().st_size // 2])
    with pytest.raises(ArtifactError, match="is corrupt"):
        pretrain(config)


def test_a_state_without_a_saved_step_starts_at_the_beginning(recipe, stop_after, tmp_path):
    config = recipe(steps=4)
    stop_after(1)
    with pytest.raises(Interrupted):
        pretrain(config)
    for folder in (tmp_path / "out.state").glob("step-*"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert [line["step"] for line in untimed(pretrain(config))] == [1, 2, 3, 4]


def test_a_run_that_an_earlier_version_began_goes_on(recipe, stop_after, tmp_path):
    config = recipe(steps=4)
    stop_after(2)
    with pytest.raises(Interrupted):
        pretrain(config)
    run = tmp_path / "out.state/run.json"
    began = json.loads(run.read_text())
    del began["config"]["lora_rank"]  # a field that came later
    run.write_text(json.dumps(began))
    with pytest.raises(ArtifactError, match="lora_rank was 0, is 4"):
        pretrain(dataclasses.replace(config, lora_rank=4))
    assert [line["step"] for line in untimed(pretrain(config))] == [1, 2, 3, 4]


def test_two_runs_into_one_folder_do_not_mix(recipe):
    config = recipe(steps=2)
    with (
        TrainingState.beside(config.output, Processes()).claimed({}),
        pytest.raises(ArtifactError, match=r"process \d+ on .* is training"),
    ):
        pretrain(config)
