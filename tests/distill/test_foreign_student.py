"""Students of architectures that only transformers knows, taught from the same cache with the same loss."""

import json

import numpy as np
import pytest
import torch
import transformers
from distill_world import (
    VOCABULARY,
    bigram_table,
    cache_config,
    random_samples,
    save_bigram_teacher,
    write_shards,
    write_tokenizer,
)

from axk1.core.artifact import verify
from axk1.core.errors import CheckpointError, ConfigError, Interrupted
from axk1.data.packing import PackedBatches
from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.selection import cached_samples
from axk1.distill.student import Distillation, DistillConfig, train_student
from axk1.model.checkpoint import load_model
from axk1.train.batches import batches_from
from axk1.train.config import OptimizerConfig, ShardSource
from axk1.train.foreign import ForeignConfig, load_foreign_network
from axk1.train.parallel.processes import Processes

SIZES = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
STUDENTS = {
    "gpt2": transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=64, **SIZES),
    "gpt_neox": transformers.GPTNeoXConfig(max_position_embeddings=64, **SMALL, **SIZES),
    "mamba": transformers.MambaConfig(hidden_size=16, num_hidden_layers=1, state_size=4, **SIZES),
}


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    write_tokenizer(folder / "tokenizer")
    samples = [sample % VOCABULARY for sample in random_samples(60)]
    generator = np.random.default_rng(0)
    write_shards(folder / "shards", samples, masks=[generator.random(len(sample)) < 0.7 for sample in samples])
    save_bigram_teacher(folder / "teacher", bigram_table())
    build_cache(cache_config(folder))
    for name, config in STUDENTS.items():
        transformers.AutoModelForCausalLM.from_config(config).config.save_pretrained(folder / name)
    return folder


def recipe(folder, output, student, **changes):
    fields = {
        "model": folder / student, "shards": (ShardSource(folder / "shards"),), "cache": folder / "knowledge",
        "tokenizer": folder / "tokenizer", "output": output, "sequence_length": 64, "rows": 4, "steps": 30,
        "log_steps": 5, "threads": 1, "precision": "fp32", "device": "cpu", "optim": OptimizerConfig(lr=1e-2),
    }  # fmt: skip
    return DistillConfig(**{**fields, **changes})


def one_batch(config):
    cache = KnowledgeCache.open(config.cache)
    shards = [cached_samples(Shards.open(config.shards[0].folder), cache)]
    packed = PackedBatches(shards, [1.0], sequence_length=64, rows=4, seed=0)
    made = batches_from(0, 1, packed, micro_batches=1, processes=Processes(), device=torch.device("cpu"))
    return Distillation(config, [cache], shards), next(made).parts[0]


def test_through_transformers_a_network_of_ours_has_the_same_loss_and_gradient(school, tmp_path):
    """Llama is known to both: rows taken apart or attention kept within samples, the figures are the same."""
    network = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(num_key_value_heads=1, max_position_embeddings=64, **SMALL, **SIZES)
    ).eval()
    network.save_pretrained(tmp_path / "llama")
    objective, batch = one_batch(recipe(school, tmp_path / "out", tmp_path / "llama"))
    assert (batch.segments_BT.amax(1) > 1).any()
    own = load_model(tmp_path / "llama", dtype=torch.float32)
    foreign = load_foreign_network(ForeignConfig.load(tmp_path / "llama"), seed=0)
    losses = []
    for model in (own, foreign):
        loss = objective(model, batch)
        loss.total.backward()
        losses.append(loss)
    torch.testing.assert_close(losses[0].total, losses[1].total, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own.lm_head.weight.grad, foreign.network.lm_head.weight.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        own.embed_tokens.weight.grad, foreign.network.model.embed_tokens.weight.grad, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_states_are_those_of_each_sample_alone(school, tmp_path, name):
    _, batch = one_batch(recipe(school, tmp_path, name))
    model = load_foreign_network(ForeignConfig.load(school / name), seed=0)
    with torch.no_grad():
        states_BTH = model.hidden(batch.tokens_BT, batch.positions_BT, batch.segments_BT).states_BTH
        for sample in batch.samples:
            row, columns = sample["row"], slice(sample["column"], sample["column"] + sample["length"])
            alone = model.network.base_model(input_ids=batch.tokens_BT[row : row + 1, columns]).last_hidden_state[0]
            torch.testing.assert_close(states_BTH[row, columns], alone, rtol=1e-4, atol=1e-5)
    assert not states_BTH[batch.segments_BT == 0].any()


@pytest.mark.parametrize("name", sorted(STUDENTS))
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_learns_and_transformers_opens_what_was_learnt(school, tmp_path, name, optimizer):
    config = recipe(school, tmp_path / "out", name, optim=OptimizerConfig(name=optimizer, lr=1e-2))
    train_student(config)
    verify(tmp_path / "out", kind="checkpoint")
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["kl_to_teacher"] < 0.97 * lines[0]["kl_to_teacher"]
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert again.config.architectures == [type(again).__name__]
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    more = recipe(school, tmp_path / "more", tmp_path / "out", steps=1)
    train_student(more)
    first = json.loads((tmp_path / "more" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["kl_to_teacher"] < lines[0]["kl_to_teacher"], "it goes on from its weights"


def test_a_run_that_was_stopped_ends_as_one_that_was_not(school, tmp_path, monkeypatch):
    train_student(recipe(school, tmp_path / "whole", "gpt2", steps=6))
    call, left = Distillation.__call__, [4]

    def stopping(self, model, batch):
        left[0] -= 1
        if not left[0]:
            raise Interrupted("stopped", signal=15)
        return call(self, model, batch)

    config = recipe(school, tmp_path / "parts", "gpt2", steps=6, checkpoint_steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(Distillation, "__call__", stopping)
        with pytest.raises(Interrupted):
            train_student(config)
    train_student(config)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_what_cannot_be_done_is_refused(school, tmp_path):
    with pytest.raises(ConfigError, match="lora_rank = 2"):
        train_student(recipe(school, tmp_path / "out", "gpt2", lora_rank=2))
    capped = transformers.Gemma2Config(
        head_dim=8, num_key_value_heads=1, final_logit_softcapping=0.01, max_position_embeddings=64, **SMALL, **SIZES
    )
    transformers.AutoModelForCausalLM.from_config(capped).config.save_pretrained(tmp_path / "gemma2")
    with pytest.raises(CheckpointError, match="more than its states times its output matrix"):
        train_student(recipe(school, tmp_path / "out", tmp_path / "gemma2"))
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "config.json").write_text('{"model_type": "no such", "architectures": ["NoSuch"]}')
    with pytest.raises(CheckpointError, match="cannot open"):
        train_student(recipe(school, tmp_path / "out", tmp_path / "nothing"))
