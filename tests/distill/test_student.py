"""A student taught from the cache, and its control."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from distill_world import (
    VOCABULARY,
    bigram_table,
    cache_config,
    random_samples,
    save_bigram_teacher,
    write_shards,
    write_tokenizer,
)

from axk1.core.artifact import read_manifest, sha256_file
from axk1.core.errors import ArtifactError, ConfigError, TokenizerMismatch
from axk1.data.packing import PackedBatches
from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.divergence import NAMES
from axk1.distill.student import Distillation, DistillConfig, train_student
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.train.batches import batches_from
from axk1.train.config import OptimizerConfig, ShardSource
from axk1.train.parallel.processes import Processes

STUDENT = ModelConfig(
    architecture="Qwen3ForCausalLM", vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, head_dim=8,
    num_attention_heads=2, num_key_value_heads=1, intermediate_size=24, max_position_embeddings=64,
    tie_word_embeddings=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """Shards drawn from the teacher's own distribution, half of the targets masked out, the teacher and its cache."""
    folder, generator = tmp_path_factory.mktemp("school"), np.random.default_rng(0)
    table = bigram_table().exp().numpy()
    samples = []
    for length in generator.integers(2, 40, 80):
        ids = [int(generator.integers(VOCABULARY))]
        while len(ids) < length:
            ids.append(int(generator.choice(VOCABULARY, p=table[ids[-1]] / table[ids[-1]].sum())))
        samples.append(np.array(ids))
    write_shards(folder / "shards", samples, masks=[generator.random(len(sample)) < 0.5 for sample in samples])
    save_bigram_teacher(folder / "teacher", bigram_table())
    (folder / "student.json").write_text(json.dumps(STUDENT.to_hf()))
    build_cache(cache_config(folder))
    return folder


def recipe(folder, output, **changes):
    fields = {
        "model": folder / "student.json", "shards": (ShardSource(folder / "shards"),), "cache": folder / "knowledge",
        "tokenizer": folder / "tokenizer", "teacher": folder / "teacher", "output": output, "sequence_length": 64,
        "rows": 8, "steps": 40, "log_steps": 8, "threads": 1, "precision": "fp32", "device": "cpu",
        "optim": OptimizerConfig(lr=2e-2),
    }  # fmt: skip
    return DistillConfig(**{**fields, **changes})


def parts(config, micro_batches=1, step=0):
    """The objective, and a step's batch in parts."""
    shards = [Shards.open(config.shards[0].folder)]
    batches = PackedBatches(shards, [1.0], sequence_length=64, rows=8, seed=0)
    generator = batches_from(
        step, step + 1, batches, micro_batches=micro_batches, processes=Processes(), device=torch.device("cpu")
    )
    objective = Distillation(config, [KnowledgeCache.open(config.cache)], shards)
    return objective, next(generator).parts


def new_student():
    torch.manual_seed(0)
    return Transformer(STUDENT)


def test_every_position_is_taught_the_distribution_of_its_next_token(school, tmp_path):
    """The teacher knows only the current token: so position i must get the table's row of token i, to predict i + 1."""
    objective, (batch,) = parts(recipe(school, tmp_path))
    teacher = objective.teacher_of(batch)
    has_next = (batch.segments_BT[:, :-1] == batch.segments_BT[:, 1:]) & (batch.segments_BT[:, 1:] > 0)
    places = torch.nn.functional.pad(has_next, (0, 1)).flatten()
    assert 0 < (batch.targets_BT != -100).sum() < places.sum(), "some positions have no target"
    values, ids = bigram_table()[batch.tokens_BT.flatten()[places]].topk(6, 1)
    assert torch.equal(teacher.ids_NK[places], ids)
    torch.testing.assert_close(teacher.log_probs_NK[places].double(), values, atol=0.02, rtol=0)


@pytest.mark.parametrize("tail_samples", [0, 500])
@pytest.mark.parametrize("teach_prompts", [True, False])
def test_the_objective_equals_a_plain_loss_against_the_teacher(school, tmp_path, tail_samples, teach_prompts):
    """With the tail's mass alone it is the divergence over seven entries; with many draws, nearly the full one."""
    build_cache(cache_config(school, output=tmp_path / "cache", tail_samples=tail_samples))
    options = {"kl_weight": 0.6, "ce_weight": 0.3, "teach_prompts": teach_prompts}
    objective, (batch,) = parts(recipe(school, tmp_path / "out", cache=tmp_path / "cache", **options))
    model = new_student()
    loss = objective(model, batch)
    logits_BTV = model(batch.tokens_BT, batch.positions_BT, batch.segments_BT)
    log_q, log_p = torch.log_softmax(logits_BTV.double(), -1), bigram_table()[batch.tokens_BT]
    known = torch.zeros_like(log_q, dtype=torch.bool).scatter_(-1, log_p.topk(6, -1).indices, True)

    def coarse(log_probs):
        tail = log_probs.masked_fill(known, float("-inf")).logsumexp(-1, keepdim=True)
        return torch.cat((log_probs.masked_select(known).view(*tail.shape[:-1], 6), tail), -1)

    p, q = (log_p, log_q) if tail_samples else (coarse(log_p), coarse(log_q))
    kl_BT = (p.exp() * (p - q)).sum(-1)
    answered = batch.targets_BT != -100
    followed = torch.zeros_like(answered)
    for sample in batch.samples:
        followed[sample["row"], sample["column"] : sample["column"] + sample["length"] - 1] = True
    assert followed.sum() == batch.n_positions > answered.sum() == batch.n_targets
    ce = torch.nn.functional.nll_loss(log_q[answered], batch.targets_BT[answered], reduction="sum")
    taught = followed if teach_prompts else answered
    tolerance = {"atol": 0, "rtol": 0.005 if tail_samples else 0.001}
    torch.testing.assert_close(loss.metrics["kl_to_teacher"].double(), kl_BT[answered].mean(), **tolerance)
    torch.testing.assert_close(loss.metrics["cross_entropy"].double(), ce / answered.sum(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss.total.double(), (0.6 * kl_BT[taught].sum() + 0.3 * ce) / taught.sum(), **tolerance)


def test_parts_of_a_batch_add_up_to_the_whole(school, tmp_path):
    config = recipe(school, tmp_path)
    results = []
    for micro_batches in (1, 8):
        objective, batches = parts(config, micro_batches)
        model = new_student()
        losses = [objective(model, batch) for batch in batches]
        sum(loss.total for loss in losses).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        results.append((sum(loss.metrics["kl_to_teacher"] for loss in losses), gradient))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "forward_kl"])
def test_every_divergence_trains_a_student_and_is_logged_under_its_name(school, tmp_path, name):
    output = train_student(recipe(school, tmp_path / "out", divergence=name, skew=0.2, log_steps=40))
    first, last = (json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines())
    assert last[f"{name}_to_teacher"] < 0.9 * first[f"{name}_to_teacher"]
    assert "kl_to_teacher" not in first


def test_the_vocabulary_of_either_side_may_be_padded(school, tmp_path):
    """The teacher's rows beyond the student's are never said: what is left is the same distribution."""
    save_bigram_teacher(tmp_path / "padded", bigram_table(), vocab_size=VOCABULARY + 16)
    build_cache(cache_config(school, teacher=tmp_path / "padded", output=tmp_path / "cache", tail_samples=0))
    build_cache(cache_config(school, output=tmp_path / "plain", tail_samples=0))
    wide = dataclasses.replace(STUDENT, vocab_size=VOCABULARY + 16)
    (tmp_path / "wide.json").write_text(json.dumps(wide.to_hf()))
    for changes in ({"cache": tmp_path / "cache"}, {"model": tmp_path / "wide.json"}):
        config = recipe(school, tmp_path / "out", teacher=None, steps=2, divergence="reverse_kl", **changes)
        lines = (train_student(config) / "metrics.jsonl").read_text().splitlines()
        assert all(0 < json.loads(line)["reverse_kl_to_teacher"] < 20 for line in lines)
        shutil.rmtree(tmp_path / "out")


def test_the_control_is_the_same_student_on_the_same_tokens(school, tmp_path):
    """It starts from the same loss, never follows the teacher, and still logs its distance to it."""
    lines = {}
    for name, weights in {"student": (1.0, 0.0), "control": (0.0, 1.0)}.items():
        output = tmp_path / name
        options = {"kl_weight": weights[0], "ce_weight": weights[1], "teach_prompts": False}
        assert train_student(recipe(school, output, **options)) == output
        lines[name] = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines[name]] == [1, 8, 16, 24, 32, 40]
        assert read_manifest(output).inputs["knowledge_cache"] == read_manifest(school / "knowledge").content_hash
    first, last = ({name: line[place] for name, line in lines.items()} for place in (0, -1))
    assert first["student"]["cross_entropy"] == pytest.approx(first["control"]["cross_entropy"], rel=1e-5)
    assert first["student"]["kl_to_teacher"] == pytest.approx(first["control"]["kl_to_teacher"], rel=1e-5)
    assert [line["tokens"] for line in lines["student"]] == [line["tokens"] for line in lines["control"]]
    assert first["student"]["loss"] == pytest.approx(first["student"]["kl_to_teacher"], rel=1e-4)
    assert first["control"]["loss"] == pytest.approx(first["control"]["cross_entropy"], rel=1e-4)
    assert last["student"]["kl_to_teacher"] < 0.7 * first["student"]["kl_to_teacher"]
    assert last["student"]["kl_to_teacher"] < last["control"]["kl_to_teacher"]


def test_the_control_trains_as_without_a_cache(school, tmp_path):
    """Measuring the KL at logged steps must not change what is learnt."""
    weights = []
    for track_kl in (True, False):
        output = tmp_path / str(track_kl)
        train_student(recipe(school, output, kl_weight=0.0, ce_weight=1.0, steps=8, log_steps=2, track_kl=track_kl))
        lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        assert all(("kl_to_teacher" in line) == track_kl for line in lines)
        weights.append(lines[-1]["cross_entropy"])
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)


def test_only_cached_samples_are_trained_on(school, tmp_path):
    build_cache(cache_config(school, output=tmp_path / "part", max_tokens=400))
    output = train_student(recipe(school, tmp_path / "out", cache=tmp_path / "part", steps=4, log_steps=1))
    assert read_manifest(output).counts["steps"] == 4


def test_what_does_not_fit_is_refused_with_the_repair(school, tmp_path):
    def refused(error, words, repair, **changes):
        with pytest.raises(error, match=words) as raised:
            train_student(recipe(school, tmp_path / "out", **changes))
        assert repair in str(raised.value.repair)

    other = save_bigram_teacher(tmp_path / "other", bigram_table(seed=5))
    refused(ArtifactError, "another teacher", "axk1 distill cache", teacher=other)
    refused(ArtifactError, "does not exist", "axk1 distill cache", cache=tmp_path / "none")
    refused(ArtifactError, "temperature = 2.0", "--temperature 2.0", temperature=2.0)
    small = dataclasses.replace(STUDENT, vocab_size=VOCABULARY - 8)
    (tmp_path / "small.json").write_text(json.dumps(small.to_hf()))
    refused(TokenizerMismatch, "vocab_size", "vocab_size", model=tmp_path / "small.json")
    write_shards(tmp_path / "elsewhere" / "shards", random_samples(5, seed=9))
    elsewhere = (ShardSource(tmp_path / "elsewhere" / "shards"),)
    refused(ArtifactError, "holds no sample", "axk1 distill cache", shards=elsewhere)
    assert not (tmp_path / "out").exists()
    for changes in (
        {"kl_weight": -1.0},
        {"kl_weight": 0.0, "ce_weight": 0.0},
        {"temperature": 0.0},
        {"beta": 2.0},
        {"skew": 1.0},
    ):
        with pytest.raises(ConfigError, match=next(iter(changes))[:2]):
            recipe(school, tmp_path / "out", **changes)


def test_a_cache_of_another_tokenizer_is_refused(school, tmp_path):
    """Everything but the cache belongs to a tokenizer whose words have other ids."""
    folder = tmp_path / "other"
    write_shards(folder / "shards", random_samples(8))
    tokenizer = write_tokenizer(folder / "tokenizer") / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"w1"', '"w_one"'))
    manifest = folder / "shards" / "manifest.json"
    values = json.loads(manifest.read_text())
    values["inputs"]["tokenizer"] = sha256_file(tokenizer)
    manifest.write_text(json.dumps(values))
    config = recipe(
        school, tmp_path / "out", tokenizer=folder / "tokenizer", shards=(ShardSource(folder / "shards"),), teacher=None
    )
    with pytest.raises(TokenizerMismatch, match="made with another tokenizer") as raised:
        train_student(config)
    assert "axk1 distill cache" in raised.value.repair


def test_dry_run_prints_the_plan_and_writes_nothing(school, tmp_path, capfd):
    train_student(recipe(school, tmp_path / "out"), dry_run=True)
    assert "distill train" in capfd.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "divergence"), [("sampled", "forward_kl"), ("hidden", "forward_kl"), ("hidden", "jsd")]
)
def test_a_student_learns_from_every_kind_of_cache(school, tmp_path, kind, divergence):
    build_cache(cache_config(school, output=tmp_path / "cache", kind=kind))
    options = {"cache": tmp_path / "cache", "kl_weight": 1.0, "ce_weight": 0.0, "divergence": divergence}
    output = train_student(recipe(school, tmp_path / "student", **options))
    figure = "kl_to_teacher" if divergence == "forward_kl" else f"{divergence}_to_teacher"
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1][figure] < 0.7 * lines[0][figure]


def test_a_divergence_that_a_cache_cannot_tell_is_refused_before_the_work(school, tmp_path):
    build_cache(cache_config(school, output=tmp_path / "cache", kind="sampled"))
    with pytest.raises(ConfigError, match=r"reverse_kl.*SampledTargets"):
        train_student(recipe(school, tmp_path / "student", cache=tmp_path / "cache", divergence="reverse_kl"))
    assert not (tmp_path / "student").exists()
