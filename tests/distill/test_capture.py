"""From a teacher and shards to a knowledge cache."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from distill_world import (
    VOCABULARY,
    bigram_table,
    cache_config,
    random_samples,
    save_bigram_teacher,
    save_teacher,
    write_shards,
)

from axk1.core.artifact import read_manifest
from axk1.core.errors import ArtifactError, ConfigError, TokenizerMismatch
from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.kinds import arrays_of
from axk1.distill.scoring import batches_by_length
from axk1.distill.selection import cached_samples, select_samples
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.train.config import ShardSource


def test_position_i_holds_the_distribution_of_token_i_plus_1(world):
    table = bigram_table()
    shards, cache = Shards.open(world / "shards"), KnowledgeCache.open(world / "knowledge")
    kept = [i for i in range(len(shards)) if shards.lengths[i] >= 2]
    found = cache.lookup(shards.keys[kept])
    for place, i in enumerate(kept):
        rows = slice(*found.offsets[place : place + 2])
        current = torch.from_numpy(shards.sample(i)[:-1].astype(np.int64))
        values, ids = table[current].topk(6, 1)
        assert np.array_equal(found.rows.ids_RK[rows], ids.numpy())
        np.testing.assert_allclose(found.rows.log_probs_RK[rows], values.numpy(), atol=0.02)
        tail = table[current].scatter(1, ids, float("-inf")).logsumexp(1)
        np.testing.assert_allclose(found.rows.log_tail_R[rows], tail.numpy(), atol=1e-3)


def test_the_cache_equals_a_sparse_teacher_run_sample_by_sample(tmp_path):
    config = ModelConfig(
        vocab_size=VOCABULARY + 16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8, n_routed_experts=4,
        num_experts_per_tok=2, moe_intermediate_size=16, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    teacher = Transformer(config).eval()
    save_teacher(tmp_path / "teacher", teacher)
    write_shards(tmp_path / "shards", random_samples(25, seed=1))
    build_cache(cache_config(tmp_path, temperature=1.5))
    shards, cache = Shards.open(tmp_path / "shards"), KnowledgeCache.open(tmp_path / "knowledge")
    assert cache.temperature == 1.5
    for i in np.flatnonzero(shards.lengths >= 2):
        found = cache.lookup(shards.keys[i : i + 1])
        with torch.no_grad():
            logits = teacher(torch.from_numpy(shards.sample(i).astype(np.int64)).unsqueeze(0))[0, :-1, :VOCABULARY]
        log_probs = torch.log_softmax(logits / 1.5, -1)  # the padding of the teacher's vocabulary has no mass
        np.testing.assert_allclose(found.rows.log_probs_RK, log_probs.topk(6, 1).values.numpy(), atol=0.02)
        stored = log_probs.gather(1, torch.from_numpy(found.rows.ids_RK)).numpy()
        np.testing.assert_allclose(found.rows.log_probs_RK, stored, atol=0.02)


def assert_equal_content(one, other):
    assert np.array_equal(one.keys, other.keys)
    first, second = one.lookup(one.keys), other.lookup(other.keys)
    assert np.array_equal(first.offsets, second.offsets)
    assert np.array_equal(first.rows.ids_RK, second.rows.ids_RK)
    np.testing.assert_allclose(first.rows.log_probs_RK, second.rows.log_probs_RK, atol=0.04)
    np.testing.assert_allclose(first.rows.entropy_R, second.rows.entropy_R, atol=5e-3)
    drawn = first.rows.tail_ids_RS == second.rows.tail_ids_RS
    assert drawn.mean() > 0.99, "a draw can fall on the other side of a border only by rounding"


def test_what_is_stored_does_not_depend_on_batches_or_order(world, tmp_path):
    shards = Shards.open(world / "shards")
    samples = [shards.sample(i) for i in range(len(shards))]
    write_shards(tmp_path / "shards", [*samples[::-1], *samples[:5]])  # another order, and some twice
    save_bigram_teacher(tmp_path / "teacher", bigram_table())
    build_cache(cache_config(tmp_path, batch_tokens=17))
    one, other = KnowledgeCache.open(world / "knowledge"), KnowledgeCache.open(tmp_path / "knowledge")
    assert np.array_equal(one.keys, other.keys) and one.teacher_hash == other.teacher_hash
    assert_equal_content(one, other)


def test_max_tokens_takes_from_each_folder_by_its_weight_and_grows_without_change(tmp_path):
    write_shards(tmp_path / "a", random_samples(300, seed=1))
    write_shards(tmp_path / "b", random_samples(300, seed=2))
    shards = [Shards.open(tmp_path / name) for name in "ab"]
    chosen = select_samples(shards, [3.0, 1.0], 2000)
    tokens = [int(chosen.lengths[chosen.shard == one].sum()) for one in (0, 1)]
    assert 1400 < tokens[0] <= 1500 and 400 < tokens[1] <= 500
    more = select_samples(shards, [3.0, 1.0], 3000)
    assert {bytes(key) for key in chosen.keys} < {bytes(key) for key in more.keys}
    everything = select_samples(shards, [3.0, 1.0], None)
    assert len(everything.keys) == len({s.keys[i].tobytes() for s in shards for i in np.flatnonzero(s.lengths >= 2)})
    assert sorted(map(bytes, everything.keys)) == list(map(bytes, everything.keys))


def test_shards_are_narrowed_to_what_is_cached(world, tmp_path):
    build_cache(cache_config(world, output=tmp_path / "part", max_tokens=300))
    shards, cache = Shards.open(world / "shards"), KnowledgeCache.open(tmp_path / "part")
    narrowed = cached_samples(shards, cache)
    assert 0 < len(narrowed) < len(shards) and cache.contains(narrowed.keys).all()
    for i in range(len(narrowed)):
        where = np.flatnonzero((shards.keys == narrowed.keys[i]).all(1))[0]
        assert np.array_equal(narrowed.sample(i), shards.sample(where))
    with pytest.raises(ArtifactError, match=r"lacks \d+ of \d+ samples"):
        cache.lookup(shards.keys[shards.lengths >= 2])


def test_batches_hold_every_sequence_once_and_stay_small():
    lengths = np.random.default_rng(0).integers(1, 50, 200)
    batches = list(batches_by_length(lengths, 64))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(len(batch) * lengths[batch].max() <= 64 or len(batch) == 1 for batch in batches)


@pytest.mark.parametrize("kind", ["topk", "sampled", "hidden"])
def test_dry_run_says_what_will_be_stored_and_writes_nothing(world, tmp_path, capfd, kind):
    config = cache_config(world, output=tmp_path / "new", kind=kind)
    build_cache(config, dry_run=True)
    assert not list(tmp_path.iterdir())
    cache = KnowledgeCache.open(world / "knowledge")
    plan = " ".join(capfd.readouterr().err.split())
    assert f"at each of {cache.rows} positions" in plan and f"stored {kind}" in plan
    build_cache(config)
    files = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    outside = sum(path.stat().st_size for path in files if path.name.startswith("manifest"))
    counted = read_manifest(tmp_path / "new").counts["bytes"]
    assert counted == sum(path.stat().st_size for path in files) - outside


def test_a_second_run_is_up_to_date(world, capfd):
    before = (world / "knowledge" / "manifest.json").read_bytes()
    build_cache(cache_config(world))
    assert "up to date" in capfd.readouterr().err
    assert (world / "knowledge" / "manifest.json").read_bytes() == before


def test_bad_input_is_refused_with_a_repair(world, tmp_path):
    cases = [
        ({"teacher": tmp_path / "none"}, ArtifactError, "does not exist"),
        ({"teacher": world / "shards"}, ArtifactError, "no tokenizer.json"),
        ({"shards": (ShardSource(tmp_path / "none"),)}, ArtifactError, "does not exist"),
        ({"top_k": VOCABULARY}, ConfigError, "top_k"),
        ({"max_tokens": 2}, ConfigError, "max_tokens"),
    ]
    for changes, error, words in cases:
        with pytest.raises(error, match=words):
            build_cache(cache_config(world, **{"output": tmp_path / "new", **changes}))
    other = save_bigram_teacher(tmp_path / "other", bigram_table())
    (other / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerMismatch, match="tokenizer of the teacher"):
        build_cache(cache_config(world, teacher=other, output=tmp_path / "new"))
    save_bigram_teacher(tmp_path / "small", bigram_table(vocabulary=40), vocab_size=40)
    with pytest.raises(TokenizerMismatch, match="48 entries"):
        build_cache(cache_config(world, teacher=tmp_path / "small", output=tmp_path / "new"))
    assert not (tmp_path / "new").exists()


KILLED = """
import os, random, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from distill_world import cache_config
from axk1.distill import capture, teachers

world, output, kills, kind = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
capture.build_cache(cache_config(world))  # up to date; what torch imports late is imported before the forks
teachers.load_model(world / "teacher")
capture.CHUNK_ROWS = 40

def run(last, before):
    # SIGKILL before or after the file operation with this number
    count = 0
    def counted(original):
        def operation(*arguments, **options):
            nonlocal count
            count += 1
            if count == last and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **options)
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return operation
    for module, name in ((os, "replace"), (os, "link"), (os, "fsync"), (shutil, "rmtree")):
        setattr(module, name, counted(getattr(module, name)))
    capture.build_cache(cache_config(world, output=output, kind=kind))

random.seed(0)
for kill in range(kills + 1):
    # Most stop among the chunks; the last ones may come as far as the artifact being put together.
    last = random.randint(1, 12 if kill < 14 else 90) if kill < kills else -1
    child = os.fork()
    if child == 0:
        run(last, random.random() < 0.5)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    parts = output.with_name(output.name + ".state") / "parts"
    print(os.WTERMSIG(status), len(list(parts.glob("0*.npy"))), int(output.exists()), flush=True)
"""


@pytest.mark.parametrize(("kind", "kills"), [("topk", 20), ("sampled", 6), ("hidden", 6)])
def test_killed_at_any_moment_it_goes_on_and_loses_and_doubles_nothing(world, tmp_path, kind, kills):
    """Runs, one after the other, each killed at some file operation; then one to the end."""
    command = [sys.executable, "-c", KILLED, os.path.dirname(__file__), world, tmp_path / "killed", str(kills), kind]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    runs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(runs) == kills + 1 and runs[-1] == (0, 0, 1), done.stderr[-2000:]
    assert sum(signal_number == signal.SIGKILL for signal_number, _, _ in runs) >= min(kills, 15)
    kept = [parts for _, parts, published in runs if not published]
    assert kept == sorted(kept) and kept[-1] > 0, "what was finished stays"
    assert [path.name for path in tmp_path.iterdir()] == ["killed"]
    build_cache(cache_config(world, output=tmp_path / "straight", kind=kind))
    straight, resumed = (KnowledgeCache.open(tmp_path / name) for name in ("straight", "killed"))
    resumed.verify()
    assert len(list((tmp_path / "killed" / "chunks").iterdir())) > 20
    assert np.array_equal(straight.keys, resumed.keys)
    first, second = straight.lookup(straight.keys), resumed.lookup(resumed.keys)
    for name, values in arrays_of(first.rows).items():
        assert np.array_equal(values, arrays_of(second.rows)[name]), name
