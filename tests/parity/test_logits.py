"""Our network against transformers' own: the same weights give the same logits and the same gradients."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import FAMILIES, FEW, configs, oracle, ours, ropes, tokens

from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.model.rope import attention_scale, rope_frequencies


def both(values, seed):
    model = oracle(values, seed)
    with tempfile.TemporaryDirectory() as folder:
        return model, ours(model, Path(folder))


@pytest.mark.parametrize("family", FAMILIES)
@settings(FEW, max_examples=25)
@given(data=st.data(), seed=st.integers(0, 999))
def test_logits_equal_those_of_transformers(family, data, seed):
    reference, model = both(data.draw(configs(family)), seed)
    ids = tokens(seed)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), reference(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@settings(FEW, max_examples=5)
@given(data=st.data(), seed=st.integers(0, 999))
def test_gradients_equal_those_of_transformers(family, data, seed):
    reference, model = both(data.draw(configs(family)), seed)
    ids = tokens(seed)
    reference(ids).logits.logsumexp(-1).sum().backward()
    model(ids).logsumexp(-1).sum().backward()
    theirs = dict(reference.named_parameters())
    prefixes = {name: name if name.startswith("lm_head") else f"model.{name}" for name, _ in model.named_parameters()}
    assert {prefixes[n] for n, _ in model.named_parameters()} == set(theirs)
    for name, parameter in model.named_parameters():
        expected = theirs[prefixes[name]].grad
        got = parameter.grad
        if expected is None:  # an expert that no token chose
            expected = torch.zeros_like(parameter)
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(got, expected, atol=1e-4 * scale, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("family", FAMILIES)
@settings(FEW, max_examples=5)
@given(data=st.data(), shift=st.integers(1, 200))
def test_positions_are_honoured(family, data, shift):
    reference, model = both(data.draw(configs(family)), shift)
    ids = tokens(shift)
    steps = torch.tensor([[1, 2, 1, 3, 1, 1, 1, 5, 1, 1, 1], [1] * 11])
    positions = shift + steps.cumsum(1)
    with torch.no_grad():
        expected = reference(ids, position_ids=positions).logits
        torch.testing.assert_close(model(ids, positions), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@settings(FEW, max_examples=4)
@given(data=st.data(), cut=st.integers(1, 10))
def test_packed_documents_do_not_see_each_other(family, data, cut):
    reference, model = both(data.draw(configs(family)), cut)
    ids = tokens(cut, batch=1)
    lengths = torch.tensor([cut, 11 - cut])
    segments = torch.repeat_interleave(torch.tensor([1, 2]), lengths)[None]
    positions = torch.cat([torch.arange(n) for n in lengths.tolist()])[None]
    with torch.no_grad():
        alone = torch.cat([reference(part).logits for part in ids.split(lengths.tolist(), dim=1)], dim=1)
        torch.testing.assert_close(model(ids, positions, segments), alone, atol=1e-4, rtol=0)


@settings(FEW, max_examples=25)
@given(rope=ropes(("yarn",)), data=st.data(), seed=st.integers(0, 999))
def test_yarn_far_beyond_the_original_context(rope, data, seed):
    family = data.draw(st.sampled_from(FAMILIES))
    reference, model = both(data.draw(configs(family)) | {"rope_parameters": rope}, seed)
    ids = tokens(seed, batch=1, length=60)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), reference(ids).logits, atol=1e-4, rtol=0)


def test_yarn_of_the_released_model_leaves_the_scale_and_stretches_cos_and_sin():
    config = ModelConfig.load(Path(__file__).parents[2] / "recipes/axk1-519b/config.json")
    _, factor = rope_frequencies(config.rope_parameters, config.rotary_dim, config.max_position_embeddings)
    assert factor == pytest.approx(1.13863, abs=1e-5)
    assert attention_scale(config.rope_parameters, 192) == 192**-0.5


@settings(FEW, max_examples=6)
@given(data=st.data(), seed=st.integers(0, 999))
def test_bfloat16_stays_as_near_to_float32_as_transformers_does(data, seed):
    # Without experts, since a token may change experts in 16 bits.
    values = data.draw(configs("AXK1ForCausalLM")) | {"first_k_dense_replace": 9}
    reference, ids = oracle(values, seed), tokens(seed)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        reference.save_pretrained(folder)
        model = load_model(folder, dtype=torch.bfloat16)
        cast = load_model(folder).to(torch.bfloat16)  # must not round the rotary frequencies
        assert torch.equal(cast(ids), model(ids))
        in_16_bits = type(reference).from_pretrained(folder, dtype=torch.bfloat16)
        exact = reference(ids).logits
        theirs = (in_16_bits(ids).logits.float() - exact).square().mean().sqrt()
        mine = (model(ids).float() - exact).square().mean().sqrt()
    assert model(ids).dtype == torch.bfloat16
    assert mine <= 1.5 * theirs
