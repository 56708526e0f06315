"""Caches that DistillKit wrote become knowledge caches.

``fixtures/distillkit`` was written by DistillKit 1.0.0's own LogprobCompressor and StreamingParquetWriter from
``bigram_table()`` and ``random_samples(14, seed=7, longest=20)``; ``expected.npz`` is what it reads there itself.
``raw`` has its columns for log-probabilities that are not coded.
"""

import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from distill_world import VOCABULARY, bigram_table, save_bigram_teacher, write_tokenizer

from axk1.core.artifact import read_manifest, verify
from axk1.core.errors import ArtifactError, TokenizerMismatch
from axk1.data.shards import Shards, sample_key
from axk1.distill.cache import KnowledgeCache
from axk1.distill.distillkit import DistillKitCache
from axk1.distill.importing import ImportCacheConfig, distributions, import_cache
from axk1.distill.verifying import VerifyConfig, verify_cache

FIXTURES = Path(__file__).parent / "fixtures" / "distillkit"


def config(folder, source, **changes):
    write_tokenizer(folder / "tokenizer")
    fields = {"folder": source, "tokenizer": folder / "tokenizer", "output": folder / "cache"}
    return ImportCacheConfig(**{**fields, "shards": folder / "shards", **changes})


@pytest.mark.parametrize("name", ["polynomial", "budget"])
def test_the_codec_is_read_as_its_own_code_reads_it(name):
    source, expected = DistillKitCache(FIXTURES / name), np.load(FIXTURES / name / "expected.npz")
    rows = source.rows(range(len(list(source.samples()))))
    np.testing.assert_array_equal(np.concatenate([ids for ids, _ in rows]), expected["ids"])
    np.testing.assert_allclose(np.concatenate([values for _, values in rows]), expected["log_probs"], atol=1e-5)


@pytest.mark.parametrize("name", ["raw", "polynomial", "budget"])
def test_a_cache_becomes_a_knowledge_cache_with_its_shards(tmp_path, name):
    import_cache(config(tmp_path, FIXTURES / name))
    cache, shards = KnowledgeCache.open(tmp_path / "cache"), Shards.open(tmp_path / "shards")
    cache.verify()
    verify(tmp_path / "shards", kind="shards")
    assert cache.contains(shards.keys).all() and len(cache) == len(shards) == 10
    assert cache.teacher_hash.startswith("unknown-") and cache.tokenizer_hash == shards.tokenizer_hash
    samples = list(DistillKitCache(FIXTURES / name).samples())
    rows = cache.lookup(np.array([list(sample_key(sample)) for sample in samples], np.uint8)).rows
    table = bigram_table()[torch.from_numpy(np.concatenate([sample[:-1] for sample in samples]))]
    if name == "raw":
        expected = table.topk(10, 1).values.numpy()
        np.testing.assert_allclose(np.exp(rows.log_tail_R), 1 - np.exp(expected).sum(1), atol=0.01)
    else:
        expected = -np.sort(-np.load(FIXTURES / name / "expected.npz")["log_probs"], axis=1)
    possible = np.exp(expected).sum(1) < 0.98  # others are scaled down: what the codec loses makes some exceed one
    assert possible.sum() > 30
    np.testing.assert_allclose(rows.log_probs_RK[possible], expected[possible], atol=0.03)
    total = np.exp(rows.log_probs_RK).sum(1) + np.exp(rows.log_tail_R)
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_a_named_teacher_is_kept_and_agrees(tmp_path):
    write_tokenizer(tmp_path / "tokenizer")
    save_bigram_teacher(tmp_path / "teacher", bigram_table())
    import_cache(config(tmp_path, FIXTURES / "raw", teacher=tmp_path / "teacher"))
    assert read_manifest(tmp_path / "cache").inputs["teacher"] == read_manifest(tmp_path / "teacher").content_hash
    again = VerifyConfig(cache=tmp_path / "cache", teacher=tmp_path / "teacher", shards=(tmp_path / "shards",))
    assert verify_cache(again)["max error"] < 0.03


def test_rows_that_speak_of_the_wrong_token_are_refused(tmp_path):
    """A row for each token but the last, said of the token itself: off by one."""
    shutil.copytree(FIXTURES / "raw", tmp_path / "shifted")
    rows = []
    for sample in DistillKitCache(FIXTURES / "raw").samples():
        values, ids = torch.full((len(sample) - 1, 10), -9.0), np.tile(np.arange(10), (len(sample) - 1, 1))
        ids[:, 0], values[:, 0] = sample[:-1], -0.01
        ids[:, 1:] = np.arange(9) + 48  # none of the text
        rows.append({"input_ids": sample.tolist(), "token_ids": ids.tolist(), "top_values": values.tolist()})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "shifted" / "logits.parquet")
    with pytest.raises(ArtifactError, match="rather than of the next one"):
        import_cache(config(tmp_path, tmp_path / "shifted"))


def test_what_is_no_such_cache_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no cache of DistillKit"):
        DistillKitCache(tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"input_ids": [[1, 2]], "coeffs": [[1.0]]}), tmp_path / "a.parquet")
    with pytest.raises(ArtifactError, match="coeffs"):
        DistillKitCache(tmp_path)
    shutil.copytree(FIXTURES / "budget", tmp_path / "budget")
    path = tmp_path / "budget" / "compression_config.yaml"
    path.write_text(path.read_text().replace("exact_k: 1", "exact_k: 3"))
    with pytest.raises(ArtifactError, match="does not fit"):
        DistillKitCache(tmp_path / "budget").rows([0])
    shutil.copytree(FIXTURES / "raw", tmp_path / "raw")
    rows = pyarrow.parquet.read_table(tmp_path / "raw" / "logits.parquet").to_pylist()
    rows[0]["input_ids"][0] = VOCABULARY + 5
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "raw" / "logits.parquet")
    with pytest.raises(TokenizerMismatch, match=str(VOCABULARY + 5)):
        import_cache(config(tmp_path, tmp_path / "raw"))


def test_entries_that_were_never_written_have_no_mass():
    ids, values = np.array([[3, 10**12, 1]]), np.array([[-0.5, -np.inf, -2.0]], np.float32)
    rows, scaled = distributions(ids, values, 10)
    assert len(set(rows.ids_RK[0])) == 3 and rows.ids_RK.max() < 10
    assert np.exp(rows.log_probs_RK[0, 1]) < 1e-20 and scaled == 0
    mass = np.exp(rows.log_probs_RK).sum() + np.exp(rows.log_tail_R[0])
    assert mass == pytest.approx(1)
    assert distributions(ids, values + 0.6, 10)[1] == 1
