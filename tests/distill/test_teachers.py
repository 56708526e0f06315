"""Teachers of transformers: as our own code where both know the architecture, and architectures that it does not."""

import json

import numpy as np
import pytest
import torch
import transformers
from distill_world import VOCABULARY, cache_config, random_samples, save_teacher, write_shards, write_tokenizer

from axk1.core.errors import ArtifactError, CheckpointError
from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.kinds import arrays_of
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards, and a random teacher of an architecture that both know."""
    folder = tmp_path_factory.mktemp("teachers")
    write_shards(folder / "shards", random_samples(25, seed=1))
    config = ModelConfig(
        architecture="Qwen3ForCausalLM", vocab_size=VOCABULARY + 16, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, intermediate_size=48, max_position_embeddings=64,
        initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    save_teacher(folder / "teacher", Transformer(config))
    return folder


def rows_of(folder, output, **changes):
    build_cache(cache_config(folder, output=output, **changes))
    cache = KnowledgeCache.open(output)
    return cache, arrays_of(cache.lookup(cache.keys).rows)


@pytest.mark.parametrize("kind", ["topk", "sampled", "hidden"])
def test_both_codes_give_the_same_cache(folder, tmp_path, kind):
    own, first = rows_of(folder, tmp_path / "own", kind=kind, teacher_kind="axk1")
    other, second = rows_of(folder, tmp_path / "other", kind=kind, teacher_kind="transformers")
    assert np.array_equal(own.keys, other.keys) and own.teacher_hash == other.teacher_hash
    if kind == "hidden":
        assert torch.equal(own.output_matrix(), other.output_matrix())
        states = [torch.from_numpy(part["states_NH"]).view(torch.bfloat16).float() for part in (first, second)]
        torch.testing.assert_close(*states, atol=1e-4, rtol=2**-7)
        return
    for name in first:
        if first[name].dtype == np.int64:
            assert (first[name] == second[name]).mean() > 0.995, name
        else:
            np.testing.assert_allclose(first[name], second[name], atol=0.04)


def save_gpt2(folder):
    config = transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    model.transformer.wte.weight.data.mul_(20)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def test_an_architecture_that_only_transformers_knows(folder, tmp_path):
    model = save_gpt2(tmp_path / "gpt2")
    cache, found = rows_of(folder, tmp_path / "cache", teacher=tmp_path / "gpt2", kind="topk")
    shards = Shards.open(folder / "shards")
    for i in np.flatnonzero(shards.lengths >= 2):
        rows = cache.lookup(shards.keys[i : i + 1]).rows
        with torch.no_grad():
            logits = model(torch.from_numpy(shards.sample(i).astype(np.int64)).unsqueeze(0)).logits[0, :-1].double()
        log_probs = torch.log_softmax(logits, -1)
        np.testing.assert_allclose(rows.log_probs_RK, log_probs.topk(6, 1).values.numpy(), atol=0.02)
    assert len(found["ids_NK"]) == cache.rows
    with pytest.raises(CheckpointError, match="not supported"):
        build_cache(cache_config(folder, teacher=tmp_path / "gpt2", output=tmp_path / "no", teacher_kind="axk1"))


def test_logits_that_are_capped_come_whole(folder, tmp_path):
    """Gemma 2 bends its logits: states times matrix are not they, so the logits themselves are taken."""
    config = transformers.Gemma2Config(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, intermediate_size=48, max_position_embeddings=64, final_logit_softcapping=3.0, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Gemma2ForCausalLM(config).eval()
    model.model.embed_tokens.weight.data.mul_(40)
    model.save_pretrained(tmp_path / "gemma")
    write_tokenizer(tmp_path / "gemma")
    cache, _ = rows_of(folder, tmp_path / "cache", teacher=tmp_path / "gemma", kind="topk", batch_tokens=40)
    shards = Shards.open(folder / "shards")
    i = int(np.flatnonzero(shards.lengths >= 9)[0])
    with torch.no_grad():
        logits = model(torch.from_numpy(shards.sample(i).astype(np.int64)).unsqueeze(0)).logits[0, :-1].double()
    rows = cache.lookup(shards.keys[i : i + 1]).rows
    expected = torch.log_softmax(logits, -1).gather(1, torch.from_numpy(rows.ids_RK))
    np.testing.assert_allclose(rows.log_probs_RK, expected.numpy(), atol=0.02)
    with pytest.raises(ArtifactError, match="not its last states times"):
        rows_of(folder, tmp_path / "hidden", teacher=tmp_path / "gemma", kind="hidden")


def test_a_folder_that_transformers_cannot_open_is_named(folder, tmp_path):
    write_tokenizer(tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text(json.dumps({"architectures": ["Odd"], "model_type": "odd"}))
    with pytest.raises(CheckpointError, match="odd"):
        rows_of(folder, tmp_path / "cache", teacher=tmp_path / "odd")
