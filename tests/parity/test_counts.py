"""The closed formulas of ``inspect`` against networks that exist: ours and transformers'."""

import json
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import FAMILIES, FEW, configs, oracle

from axk1.model.config import ModelConfig
from axk1.model.inspect import ModelSummary, Part, inspect_model
from axk1.model.transformer import Transformer


def read(values: dict[str, Any]) -> ModelConfig:
    return ModelConfig.from_hf(json.loads(json.dumps(values)))


def part(summary: ModelSummary, name: str) -> Part:
    return next((p for p in summary.parts if p.name == name), Part(name, 0, 0))


@pytest.mark.parametrize("family", FAMILIES)
@settings(FEW, max_examples=12)
@given(data=st.data())
def test_formulas_count_what_the_networks_hold(family, data):
    values = data.draw(configs(family))
    summary = inspect_model(read(values))
    with torch.device("meta"):
        mine = Transformer(read(values))
    theirs = oracle(values)
    assert summary.total == sum(p.numel() for p in mine.parameters()) == theirs.num_parameters()
    norms = sum(p.numel() for name, p in theirs.named_parameters() if "norm" in name)
    assert part(summary, "norms").total == norms
    experts = sum(p.numel() for name, p in theirs.named_parameters() if "mlp.experts." in name)
    assert part(summary, "routed experts").total == experts
    share = values["num_experts_per_tok"] / values["n_routed_experts"] if experts else 1
    assert summary.total - summary.active == round(experts * (1 - share))


@pytest.mark.parametrize("family", FAMILIES)
@settings(FEW, max_examples=4)
@given(data=st.data())
def test_cache_and_flops_are_those_of_a_real_forward_pass(family, data):
    values = data.draw(configs(family)) | {"attention_bias": False, "mlp_bias": False}
    config = read(values)
    context = 16
    summary = inspect_model(config, context=context)
    reference = oracle(values)
    ids = torch.zeros(1, context, dtype=torch.long)
    cache = transformers.DynamicCache(config=reference.config)
    with torch.no_grad():
        reference(ids, past_key_values=cache, use_cache=True)
    cached = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert summary.cache_per_token == 2 * cached // context

    counted = 0

    def count(module, inputs, output):
        nonlocal counted
        counted += 2 * module.weight.numel() * inputs[0].numel() // inputs[0].shape[-1]

    model = Transformer(config)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(ids)
    # Experts and router are no Linear modules.
    counted += 2 * context * (part(summary, "routed experts").active + part(summary, "router").active)
    heads = config.num_attention_heads
    dims = config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim
    dims = dims if config.latent_attention else 2 * config.rotary_dim
    pairs = context * (context + 1) // 2
    counted += config.num_hidden_layers * 2 * pairs * heads * dims
    assert summary.flops_forward * context == counted
    assert summary.flops_training == 3 * summary.flops_forward
