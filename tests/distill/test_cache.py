"""The knowledge cache as a format: what goes in comes out, and what is damaged is found and named."""

import dataclasses
import shutil

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from distill_world import VOCABULARY, cache_config

from axk1.core.errors import ArtifactError, ConfigError, TokenizerMismatch
from axk1.distill.building import CacheBuilder, CachePlan
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.records import Distributions, TokenRanks, TopKRecords


def topk_records(top_k, tail_samples, vocab_size, **changes):
    order = np.random.default_rng(vocab_size).permutation(vocab_size)
    return TopKRecords(top_k, tail_samples, vocab_size, TokenRanks(order), **changes)


def random_distributions(rows, records, generator):
    """Distributions of ``rows`` positions, some almost certain, some almost flat."""
    parts = np.log(generator.dirichlet(np.full(records.top_k + 1, 0.1), rows) + 1e-12)
    parts *= generator.uniform(0.01, 1, (rows, 1))
    parts -= np.log(np.exp(parts).sum(1, keepdims=True))
    known = min(records.vocab_size, 1000)
    ids = records.vocab_size - 1 - np.argsort(generator.random((rows, known)), axis=1)
    drawn = generator.integers(0, records.vocab_size, (rows, records.tail_samples))
    entropy = generator.uniform(0, 12, rows)
    top = -np.sort(-parts[:, 1:], axis=1)
    return Distributions(ids[:, : records.top_k], top, parts[:, 0], drawn, entropy)


def assert_close_to(got, stored, steps_per_nat=28):
    """The same tokens, draws in any order, log-probabilities within the rounding, all of them summing to one."""
    half = 0.5 / steps_per_nat
    assert_same_but_for_ties(got, stored, 2 * half)
    np.testing.assert_allclose(got.log_probs_RK, stored.log_probs_RK, atol=1.12 * half + 1e-5)
    np.testing.assert_allclose(got.log_tail_R, stored.log_tail_R, atol=1e-3)
    np.testing.assert_allclose(got.entropy_R, stored.entropy_R, atol=3e-3)
    np.testing.assert_array_equal(np.sort(got.tail_ids_RS), np.sort(stored.tail_ids_RS))
    np.testing.assert_allclose(np.exp(got.log_probs_RK).sum(1) + np.exp(got.log_tail_R), 1, atol=1e-5)


def assert_same_but_for_ties(got, stored, near):
    row, place = np.nonzero(got.ids_RK != stored.ids_RK)
    for r, k in zip(row, place, strict=True):
        other = stored.log_probs_RK[r][stored.ids_RK[r] == got.ids_RK[r, k]]
        assert len(other) and abs(other[0] - stored.log_probs_RK[r, k]) < near


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    top_k=st.integers(1, 7),
    tail_samples=st.integers(0, 5),
    vocab_size=st.sampled_from([8, 65_536, 65_537, 163_840]),
    chunk_rows=st.integers(1, 40),
    same_prefix=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_goes_in_comes_out(
    tmp_path_factory, lengths, top_k, tail_samples, vocab_size, chunk_rows, same_prefix, seed
):
    folder, generator = tmp_path_factory.mktemp("cache"), np.random.default_rng(seed)
    records, rows = topk_records(top_k, tail_samples, vocab_size), np.array(lengths)
    keys = {generator.bytes(16) for _ in lengths}
    keys = {bytes(8) + key[8:] for key in keys} if same_prefix else keys
    keys = np.frombuffer(b"".join(sorted(keys)), np.uint8).reshape(-1, 16)
    stored = random_distributions(rows.sum(), records, generator)
    builder = CacheBuilder(folder / "cache", CachePlan(records, "teacher", "tokenizer", 1.0, keys, rows, chunk_rows))
    assert builder.resume() == []
    ends = np.cumsum(rows)
    for number, part in enumerate(builder.plan.chunks):
        builder.write(number, part_of(stored, slice(ends[part.start] - rows[part.start], ends[part.stop - 1])))
    assert builder.resume() == list(range(len(builder.plan.chunks)))
    builder.finish(config={}, inputs={}, counts={}, licences={})

    cache = KnowledgeCache.open(folder / "cache")
    cache.verify()
    order = generator.permutation(len(keys))
    found = cache.lookup(keys[order])
    assert np.array_equal(np.diff(found.offsets), rows[order])
    where = np.concatenate([np.arange(ends[i] - rows[i], ends[i]) for i in order])
    assert_close_to(found.rows, part_of(stored, where))
    other = keys[order].copy()
    other[:, 15] ^= 1
    known = {bytes(key) for key in keys}
    assert cache.contains(other).tolist() == [bytes(key) in known for key in other]
    shutil.rmtree(folder)


def part_of(rows, which):
    return type(rows)(*(getattr(rows, one.name)[which] for one in dataclasses.fields(rows)))


def test_impossible_probabilities_are_refused():
    records = topk_records(2, 0, 100)

    def row(first, second, tail):
        values = (np.array([[1, 2]]), np.array([[first, second]]), np.array([tail]))
        return Distributions(*values, np.zeros((1, 0), int), np.zeros(1))

    for bad in (np.nan, 0.5):
        with pytest.raises(ValueError, match="NaN or above zero"):
            records.numbers(row(bad, -3.0, -1.0))
    certain = records.rows(records.numbers(row(0.0, -np.inf, -np.inf)))
    np.testing.assert_allclose(np.exp(certain.log_probs_RK), [[1.0, 0.0]], atol=1e-12)
    with pytest.raises(ConfigError, match="top_k"):
        topk_records(100, 0, 100)


@pytest.mark.parametrize("kind", ["topk", "sampled", "hidden"])
def test_a_flipped_bit_in_any_file_is_found_and_the_file_named(world, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("axk1.distill.capture.CHUNK_ROWS", 300)
    build_cache(cache_config(world, output=tmp_path / "cache", kind=kind))
    generator = np.random.default_rng(0)
    files = sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert len([path for path in files if path.parent.name == "chunks"]) > 2 and len(files) > 7
    for path in files:
        sound = path.read_bytes()
        for _ in range(12):
            spoilt = bytearray(sound)
            spoilt[generator.integers(len(spoilt))] ^= 1 << int(generator.integers(8))
            path.write_bytes(spoilt)
            with pytest.raises(ArtifactError) as raised:
                KnowledgeCache.open(tmp_path / "cache").verify()
            named = path.name if path.parent.name != "seal" else "seal/manifest.sha256"
            assert named in raised.value.message and "axk1 distill cache" in raised.value.repair
        path.write_bytes(sound)
    KnowledgeCache.open(tmp_path / "cache").verify()


def test_a_lookup_meets_the_damage_and_names_chunk_and_sample(world, tmp_path):
    shutil.copytree(world / "knowledge", tmp_path / "cache")
    chunk = tmp_path / "cache" / "chunks" / "00000.bin"
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 4
    chunk.write_bytes(content)
    cache = KnowledgeCache.open(tmp_path / "cache")
    cache.lookup(cache.keys[:1])
    with pytest.raises(ArtifactError, match=f"00000.bin.*{bytes(cache.keys[-1]).hex()}"):
        cache.lookup(cache.keys)


@pytest.mark.parametrize(
    "name", ["chunks/00000.bin", "index.npy", "cache.json", "manifest.json", "seal/manifest.sha256"]
)
def test_a_missing_or_shortened_file_is_named(world, tmp_path, name):
    shutil.copytree(world / "knowledge", tmp_path / "cache")
    path = tmp_path / "cache" / name
    path.write_bytes(path.read_bytes()[:-7])
    for _ in range(2):
        with pytest.raises(ArtifactError, match=name.split("/")[-1]):
            cache = KnowledgeCache.open(tmp_path / "cache")
            cache.lookup(cache.keys)
        path.unlink(missing_ok=True)


def test_another_tokenizer_or_teacher_is_refused_with_the_repair(world):
    cache = KnowledgeCache.open(world / "knowledge")
    same = {"tokenizer_hash": cache.tokenizer_hash, "teacher_hash": cache.teacher_hash}
    assert KnowledgeCache.open(world / "knowledge", **same).records.describe()["vocab_size"] == VOCABULARY
    with pytest.raises(TokenizerMismatch, match="another tokenizer") as raised:
        KnowledgeCache.open(world / "knowledge", tokenizer_hash="0" * 64)
    assert "axk1 distill cache" in raised.value.repair
    with pytest.raises(ArtifactError, match="another teacher") as raised:
        KnowledgeCache.open(world / "knowledge", teacher_hash="0" * 64)
    assert "axk1 distill cache" in raised.value.repair
    with pytest.raises(ArtifactError, match="holds shards, but knowledge_cache is needed"):
        KnowledgeCache.open(world / "shards")


def test_a_cache_of_another_format_is_refused(world, tmp_path, monkeypatch):
    monkeypatch.setattr("axk1.distill.building.FORMAT", 3)
    build_cache(cache_config(world, output=tmp_path / "cache"))
    with pytest.raises(ArtifactError, match="has format 3"):
        KnowledgeCache.open(tmp_path / "cache")


def test_chunks_of_another_plan_or_damaged_ones_are_made_again(tmp_path):
    generator, records = np.random.default_rng(0), topk_records(3, 2, 50)
    keys = np.sort(np.frombuffer(generator.bytes(16 * 6), "V16")).view(np.uint8).reshape(-1, 16)
    rows = np.full(6, 4)
    stored = random_distributions(24, records, generator)

    def builder(teacher):
        plan = CachePlan(records, teacher, "tokenizer", 1.0, keys, rows, 8)
        return CacheBuilder(tmp_path / "cache", plan)

    first = builder("one")
    first.resume()
    for number in range(3):
        first.write(number, part_of(stored, slice(8 * number, 8 * number + 8)))
    assert builder("one").resume() == [0, 1, 2]
    chunk = tmp_path / "cache.state" / "chunks" / "00001.bin"
    chunk.write_bytes(b"\0" + chunk.read_bytes()[1:])
    (tmp_path / "cache.state" / "parts" / "00002.npy").write_bytes(b"\x93NUMPY")
    assert builder("one").resume() == [0]
    assert builder("two").resume() == []
    with pytest.raises(ValueError, match="needs 8 rows"):
        builder("two").write(0, part_of(stored, slice(7)))
