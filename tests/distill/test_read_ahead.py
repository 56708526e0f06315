"""``ReadAhead``: every byte in order within the budget, from any file system, and errors where they are noticed."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from axk1.core.errors import CheckpointError, ConfigError
from axk1.distill.stream.direct_file import ALIGNMENT, DirectFile
from axk1.distill.stream.groups import Group, buffer_bytes, least_budget, spans
from axk1.distill.stream.read_ahead import ReadAhead
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.stored import StoredTensor, StoredWeight, plain
from axk1.model.tensor_files import WEIGHTS, TensorFiles
from axk1.model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=100, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2, q_lora_rank=16,
    kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8, n_routed_experts=6, num_experts_per_tok=2,
    moe_intermediate_size=48,
)  # fmt: skip


@pytest.fixture(scope="module", params=["disk", "memory"])
def folder(request, tmp_path_factory):
    """A checkpoint in fp8 of several shards, on a disk and in memory, which has no direct reads."""
    if request.param == "memory":
        if not Path("/dev/shm").is_dir():
            pytest.skip("no file system in memory here")
        place = Path("/dev/shm", f"axk1-{os.getpid()}")
        place.mkdir()
    else:
        place = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    save_model(Transformer(CONFIG).bfloat16(), place, shard_bytes=30_000, fp8_block=(16, 16))
    yield place
    for file in place.iterdir():
        file.unlink()
    place.rmdir()


def groups_of(files: TensorFiles, size: int) -> list[Group]:
    weights = list(files.weights.values())
    return [Group(f"group {at}", tuple(weights[at : at + size])) for at in range(0, len(weights), size)]


def alive() -> int:
    return threading.active_count()


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("times", [1, 1.5, 4, 1000])
def test_every_weight_in_order_within_the_budget(folder, times, direct):
    files = TensorFiles(folder)
    groups = groups_of(files, 4)
    budget = int(least_budget(groups) * times)
    ahead = ReadAhead(groups, threads=3, budget_bytes=budget, direct=direct)
    assert ahead.ring_bytes <= budget
    before, order = alive(), []
    for _ in range(2):  # each loop is a pass of its own
        for loaded, group in zip(ahead, groups, strict=True):
            order.append(loaded.name)
            for name in loaded.names:
                assert torch.equal(loaded.read_as(name, torch.float32), files.read_as(name, torch.float32)), name
            assert loaded.names == [weight.name for weight in group.weights]
    assert order == 2 * [group.name for group in groups]
    stored = sum(weight.nbytes for weight in files.weights.values())
    assert 2 * stored <= ahead.bytes_read <= 2 * sum(map(buffer_bytes, groups))
    assert ahead.seconds_reading > 0
    assert ahead.seconds_waited >= 0
    assert alive() == before


def write_weights(path: Path, sizes: list[int]) -> list[StoredWeight]:
    """A file of numbers whose places are multiples of nothing."""
    data = torch.randint(0, 256, (sum(sizes),), dtype=torch.uint8)
    path.write_bytes(data.numpy().tobytes())
    weights, place = [], 0
    for number, size in enumerate(sizes):
        dtype = torch.bfloat16 if size % 2 == 0 else torch.uint8
        stored = StoredTensor(path, dtype, (size // dtype.itemsize,), place, size)
        weights.append(StoredWeight(f"w{number}", stored.shape, (stored,), plain))
        place += size
    return weights


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 3 * ALIGNMENT), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
    per_group=st.integers(1, 5),
    more=st.integers(0, 20_000),
)
def test_ranges_of_any_size_and_place_in_any_order(tmp_path_factory, sizes, order, per_group, more):
    weights = write_weights(tmp_path_factory.mktemp("ranges") / "numbers", sizes)
    order.shuffle(weights)
    groups = [Group(str(at), tuple(weights[at : at + per_group])) for at in range(0, len(weights), per_group)]
    for group in groups:
        for span in spans(group):
            assert span.place % ALIGNMENT == span.start % ALIGNMENT == span.size % ALIGNMENT == 0
    ahead = ReadAhead(groups, threads=2, budget_bytes=least_budget(groups) + more)
    for loaded, group in zip(ahead, groups, strict=True):
        for weight in group.weights:
            (found,), (part,) = loaded.parts(weight.name), weight.parts
            raw = part.file.read_bytes()[part.offset : part.offset + part.nbytes]
            assert (found.view(torch.uint8).numpy().tobytes() if part.nbytes else b"") == raw


def test_a_budget_below_the_largest_group_names_the_least(folder):
    groups = groups_of(TensorFiles(folder), 4)
    least = least_budget(groups)
    with pytest.raises(ConfigError) as caught:
        ReadAhead(groups, budget_bytes=least - 1)
    largest = max(groups, key=buffer_bytes)
    assert largest.name in caught.value.message
    assert f"{least} bytes or more" in caught.value.message
    ReadAhead(groups, budget_bytes=least)


def test_a_tensor_does_not_outlive_its_turn(folder):
    kept = None
    for loaded in ReadAhead(groups_of(TensorFiles(folder), 2), budget_bytes=1 << 20):
        if kept is not None:
            with pytest.raises(AssertionError, match="given back"):
                kept.parts(kept.names[0])
        kept = loaded


def test_leaving_the_loop_early_ends_the_threads(folder):
    before = alive()
    groups = groups_of(TensorFiles(folder), 1)
    for number, _ in enumerate(ReadAhead(groups, threads=4, budget_bytes=least_budget(groups))):
        if number == 3:
            break
    gc.collect()
    assert alive() == before
    with pytest.raises(ZeroDivisionError):
        for _ in ReadAhead(groups, threads=4, budget_bytes=1 << 20):
            1 / 0  # noqa: B018
    gc.collect()
    assert alive() == before


@pytest.mark.parametrize("fault", ["shorter", "gone"])
def test_a_file_that_breaks_after_opening_is_an_error_in_the_loop(tmp_path, fault):
    save_file({f"t{n}": torch.full((3000,), float(n)) for n in range(20)}, tmp_path / WEIGHTS)
    files = TensorFiles(tmp_path)
    groups = groups_of(files, 1)
    file = tmp_path / WEIGHTS
    if fault == "shorter":
        file.write_bytes(file.read_bytes()[:-12_000])
    else:
        file.unlink()
    before, seen = alive(), 0
    with pytest.raises(CheckpointError, match="shorter" if fault == "shorter" else "cannot be read") as caught:
        for _ in ReadAhead(groups, threads=2, budget_bytes=least_budget(groups)):
            seen += 1
    assert str(file) in caught.value.message
    assert caught.value.repair
    assert seen < len(groups)
    assert alive() == before


def test_slow_reads_are_waited_for_and_slow_use_is_not(tmp_path, monkeypatch):
    """Reading that takes longer than use shows as waiting; the other way round hides it."""
    save_file({f"t{n}": torch.full((2000,), float(n)) for n in range(12)}, tmp_path / WEIGHTS)
    groups = groups_of(TensorFiles(tmp_path), 1)
    read = DirectFile.read

    def slow(self, *arguments):
        time.sleep(0.02)
        read(self, *arguments)

    monkeypatch.setattr(DirectFile, "read", slow)
    waited = {}
    for use in (0.0, 0.1):
        ahead = ReadAhead(groups, threads=1, budget_bytes=1 << 20)
        for loaded in ahead:
            time.sleep(use)
            assert loaded.read_as(loaded.names[0], torch.float32)[0] == float(loaded.names[0][1:])
        waited[use] = ahead.seconds_waited
    assert waited[0.0] > 12 * 0.02 * 0.8
    assert waited[0.1] < waited[0.0] / 2


KILLED = """
import signal, sys, time
from axk1.distill.stream.groups import Group
from axk1.distill.stream.read_ahead import ReadAhead
from axk1.model.tensor_files import TensorFiles
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
groups = [Group(weight.name, (weight,)) for weight in TensorFiles(sys.argv[1]).weights.values()]
while True:
    for loaded in ReadAhead(groups, threads=4, budget_bytes=1 << 18):
        print("reading", flush=True)
        time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_and_leaves_the_folder_alone(folder, number):
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(3):
        assert process.stdout.readline() == "reading\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode in (-number, 128 + number)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files
