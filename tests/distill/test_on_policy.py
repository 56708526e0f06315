"""A student that learns from what the teacher says of its own answers."""

import json

import numpy as np
import pytest
import torch
from distill_world import VOCABULARY, bigram_table, cache_config, save_bigram_teacher, write_shards, write_tokenizer

from axk1.core.errors import ArtifactError, ConfigError, TokenizerMismatch
from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.on_policy import OnPolicyConfig, train_on_policy
from axk1.distill.rollouts import Prompts, Round
from axk1.distill.student import Distillation
from axk1.engine.llm import LLM
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.train.checkpointing import TrainingState
from axk1.train.config import OptimizerConfig, ShardSource

STUDENT = ModelConfig(
    architecture="Qwen3ForCausalLM", vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, head_dim=8,
    num_attention_heads=2, num_key_value_heads=1, intermediate_size=24, max_position_embeddings=64,
    tie_word_embeddings=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """Conversations (a question, then an answer, which alone is a target), texts, a teacher and its cache."""
    folder, generator = tmp_path_factory.mktemp("school"), np.random.default_rng(0)
    questions = [generator.integers(0, VOCABULARY - 1, generator.integers(2, 9)) for _ in range(30)]
    samples = [np.append(question, generator.integers(0, VOCABULARY - 1, 4)) for question in questions]
    write_shards(folder / "chat", samples, masks=[np.arange(len(s)) >= len(s) - 4 for s in samples])
    write_shards(folder / "text", [generator.integers(0, VOCABULARY - 1, 20) for _ in range(20)])
    save_bigram_teacher(folder / "teacher", bigram_table())
    (folder / "student.json").write_text(json.dumps(STUDENT.to_hf()))
    build_cache(cache_config(folder, shards=(ShardSource(folder / "chat"), ShardSource(folder / "text"))))
    return folder


def recipe(folder, output, **changes):
    fields = {
        "model": folder / "student.json", "shards": (ShardSource(folder / "chat"), ShardSource(folder / "text")),
        "cache": folder / "knowledge", "tokenizer": folder / "tokenizer", "teacher": folder / "teacher",
        "output": output, "sequence_length": 32, "rows": 4, "steps": 12, "round_steps": 4, "rollouts": 16,
        "max_new_tokens": 12, "log_steps": 1, "threads": 1, "precision": "fp32", "device": "cpu",
        "optim": OptimizerConfig(lr=1e-2),
    }  # fmt: skip
    return OnPolicyConfig(**{**fields, **changes})


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def kept(monkeypatch):
    """Training states stay on disk after their runs."""
    monkeypatch.setattr(TrainingState, "discard", lambda self: None)


def test_the_student_comes_closer_to_its_teacher_where_it_goes_itself(school, tmp_path):
    out = train_on_policy(recipe(school, tmp_path / "out", cache=None, on_policy_share=1.0, steps=60, rows=8))
    distance = [line["reverse_kl_to_teacher"] for line in metrics(out)]
    assert sum(distance[-8:]) < 0.7 * sum(distance[:8])
    assert all(0 < line["rollout_tokens"] <= 12 and 0 <= line["rollouts_ended"] <= 1 for line in metrics(out))


def test_steps_on_own_answers_and_on_the_shards_are_mixed_by_the_share(school, tmp_path):
    out = train_on_policy(recipe(school, tmp_path / "out", on_policy_share=0.4, steps=40, round_steps=8))
    own = sum("reverse_kl_to_teacher" in line for line in metrics(out))
    assert sum("kl_to_teacher" in line for line in metrics(out)) == 40 - own
    assert 6 < own < 27  # 16 +- 3 by chance


def test_a_round_is_written_by_the_student_of_the_round_before_and_scored_by_the_teacher(school, tmp_path, kept):
    config = recipe(school, tmp_path / "out", on_policy_share=1.0)
    train_on_policy(config)
    rounds = tmp_path / "out.state" / "rounds"
    written = Round.open(rounds / "00002")
    student = LLM(load_model(rounds / "00001" / "student"), Tokenizer.load(school / "tokenizer"))
    prompts = Prompts([Shards.open(school / "chat")], longest=20, seed=0).take(32, 16)
    answers = student.generate([p.ids.tolist() for p in prompts], max_tokens=12, temperature=1.0, seed=32)
    expected = sorted((*p.ids.tolist(), *a.token_ids) for p, a in zip(prompts, answers, strict=True))
    assert sorted(tuple(written.shards.sample(i).tolist()) for i in range(16)) == expected
    own = [tuple(written.shards.sample(i).tolist()) for i in range(16)]
    for number, ids in enumerate(own):
        begin = written.shards.offsets[number]
        mask = written.shards.loss_mask[begin : begin + len(ids)]
        assert any(tuple(p.ids.tolist()) == ids[: int(mask.argmax())] for p in prompts), "the answer alone is taught"

    states = written.cache.lookup(written.shards.keys[:1]).rows.torch().float()
    log_probs = torch.log_softmax(states @ written.cache.output_matrix().float().T, -1)
    wanted = bigram_table()[list(own[0][:-1])].float()
    torch.testing.assert_close(log_probs, wanted, atol=0.05, rtol=0)  # the states are rounded to bf16


class Killed(Exception):
    pass


@pytest.mark.parametrize("died_at", [3, 4, 6, 9])
def test_a_killed_run_ends_as_an_undisturbed_one(school, tmp_path, monkeypatch, died_at):
    changes = {"on_policy_share": 0.7, "checkpoint_steps": 2, "checkpoint_seconds": None}
    whole = train_on_policy(recipe(school, tmp_path / "whole", **changes))
    call = Distillation.__call__

    def dying(self, model, batch):
        if batch.step == died_at:
            raise Killed
        return call(self, model, batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Distillation, "__call__", dying)
        train_on_policy(recipe(school, tmp_path / "cut", **changes))
    cut = train_on_policy(recipe(school, tmp_path / "cut", **changes))
    first, second = load_model(whole).state_dict(), load_model(cut).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "cut.state").exists()


def test_a_streamed_teacher_says_the_same_of_the_answers(school, tmp_path, kept):
    states = []
    for output, how in (("memory", {}), ("streamed", {"stream": True, "memory": "4MB"})):
        train_on_policy(recipe(school, tmp_path / output, cache=None, on_policy_share=1.0, steps=4, **how))
        first = Round.open(tmp_path / f"{output}.state/rounds/00000")  # both are written by the student as it began
        states.append(first.cache.lookup(first.shards.keys[:]).rows.torch().float())
    torch.testing.assert_close(*states, atol=1e-5, rtol=2**-7)  # a unit of bf16, into which they are rounded
    assert not list(tmp_path.glob("*.state/rounds/*/*.state")), "states of a pass are left behind"


def test_prompts_come_in_another_order_each_time_and_fit(school):
    prompts = Prompts([Shards.open(school / "text"), Shards.open(school / "chat")], longest=6, seed=3)
    once, again = prompts.take(0, len(prompts)), prompts.take(len(prompts), len(prompts))
    assert len(prompts) < 30 and all(len(prompt.ids) <= 6 for prompt in once)
    as_set = [sorted(tuple(prompt.ids.tolist()) for prompt in some) for some in (once, again)]
    assert as_set[0] == as_set[1]
    assert [p.ids.tolist() for p in once] != [p.ids.tolist() for p in again]


def test_the_last_answer_of_a_conversation_is_the_one_to_write(tmp_path):
    masks = [np.array([0, 0, 1, 1, 0, 0, 1]), np.array([1, 1, 0]), np.array([0, 0, 0])]
    write_shards(tmp_path / "chat", [np.arange(1, 1 + len(mask)) for mask in masks], masks=masks)
    (prompt,) = Prompts([Shards.open(tmp_path / "chat")], longest=50, seed=0).take(0, 1)
    assert prompt.ids.tolist() == [1, 2, 3, 4, 5, 6]


def test_what_cannot_work_is_refused_before_any_work(school, tmp_path):
    with pytest.raises(ConfigError, match="cache"):
        recipe(school, tmp_path / "out", cache=None)
    with pytest.raises(ConfigError, match="teacher"):
        recipe(school, tmp_path / "out", teacher=None)
    with pytest.raises(ConfigError, match="max_new_tokens"):
        recipe(school, tmp_path / "out", max_new_tokens=32)
    with pytest.raises(ArtifactError, match="no conversation"):
        train_on_policy(recipe(school, tmp_path / "out", shards=(ShardSource(school / "text"),)))
    with pytest.raises(ArtifactError, match="nowhere"):
        train_on_policy(recipe(school, tmp_path / "out", teacher=school / "nowhere"))
    stranger = save_bigram_teacher(tmp_path / "stranger", bigram_table(1))
    words = json.loads((write_tokenizer(stranger) / "tokenizer.json").read_text())
    words["model"]["vocab"]["w0"], words["model"]["vocab"]["w1"] = 1, 0
    (stranger / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(TokenizerMismatch):
        train_on_policy(recipe(school, tmp_path / "out", teacher=stranger, cache=None, on_policy_share=1.0))
    assert not list(tmp_path.glob("out*"))
    assert KnowledgeCache.open(school / "knowledge").rows
