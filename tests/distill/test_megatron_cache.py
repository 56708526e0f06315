"""Caches of Megatron-LM become knowledge caches.

``fixtures/megatron`` was written by Megatron-LM's own ``LogitsSaverHooks`` (August 2026; its parallel state replaced by
fixed ranks) from ``bigram_table()``: two ranks of context and two of data parallelism, three iterations of two
microbatches, the ten best tokens, of which the second data rank keeps the nucleus of 0.9. ``stream.npy`` is its text.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from distill_world import bigram_table, save_bigram_teacher, write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.core.errors import ArtifactError, AXK1Error, ConfigError
from axk1.data.shards import Shards, sample_key
from axk1.distill.cache import KnowledgeCache
from axk1.distill.importing import ImportCacheConfig, import_cache
from axk1.distill.megatron import MegatronCache
from axk1.distill.verifying import VerifyConfig, verify_cache

FIXTURE = Path(__file__).parent / "fixtures" / "megatron"
STREAM = np.load(FIXTURE / "stream.npy")


def config(folder, source=FIXTURE, **changes):
    write_tokenizer(folder / "tokenizer")
    fields = {"folder": source, "tokenizer": folder / "tokenizer", "output": folder / "cache", "format": "megatron"}
    return ImportCacheConfig(**{**fields, "tokens": FIXTURE / "stream.npy", "shards": folder / "shards", **changes})


def test_every_row_stands_at_its_place_in_the_stream(tmp_path):
    cache = MegatronCache(FIXTURE, FIXTURE / "stream.npy", tmp_path / "scratch")
    np.testing.assert_array_equal(np.array(list(cache.samples())), STREAM)
    table = bigram_table()
    for number, (ids, log_probs) in enumerate(cache.rows(range(len(STREAM)))):
        best = table[torch.from_numpy(STREAM[number, :-1]).long()].topk(10, 1)
        kept = np.isfinite(log_probs)
        assert kept.all() if number % 2 == 0 else not kept.all()  # the second data rank keeps a nucleus
        assert kept[:, 0].all()
        np.testing.assert_allclose(log_probs[kept], best.values.numpy()[kept], atol=4e-3)
        np.testing.assert_array_equal(ids[kept], best.indices.numpy()[kept])
    cache.close()
    assert not (tmp_path / "scratch").exists()


def test_it_becomes_a_knowledge_cache_that_the_teacher_confirms(tmp_path):
    write_tokenizer(tmp_path / "tokenizer")
    save_bigram_teacher(tmp_path / "teacher", bigram_table())
    import_cache(config(tmp_path, teacher=tmp_path / "teacher"))
    cache, shards = KnowledgeCache.open(tmp_path / "cache"), Shards.open(tmp_path / "shards")
    assert len(cache) == len(shards) == len({sample_key(row) for row in STREAM.astype(np.int64)})
    assert cache.contains(shards.keys).all()
    rows = cache.lookup(np.asarray(shards.keys)).rows
    np.testing.assert_allclose(np.exp(rows.log_probs_RK).sum(1) + np.exp(rows.log_tail_R), 1, atol=1e-5)
    again = VerifyConfig(cache=tmp_path / "cache", teacher=tmp_path / "teacher", shards=(tmp_path / "shards",))
    assert verify_cache(again)["max error"] < 0.03
    assert not list(tmp_path.glob(".cache.reading"))


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="tokens = None"):
        config(tmp_path, tokens=None)
    with pytest.raises(ArtifactError, match="no cache of Megatron-LM"):
        MegatronCache(tmp_path, FIXTURE / "stream.npy", tmp_path / "scratch")
    for wrong in (STREAM[:-1], STREAM[:, :-1], STREAM.astype(float)):
        np.save(tmp_path / "wrong.npy", wrong)
        with pytest.raises(ArtifactError, match=r"12 or more, 9"):
            MegatronCache(FIXTURE, tmp_path / "wrong.npy", tmp_path / "scratch")
    np.save(tmp_path / "shifted.npy", np.roll(STREAM, 1, axis=1))
    with pytest.raises(ArtifactError, match="rather than of the next one"):
        import_cache(config(tmp_path, tokens=tmp_path / "shifted.npy"))
    shutil.copytree(FIXTURE, tmp_path / "fewer")
    (tmp_path / "fewer" / "cp1_dp0__2.tar").unlink()
    with pytest.raises(ArtifactError, match="no iteration 2 of cp1_dp0"):
        MegatronCache(tmp_path / "fewer", FIXTURE / "stream.npy", tmp_path / "scratch")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damage_is_an_error_of_ours(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(FIXTURE, folder, dirs_exist_ok=True)
    file = folder / "cp0_dp0__1.tar"
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, 6000))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        cache = MegatronCache(folder, FIXTURE / "stream.npy", folder / "scratch")
        cache.rows(range(len(STREAM)))
    except AXK1Error:
        pass
