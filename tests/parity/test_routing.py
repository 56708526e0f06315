"""The router's group rules: top2sum against transformers, max and none against plain loops written here."""

import dataclasses
import tempfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import FEW, configs, oracle, ours, randomise, tokens
from torch.nn.functional import silu

from axk1.model.config import ModelConfig
from axk1.model.moe import Router, SparseMLP
from axk1.model.transformer import Transformer

RULES = ("top2sum", "max", "none")


@st.composite
def routers(draw, rule):
    groups, per_group = draw(st.sampled_from([(1, 4), (2, 3), (4, 2), (4, 4)]))
    chosen_groups = draw(st.integers(1, groups))
    reach = groups * per_group if rule == "none" else chosen_groups * per_group
    return ModelConfig(
        hidden_size=8,
        num_hidden_layers=1,
        first_k_dense_replace=0,
        n_routed_experts=groups * per_group,
        n_shared_experts=draw(st.integers(1, 2)),
        num_experts_per_tok=draw(st.integers(1, reach)),
        moe_intermediate_size=6,
        n_group=groups,
        topk_group=chosen_groups,
        group_rule=rule,
        norm_topk_prob=draw(st.booleans()),
        routed_scaling_factor=draw(st.sampled_from([1.0, 2.5])),
    )


def naive_choice(config: ModelConfig, scores: list[float], bias: list[float]) -> dict[int, float]:
    """Expert -> weight for one token, with sorted lists instead of tensors."""
    choice = [s + b for s, b in zip(scores, bias, strict=True)]
    size = len(scores) // config.n_group
    groups = [list(range(g * size, (g + 1) * size)) for g in range(config.n_group)]

    def worth(group):
        best = sorted((choice[e] for e in group), reverse=True)
        return best[0] if config.group_rule == "max" else sum(best[:2])

    if config.group_rule != "none":
        groups = sorted(groups, key=worth, reverse=True)[: config.topk_group]
    candidates = sorted((e for group in groups for e in group), key=lambda e: choice[e], reverse=True)
    chosen = candidates[: config.num_experts_per_tok]
    total = sum(scores[e] for e in chosen) + 1e-20 if config.norm_topk_prob else 1.0
    return {e: scores[e] / total * config.routed_scaling_factor for e in chosen}


@pytest.mark.parametrize("rule", RULES)
@settings(FEW, max_examples=20)
@given(data=st.data(), seed=st.integers(0, 999))
def test_router_chooses_as_a_loop_over_sorted_lists_does(rule, data, seed):
    config = data.draw(routers(rule))
    router = Router(config)
    randomise(router, seed)
    x = torch.randn(9, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        scores, weights, experts = router(x)
    expected_scores = (x.double() @ router.weight.double().T).sigmoid()
    torch.testing.assert_close(scores.double(), expected_scores, atol=1e-6, rtol=0)
    for token in range(9):
        expected = naive_choice(config, expected_scores[token].tolist(), router.e_score_correction_bias.tolist())
        got = dict(zip(experts[token].tolist(), weights[token].tolist(), strict=True))
        assert got == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rule", RULES)
@settings(FEW, max_examples=10)
@given(data=st.data(), seed=st.integers(0, 999))
def test_sparse_layer_is_the_weighted_sum_of_its_experts(rule, data, seed):
    layer = SparseMLP(data.draw(routers(rule)))
    randomise(layer, seed)
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        out, routing = layer(x)
        _, weights, experts = layer.gate(x.flatten(0, 1))
        rows = []
        for token, row in enumerate(x.flatten(0, 1)):
            total = torch.zeros(8)
            for weight, expert in zip(weights[token], experts[token].tolist(), strict=True):
                gate, up = (layer.experts.gate_up_proj[expert] @ row).split(6)
                total += weight * (layer.experts.down_proj[expert] @ (silu(gate) * up))
            shared = layer.shared_experts
            total += shared.down_proj.weight @ (silu(shared.gate_proj.weight @ row) * (shared.up_proj.weight @ row))
            rows.append(total / (total.square().mean() + 1e-6).sqrt() * layer.post_mlp_layernorm.weight)
    torch.testing.assert_close(out.flatten(0, 1), torch.stack(rows), atol=1e-4, rtol=0)
    counts = torch.bincount(experts.flatten(), minlength=layer.gate.weight.shape[0])
    torch.testing.assert_close(routing.expert_load_E, counts / counts.sum())


@settings(FEW, max_examples=10)
@given(data=st.data(), seed=st.integers(0, 999))
def test_no_groups_is_transformers_with_one_group(data, seed):
    values = data.draw(configs("AXK1ForCausalLM")) | {"n_group": 1, "topk_group": 1}
    reference = oracle(values, seed)
    with tempfile.TemporaryDirectory() as folder:
        trained = ours(reference, folder)
    # The same weights under a config that has groups and ignores them.
    grouped = dataclasses.replace(trained.config, n_group=values["n_routed_experts"], group_rule="none")
    model = Transformer(grouped)
    model.load_state_dict(trained.state_dict())
    ids = tokens(seed)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), reference(ids).logits, atol=1e-4, rtol=0)


def test_the_three_rules_differ_where_they_should():
    # Two groups of two: the first has the best expert, the second the better sum.
    config = ModelConfig(
        hidden_size=4, n_routed_experts=4, n_group=2, topk_group=1, num_experts_per_tok=2, moe_intermediate_size=4
    )
    chosen = {}
    for rule in RULES:
        router = Router(dataclasses.replace(config, group_rule=rule))
        with torch.no_grad():
            router.weight.copy_(torch.diag(torch.tensor([3.0, -3.0, 2.0, 2.5])))
            chosen[rule] = set(router(torch.ones(1, 4))[2].flatten().tolist())
    assert chosen == {"top2sum": {2, 3}, "max": {0, 1}, "none": {0, 3}}


def test_balance_loss_is_one_when_even_and_grows_with_the_imbalance():
    config = ModelConfig(
        hidden_size=4, n_routed_experts=4, num_experts_per_tok=1, moe_intermediate_size=4, group_rule="none"
    )
    layer = SparseMLP(config)
    randomise(layer, 0)
    with torch.no_grad():
        layer.gate.weight.copy_(10 * torch.eye(4))
        layer.gate.e_score_correction_bias.zero_()
        even = layer(torch.eye(4)[None])[1]
        lopsided = layer(torch.eye(4)[:1].expand(1, 4, 4))[1]
    assert even.balance_loss.item() == pytest.approx(1.0)
    torch.testing.assert_close(even.expert_load_E, torch.full((4,), 0.25))
    assert lopsided.balance_loss > 1.3
    torch.testing.assert_close(lopsided.expert_load_E, torch.eye(4)[0])
