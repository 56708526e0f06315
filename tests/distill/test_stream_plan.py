"""The plan of a streamed teacher: budgets as people write them, what is at once in memory, the full size."""

import re
import shutil
from pathlib import Path

import pytest
from distill_world import VOCABULARY, random_samples, write_shards, write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stream import NETWORKS

from axk1 import cli
from axk1.core.config import from_dict, load_toml
from axk1.core.errors import ConfigError
from axk1.distill.capture import build_cache
from axk1.distill.config import CacheConfig
from axk1.distill.hidden import HiddenRecords
from axk1.distill.stream.byte_size import parse_bytes
from axk1.distill.stream.memory import Demand, plan_room
from axk1.model.inspect import inspect_model

RECIPES = Path(__file__).parents[2] / "recipes" / "axk1-519b"


@pytest.mark.parametrize(
    ("text", "size"),
    [("16GiB", 16 << 30), ("500 MB", 500_000_000), ("1.5kib", 1536), ("4096", 4096), ("2TB", 2 * 10**12)],
)
def test_sizes_as_people_write_them(text, size):
    assert parse_bytes(text, "memory") == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GB", "0", "16GX", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="memory = "):
        parse_bytes(text, "memory")


@settings(max_examples=60, deadline=None)
@given(st.integers(300_000, 10**9), st.integers(1, 60), st.integers(64, 9000), st.integers(1, 10**7))
def test_a_plan_stays_within_its_budget(memory, longest, batch_tokens, most_tokens):
    network = NETWORKS["axk1"]
    demand = Demand(network, HiddenRecords(32, VOCABULARY), longest, VOCABULARY, 4, lambda piece: 4 * piece.numbers)
    try:
        room = plan_room(demand, memory, None, batch_tokens=batch_tokens, chunk=64, most_tokens=most_tokens)
    except ConfigError:
        assert memory < 1_000_000
        return
    assert sum(room.bytes.values()) <= memory
    assert room.batch_tokens >= min(longest, batch_tokens) and room.pass_tokens >= longest and room.experts >= 1
    if room.whole_layers:
        assert room.experts == network.n_routed_experts and room.expert_tokens == room.batch_tokens


def test_the_full_size_is_planned_from_its_config_alone(tmp_path, capfd):
    """The recipe as it is, but for the folders; the plan's figures follow from the config."""
    teacher = write_tokenizer(tmp_path / "teacher")
    shutil.copy(RECIPES / "config.json", teacher)
    write_shards(tmp_path / "shards", random_samples(60, seed=1))
    recipe = load_toml(RECIPES / "cache.toml")
    recipe |= {
        "teacher": str(teacher),
        "output": str(tmp_path / "new"),
        "shards": [{"folder": str(tmp_path / "shards")}],
    }
    for changes in ({}, {"memory": "16GiB"}, {"kind": "hidden"}):
        config = from_dict(CacheConfig, {**recipe, "hardware": "h200-nvme", "device": "cpu", **changes})
        build_cache(config, dry_run=True)
        told = " ".join(capfd.readouterr().err.split())
        assert "the weights are not there yet" in told and "limited by the disk" in told
        read = float(re.search(r"([0-9.]+) TB read in each", told)[1])
        # Every weight once, two bytes each, but for the embedding, of which only rows are read.
        weights = inspect_model(config.teacher).total - 163840 * 7168 * (2 if config.kind == "hidden" else 1)
        assert abs(read - 2 * weights / 1e12) < 0.01
    with pytest.raises(ConfigError, match=r"memory = 2.00 GiB is too little: .* feed-forward of layer 0"):
        build_cache(from_dict(CacheConfig, {**recipe, "memory": "2GiB", "device": "cpu"}), dry_run=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("command", "recipe"),
    [("data tokenize", "shards.toml"), ("distill cache", "cache.toml"), ("distill train", "student.toml")],
)
def test_the_recipes_of_the_full_size_are_understood(command, recipe):
    config, dry_run = cli._parse(command, cli.COMMANDS[command], [str(RECIPES / recipe), "--dry-run"])
    assert dry_run and "axk1-519b" in str(config.output)
