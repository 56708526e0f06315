"""Where nothing that matters is cut away, the student says what its teacher says."""

import dataclasses
from pathlib import Path

import pytest
import torch
from initialise_world import LLAMA, MIXTURE, QWEN3, TEACHERS, logits, teacher_of, text
from torch import nn

from axk1.distill.initialise.config import InitConfig, StudentSize
from axk1.distill.initialise.methods import start
from axk1.distill.initialise.target import student_config
from axk1.model.moe import SparseMLP
from axk1.train.config import ShardSource


def options(method, size=None, **changes):
    fields = {"teacher": Path("teacher"), "shards": (ShardSource(Path("shards")),), "output": Path("out")}
    return InitConfig(**fields, method=method, size=StudentSize(**(size or {})), batch_tokens=100, **changes)


def student_of(teacher, method, size=None, **changes):
    config = options(method, size, **changes)
    return start(teacher, student_config(teacher.config, config), text(), config)


def assert_equal(student, teacher):
    torch.testing.assert_close(logits(student.model), logits(teacher), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", ["depth", "width"])
@pytest.mark.parametrize("name", TEACHERS)
def test_a_student_of_all_sizes_is_its_teacher(name, method):
    teacher = teacher_of(TEACHERS[name])
    assert_equal(student_of(teacher, method), teacher)


@pytest.mark.parametrize("groups", [{}, {"n_group": 2, "topk_group": 1}])
def test_all_experts_are_the_teacher(groups):
    teacher = teacher_of(dataclasses.replace(MIXTURE, **groups))
    assert_equal(student_of(teacher, "fewer_experts", {"n_routed_experts": 6}), teacher)


def test_experts_that_are_never_chosen_go_without_a_trace():
    teacher = teacher_of(MIXTURE)
    for block in teacher.layers[1:]:
        block.mlp.gate.e_score_correction_bias[[1, 4]] = -10.0
    student = student_of(teacher, "fewer_experts", {"n_routed_experts": 4})
    assert student.kept["experts"] == {1: [0, 2, 3, 5], 2: [0, 2, 3, 5]}
    assert_equal(student, teacher)


def test_of_every_group_as_many_experts_stay():
    teacher = teacher_of(dataclasses.replace(MIXTURE, n_group=2, topk_group=1, num_experts_per_tok=1))
    for experts in student_of(teacher, "fewer_experts", {"n_routed_experts": 4}).kept["experts"].values():
        assert len(experts) == 4 and sum(expert < 3 for expert in experts) == 2


@pytest.mark.parametrize(("name", "idle"), [("mixture", 1), ("qwen3", 1)])
def test_a_layer_that_does_nothing_is_the_one_that_goes(name, idle):
    teacher = teacher_of(TEACHERS[name])
    block = teacher.layers[idle]
    with torch.no_grad():
        block.self_attn.o_proj.weight.zero_()
        (block.mlp.post_mlp_layernorm if name == "mixture" else block.mlp.down_proj).weight.zero_()
    student = student_of(teacher, "depth", {"num_hidden_layers": 2})
    assert student.kept["layers"] == [0, 2] and abs(student.kept["influence"][idle]) < 1e-9
    assert_equal(student, teacher)


def test_layers_are_ranked_by_the_cosine_of_what_goes_in_and_out():
    teacher = teacher_of(QWEN3)
    before, after, sums = {}, {}, torch.zeros(3)
    for n, block in enumerate(teacher.layers):
        block.register_forward_pre_hook(lambda _, x, n=n: before.update({n: x[0]}))
        block.register_forward_hook(lambda _, x, y, n=n: after.update({n: y[0]}))
    samples, tokens = text(), 0
    for sample in samples:
        with torch.no_grad():
            teacher(torch.from_numpy(sample.ids_T).unsqueeze(0))
        for n in range(3):
            sums[n] += (1 - torch.cosine_similarity(before[n], after[n], dim=-1)).sum()
        tokens += len(sample.ids_T)
    influence = student_of(teacher, "depth", {"num_hidden_layers": 1}).kept["influence"]
    torch.testing.assert_close(torch.tensor(influence), sums / tokens, atol=1e-5, rtol=1e-5)


def silence(teacher, hidden):
    """Makes channels, neurons and heads add nothing: what ``hidden`` names of the residual stream is always zero."""
    with torch.no_grad():
        teacher.embed_tokens.weight[:, hidden] = 0
        for block in teacher.layers:
            block.self_attn.o_proj.weight[hidden] = 0
            size = block.self_attn.o_proj.weight.shape[1] // 4
            heads = [1] if teacher.config.latent_attention else [0, 1]  # of grouped attention a whole group
            for head in heads:
                block.self_attn.o_proj.weight[:, head * size : (head + 1) * size] = 0
            if block.self_attn.o_proj.bias is not None:
                block.self_attn.o_proj.bias[hidden] = 0
            if isinstance(block.mlp, SparseMLP):
                block.mlp.post_mlp_layernorm.weight[hidden] = 0
                block.mlp.experts.down_proj[:, :, ::2] = 0
                block.mlp.shared_experts.down_proj.weight[:, ::2] = 0
            else:
                block.mlp.down_proj.weight[hidden] = 0
                block.mlp.down_proj.weight[:, ::2] = 0
                if block.mlp.down_proj.bias is not None:
                    block.mlp.down_proj.bias[hidden] = 0


@pytest.mark.parametrize("name", TEACHERS)
def test_what_adds_nothing_can_be_cut_away(name):
    """Channels that are always zero, too: the norms' weights make up for the smaller width."""
    config = dataclasses.replace(TEACHERS[name], tie_word_embeddings=False, rms_norm_eps=1e-12)
    teacher = teacher_of(config)
    silence(teacher, [2, 3, 11, 20])
    size = {"hidden_size": 20, "intermediate_size": 20, "num_attention_heads": 3}
    if config.latent_attention:
        size |= {"moe_intermediate_size": 4}
        # The norm behind the experts counts its channels before its weight makes them zero.
        for block in teacher.layers[1:]:
            with torch.no_grad():
                block.mlp.experts.down_proj[:, [2, 3, 11, 20]] = 0
                block.mlp.shared_experts.down_proj.weight[[2, 3, 11, 20]] = 0
    else:
        size |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    assert_equal(student_of(teacher, "width", size), teacher)


def test_ranks_that_are_always_zero_can_be_cut_away():
    teacher = teacher_of(MIXTURE)
    with torch.no_grad():
        for block in teacher.layers:
            block.self_attn.q_a_proj.weight[[0, 7]] = 0
            block.self_attn.kv_a_proj_with_mqa.weight[[3]] = 0
    student = student_of(teacher, "width", {"q_lora_rank": 10, "kv_lora_rank": 9})
    torch.testing.assert_close(logits(student.model), logits(teacher), atol=1e-4, rtol=1e-4)  # the norms' epsilon


@pytest.mark.parametrize("fit", ["gain", "least_squares"])
@pytest.mark.parametrize("choose_by", ["experts", "neurons"])
def test_experts_that_all_tokens_meet_are_a_dense_mlp(fit, choose_by):
    """One expert, always routed with the same weight, and no norm behind it: nothing has to be approximated."""
    config = dataclasses.replace(MIXTURE, n_routed_experts=1, num_experts_per_tok=1, group_rule="none")
    teacher = teacher_of(config)
    for block in teacher.layers[1:]:
        block.mlp.post_mlp_layernorm = nn.Identity()
    size = {"intermediate_size": 40}  # 16 are needed, so most of them are new and add nothing
    student = student_of(teacher, "moe_to_dense", size, fit=fit, choose_by=choose_by)
    assert student.kept["experts"] == {1: [0], 2: [0]}
    assert_equal(student, teacher)


def test_the_same_seed_gives_the_same_weights():
    teacher = teacher_of(LLAMA)
    first, again = (student_of(teacher, "random", {"num_hidden_layers": 2}, seed=3).model for _ in range(2))
    other = student_of(teacher, "random", {"num_hidden_layers": 2}, seed=4).model
    assert torch.equal(logits(first), logits(again)) and not torch.equal(logits(first), logits(other))
