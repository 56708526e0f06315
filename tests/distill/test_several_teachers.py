"""Several teachers, each with its weight in each domain: against a plain loss from their tables."""

import dataclasses
import json

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
from hypothesis import given
from hypothesis import strategies as st

from axk1.core.artifact import read_manifest
from axk1.core.errors import ArtifactError, ConfigError
from axk1.data.packing import PackedBatches
from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.lessons import TeacherSource, plan_lessons
from axk1.distill.selection import cached_samples
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
DOMAINS = ("text", "maths", "law")


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """Three folders of shards; two teachers, and what each says of all of them, exactly (kind hidden) or nearly."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "student.json").write_text(json.dumps(STUDENT.to_hf()))
    write_tokenizer(folder / "tokenizer")
    for seed, domain in enumerate(DOMAINS):
        samples = random_samples(30, seed=seed)
        generator = np.random.default_rng(seed)
        write_shards(folder / domain, samples, masks=[generator.random(len(one)) < 0.5 for one in samples])
    shards = tuple(ShardSource(folder / domain) for domain in DOMAINS)
    for seed in (0, 1):
        save_bigram_teacher(folder / f"teacher{seed}", bigram_table(seed))
        config = cache_config(folder, teacher=folder / f"teacher{seed}", shards=shards, output=folder / f"k{seed}")
        build_cache(dataclasses.replace(config, kind="hidden" if seed else "topk", top_k=VOCABULARY - 1))
    return folder


def recipe(folder, output, *weights, **changes):
    sources = tuple(TeacherSource(cache=folder / f"k{seed}", weights=each) for seed, each in enumerate(weights))
    fields = {
        "model": folder / "student.json", "shards": tuple(ShardSource(folder / domain) for domain in DOMAINS),
        "tokenizer": folder / "tokenizer", "teachers": sources, "output": output, "sequence_length": 64, "rows": 8,
        "steps": 6, "log_steps": 2, "threads": 1, "precision": "fp32", "device": "cpu",
        "optim": OptimizerConfig(lr=2e-2), "kl_weight": 0.6, "ce_weight": 0.3,
    }  # fmt: skip
    return DistillConfig(**{**fields, **changes})


def batch_of(config):
    everything = KnowledgeCache.open(config.sources()[-1].cache)  # a sample of one token has no next one
    shards = [cached_samples(Shards.open(source.folder), everything) for source in config.shards]
    packed = PackedBatches(shards, [1.0] * len(shards), sequence_length=64, rows=8, seed=0)
    made = batches_from(0, 1, packed, micro_batches=1, processes=Processes(), device=torch.device("cpu"))
    caches = [KnowledgeCache.open(source.cache) for source in config.sources()]
    return Distillation(config, caches, shards), next(made).parts[0]


WEIGHTS = [
    ((1.0, 0.0, 0.0), (0.0, 1.0, 1.0)),  # each its own domains
    ((1.0, 0.25, 0.0), (0.5, 2.0, 0.0)),  # both in two, nobody in the third
    ((), ()),  # both in all
]


@pytest.mark.parametrize("teach_prompts", [True, False])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_loss_is_each_teachers_by_its_weight(school, tmp_path, weights, teach_prompts):
    config = recipe(school, tmp_path, *weights, teach_prompts=teach_prompts)
    objective, batch = batch_of(config)
    torch.manual_seed(0)
    model = Transformer(STUDENT)
    loss = objective(model, batch)

    log_q = torch.log_softmax(model(batch.tokens_BT, batch.positions_BT, batch.segments_BT).double(), -1)
    answered = batch.targets_BT != -100
    followed, weight_KBT = torch.zeros_like(answered), torch.zeros(2, *answered.shape).double()
    for sample in batch.samples:
        place = slice(sample["column"], sample["column"] + sample["length"] - 1)
        followed[sample["row"], place] = True
        for teacher in (0, 1):
            weight_KBT[teacher, sample["row"], place] = (weights[teacher] or (1.0,) * 3)[sample["shard"]]
    distance_BT = sum(
        weight_KBT[teacher] * (log_p.exp() * (log_p - log_q)).sum(-1)
        for teacher in (0, 1)
        for log_p in [bigram_table(teacher).double()[batch.tokens_BT]]
    )
    ce = torch.nn.functional.nll_loss(log_q[answered], batch.targets_BT[answered], reduction="sum")
    taught = followed if teach_prompts else answered
    divisor = batch.n_positions if teach_prompts else batch.n_targets
    expected = (0.6 * distance_BT[taught].sum() + 0.3 * ce) / divisor
    torch.testing.assert_close(loss.total.double(), expected, rtol=2e-3, atol=0)
    torch.testing.assert_close(loss.metrics["cross_entropy"].double(), ce / answered.sum(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        loss.metrics["kl_to_teacher"].double(), distance_BT[answered].sum() / batch.n_targets, rtol=2e-3, atol=0
    )
    ours, plain = (
        torch.cat([part.flatten() for part in torch.autograd.grad(one, list(model.parameters()))])
        for one in (loss.total, expected.float())
    )
    assert (ours - plain).norm() < 0.01 * plain.norm()


def test_two_halves_of_a_teacher_are_the_teacher(school, tmp_path):
    whole = recipe(school, tmp_path, teachers=(), cache=school / "k1")
    halves = tuple(TeacherSource(cache=school / "k1", weights=(share,) * 3) for share in (0.25, 0.75))
    losses = []
    for config in (whole, dataclasses.replace(whole, cache=None, teachers=halves)):
        objective, batch = batch_of(config)
        torch.manual_seed(0)
        model = Transformer(STUDENT)
        objective(model, batch).total.backward()
        losses.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-7)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * n), max_size=4)))
def test_every_domain_has_all_its_teachers_and_its_text_once(table):
    table = [weights for weights in table if any(weights)]
    domains = len(table[0]) if table else 3
    sources = [TeacherSource(cache="k", weights=weights) for weights in table]
    lessons = plan_lessons(sources, domains)
    for domain in range(domains):
        here = [lesson for lesson in lessons if domain in lesson.shards]
        assert sum(lesson.has_text for lesson in here) == 1
        found = {lesson.teacher: lesson.weight for lesson in here if lesson.teacher is not None}
        assert found == ({i: w[domain] for i, w in enumerate(table) if w[domain]} if table else {0: 1.0})


def test_a_student_of_two_teachers_is_trained(school, tmp_path):
    output = train_student(recipe(school, tmp_path / "student", *WEIGHTS[0], steps=30))
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["kl_to_teacher"] < 0.8 * lines[0]["kl_to_teacher"]
    assert {"knowledge_cache[0]", "knowledge_cache[1]"} <= set(read_manifest(output).inputs)


def test_a_sample_is_left_out_where_one_of_its_teachers_does_not_know_it(school, tmp_path):
    some = cache_config(school, teacher=school / "teacher0", shards=(ShardSource(school / "text"),))
    build_cache(dataclasses.replace(some, output=tmp_path / "some"))
    sources = (TeacherSource(cache=tmp_path / "some", weights=(1.0, 1.0, 0.0)), TeacherSource(cache=school / "k1"))
    with pytest.raises(ArtifactError, match=r"holds no sample of .*maths"):
        train_student(recipe(school, tmp_path / "out", teachers=sources))
    sources = (TeacherSource(cache=tmp_path / "some", weights=(1.0, 0.0, 0.0)), TeacherSource(cache=school / "k1"))
    train_student(recipe(school, tmp_path / "out", teachers=sources, steps=2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teachers": ()}, "cache = None"),
        ({"teachers": (TeacherSource(cache="k", weights=(1.0,)),)}, "a weight for each of the 3 shards"),
        ({"cache": "k"}, "none beside cache and teacher"),
    ],
)
def test_what_is_missing_or_too_much_is_named(school, tmp_path, changes, said):
    with pytest.raises(ConfigError, match=said):
        recipe(school, tmp_path, *WEIGHTS[0], **changes).sources()
    with pytest.raises(ConfigError, match="0 or more"):
        TeacherSource(cache="k", weights=(-1.0,))
