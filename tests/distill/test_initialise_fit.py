"""Fits: least squares without holding the text, dense MLPs of mixtures, and grouped-query attention."""

import dataclasses

import pytest
import torch
from initialise_world import MIXTURE, teacher_of, text
from test_initialise_exact import student_of

from axk1.distill.initialise.grouped_query import heads_of
from axk1.distill.initialise.normal_equations import NormalEquations
from axk1.distill.initialise.statistics import observe
from axk1.model.config import ModelConfig
from axk1.model.rope import RotaryEmbedding, rotate_halves


def equations_of(x, y):
    equations = NormalEquations()
    for part in (slice(0, 30), slice(30, None)):
        equations.add(x[part], y[part])
    return equations


def test_normal_equations_are_least_squares():
    torch.manual_seed(0)
    x, y = torch.randn(80, 6, dtype=torch.float64), torch.randn(80, 4, dtype=torch.float64)
    reference = torch.linalg.lstsq(x, y).solution.T
    torch.testing.assert_close(equations_of(x, y).solve(ridge=1e-12), reference)


def test_what_the_text_does_not_say_stays_as_it_was():
    torch.manual_seed(0)
    x, y, start = torch.randn(80, 6, dtype=torch.float64), torch.randn(80, 4), torch.randn(4, 6)
    x[:, 2] = 0
    torch.testing.assert_close(equations_of(x, y).solve(start)[:, 2], start[:, 2].double())


def test_gains_are_the_best_factor_of_each_output():
    torch.manual_seed(0)
    x, weight = torch.randn(80, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    factors = torch.tensor([0.5, 2.0, -1.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(equations_of(x, x @ weight.T * factors).gains(weight), factors)


def mlp_errors(teacher, student):
    """Mean square error of the sparse layers' students on the calibration text, each on the teacher's own input."""
    errors = []
    for block, own in zip(teacher.layers[1:], student.layers[1:], strict=True):
        parts = []
        watch = lambda _, x, y, own=own, parts=parts: parts.append((own.mlp(x) - y).square().mean(1))  # noqa: E731
        observe(teacher, {block.mlp: watch}, text(), 100)
        errors.append(float(torch.cat(parts).mean()))
    return errors


def test_a_refitted_down_projection_is_nearer_than_a_gain_and_this_than_nothing():
    teacher = teacher_of(MIXTURE)
    fitted, gained = (mlp_errors(teacher, student_of(teacher, "moe_to_dense", fit=fit).model)
                      for fit in ("least_squares", "gain"))  # fmt: skip
    nothing = student_of(teacher, "moe_to_dense").model
    for block in nothing.layers[1:]:
        torch.nn.init.zeros_(block.mlp.down_proj.weight)
    for least, middle, most in zip(fitted, gained, mlp_errors(teacher, nothing), strict=True):
        assert least < 0.9 * middle < 0.9 * most


def test_whole_experts_are_those_of_largest_contribution():
    """Expert 3 of each layer is made ten times as loud as the others, expert 5 a tenth."""
    teacher = teacher_of(MIXTURE)
    with torch.no_grad():
        for block in teacher.layers[1:]:
            block.mlp.experts.down_proj[3] *= 10
            block.mlp.experts.down_proj[5] /= 100
    kept = student_of(teacher, "moe_to_dense", {"intermediate_size": 16}).kept["experts"]
    assert kept == {1: [3], 2: [3]}
    most = student_of(teacher, "moe_to_dense", {"intermediate_size": 48}).kept["experts"]
    assert most == {1: [0, 1, 2, 3, 4], 2: [0, 1, 2, 3, 4]}


@pytest.mark.parametrize("head_dim", [8, 16])
@pytest.mark.parametrize("interleave", [True, False])
def test_turned_dimensions_keep_their_scores(head_dim, interleave):
    """Where the query has no part without position, the student's turn gives the teacher's scores exactly."""
    config = dataclasses.replace(MIXTURE, rope_interleave=interleave)
    source = teacher_of(config).layers[0].self_attn
    with torch.no_grad():
        source.q_b_proj.weight.unflatten(0, (4, 8))[:, :4] = 0
    target = ModelConfig(
        architecture="LlamaForCausalLM", vocab_size=8, hidden_size=24, num_attention_heads=4, head_dim=head_dim
    )
    x_TH, positions = torch.randn(9, 24), torch.arange(9).unsqueeze(0)
    query, key, value = heads_of(source, x_TH, target)
    turn = RotaryEmbedding(config.rope_parameters, head_dim, 64)(positions)
    turned_query, turned_key = (rotate_halves(each.unsqueeze(0), *turn)[0] for each in (query, key))
    scores = torch.einsum("tnd,snd->nts", turned_query, turned_key)

    own = RotaryEmbedding(config.rope_parameters, 4, 64)(positions)
    latent_query = source.rotate(
        source.q_b_proj(source.q_a_layernorm(source.q_a_proj(x_TH))).view(1, 9, 4, 8), *own)[0]  # fmt: skip
    latent_key = source.rotate(source.kv_a_proj_with_mqa(x_TH)[:, 10:].view(1, 9, 1, 4), *own)[0, :, 0]
    reference = torch.einsum("tnd,sd->nts", latent_query[..., 4:], latent_key)
    torch.testing.assert_close(scores, reference, atol=1e-5, rtol=1e-5)
    latents = source.kv_a_layernorm(source.kv_a_proj_with_mqa(x_TH)[:, :10])
    values = source.kv_b_proj(latents).view(9, 4, 10)[..., 4:]
    torch.testing.assert_close(value[..., :6], values)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen3ForCausalLM"])
@pytest.mark.parametrize(("kv_heads", "share"), [(4, 0.5), (2, 0.8)])
def test_fitted_attention_is_nearer_to_the_teachers_than_none(architecture, kv_heads, share):
    """Two heads of chance that share a key and a value lose most, but not all."""
    teacher = teacher_of(dataclasses.replace(MIXTURE, initializer_range=0.15))
    size = {"num_key_value_heads": kv_heads, "head_dim": 16}
    student = student_of(teacher, "moe_to_dense", size, architecture=architecture).model
    for block, own in zip(teacher.layers, student.layers, strict=True):
        inputs, outputs = [], []
        block.self_attn.register_forward_pre_hook(lambda _, x, inputs=inputs: inputs.append(x[0]))
        block.self_attn.register_forward_hook(lambda _, x, y, outputs=outputs: outputs.append(y))
        positions = torch.arange(30).unsqueeze(0)
        with torch.no_grad():
            teacher(torch.arange(30).unsqueeze(0))
            mine = own.self_attn(inputs[0], student.rope(positions), None, None)
        error, size = (mine - outputs[0]).square().mean(), outputs[0].square().mean()
        assert error < share * size
