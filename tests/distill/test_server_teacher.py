"""A server as the teacher: the same cache as from the model in memory, and no cache from one that lies."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from distill_world import VOCABULARY, cache_config

import axk1
from axk1.core.errors import AXK1Error, ConfigError
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.config import ServerSource

SERVER = Path(__file__).with_name("prompt_logprobs_server.py")


@pytest.fixture(scope="module")
def address(world):
    command = [sys.executable, SERVER, world / "teacher", str(VOCABULARY)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(axk1.__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


def config_of(world, address, output, behaviour):
    server = ServerSource(base_url=address, model=behaviour, batch=7, retries=3)
    return cache_config(world, output=output, server=server, tail_samples=0)


@pytest.mark.parametrize("behaviour", ["honest", "flaky"])
def test_the_same_cache_as_from_the_model_in_memory(world, address, tmp_path, monkeypatch, behaviour):
    monkeypatch.setattr("axk1.distill.server._FIRST_WAIT", 0.01)
    build_cache(config_of(world, address, tmp_path / "served", behaviour))
    build_cache(cache_config(world, output=tmp_path / "own", tail_samples=0))
    served, own = KnowledgeCache.open(tmp_path / "served"), KnowledgeCache.open(tmp_path / "own")
    assert served.teacher_hash == own.teacher_hash and np.array_equal(served.keys, own.keys)
    first, second = served.lookup(served.keys).rows, own.lookup(own.keys).rows
    assert np.array_equal(first.ids_RK, second.ids_RK)
    np.testing.assert_allclose(first.log_probs_RK, second.log_probs_RK, atol=0.04)
    np.testing.assert_allclose(first.log_tail_R, second.log_tail_R, atol=3e-3)
    assert np.abs(first.log_probs_RK - second.log_probs_RK).mean() < 1e-3, "but for rounding at a border, the same"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("batch", "alone and among others"),
        ("future", "with and without what follows"),
        ("mass", "sum to"),
        ("shift", "which was sent"),
        ("other", "not those that were sent"),
        ("refuse", "at most 2"),
    ],
)
def test_a_server_that_lies_is_refused(world, address, tmp_path, behaviour, words):
    with pytest.raises(AXK1Error, match=words):
        build_cache(config_of(world, address, tmp_path / "served", behaviour))
    assert not (tmp_path / "served").exists()


def test_what_a_server_cannot_give_is_refused_before_it_is_asked(world, tmp_path):
    server = ServerSource(base_url="http://127.0.0.1:9/v1", model="tiny", retries=0)
    for changes in ({"kind": "sampled"}, {"tail_samples": 2}, {"temperature": 2.0}):
        with pytest.raises(ConfigError, match=next(iter(changes))):
            cache_config(world, server=server, **{"tail_samples": 0, **changes})
    with pytest.raises(ConfigError, match="base_url"):
        ServerSource(base_url="localhost", model="tiny")
    with pytest.raises(AXK1Error, match="does not answer"):
        build_cache(cache_config(world, server=server, tail_samples=0, output=tmp_path / "none"))
