import dataclasses

import pytest
import torch

from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.train.config import OptimizerConfig
from axk1.train.muon import Muon
from axk1.train.optimizers import build_optimizers, set_learning_rate
from axk1.train.parallel.processes import Processes
from axk1.train.parallel.tensors import clip_gradients

SPARSE = ModelConfig(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    q_lora_rank=8,
    kv_lora_rank=8,
    qk_nope_head_dim=4,
    qk_rope_head_dim=4,
    v_head_dim=4,
    n_routed_experts=4,
    num_experts_per_tok=2,
    moe_intermediate_size=8,
    max_position_embeddings=32,
    num_nextn_predict_layers=1,
)
DENSE = dataclasses.replace(SPARSE, architecture="Qwen3ForCausalLM", n_routed_experts=0, num_nextn_predict_layers=0)


def settings_by_name(model: Transformer, optimizers: list[torch.optim.Optimizer]) -> dict[str, tuple[str, float]]:
    """For each parameter the name of its optimizer and its weight decay."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[str, tuple[str, float]] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                assert names[parameter] not in found
                found[names[parameter]] = (type(optimizer).__name__, group["weight_decay"])
    assert set(found) == set(names.values())
    return found


def test_muon_gets_the_hidden_matrices_and_adamw_the_rest():
    model = Transformer(SPARSE)
    found = settings_by_name(model, build_optimizers(model, OptimizerConfig(name="muon", weight_decay=0.2)))
    for name, (optimizer, decay) in found.items():
        hidden = any(part in name for part in ("_proj", "_with_mqa")) and "norm" not in name
        assert optimizer == ("Muon" if hidden else "AdamW"), name
        decays = hidden or name.endswith(("lm_head.weight", "mlp.gate.weight"))
        assert decay == (0.2 if decays else 0.0), name


def test_adamw_gets_everything_and_a_tied_head_does_not_decay():
    model = Transformer(dataclasses.replace(DENSE, tie_word_embeddings=True))
    found = settings_by_name(model, build_optimizers(model, OptimizerConfig(weight_decay=0.2)))
    assert found["embed_tokens.weight"] == ("AdamW", 0.0)
    assert found["layers.0.self_attn.q_norm.weight"] == ("AdamW", 0.0)
    assert found["layers.0.mlp.down_proj.weight"] == ("AdamW", 0.2)
    assert {optimizer for optimizer, _ in found.values()} == {"AdamW"}


def test_gate_and_up_of_an_expert_are_two_matrices():
    model = Transformer(SPARSE)
    muon = build_optimizers(model, OptimizerConfig(name="muon"))[1]
    assert isinstance(muon, Muon)
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in muon.param_groups:
        for parameter in group["params"]:
            assert group["matrices_per_slice"] == (2 if names[parameter].endswith("gate_up_proj") else 1)


def test_each_group_follows_its_own_peak():
    model = Transformer(SPARSE)
    optimizers = build_optimizers(model, OptimizerConfig(name="muon", lr=0.4, muon_lr=0.1))
    set_learning_rate(optimizers, 0.5)
    assert {group["lr"] for group in optimizers[0].param_groups} == {0.2}
    assert {group["lr"] for group in optimizers[1].param_groups} == {0.05}


@pytest.mark.parametrize("max_norm", [0.5, 1000.0])
def test_clipping_equals_that_of_torch(max_norm):
    shapes = [(3, 4), (5,), (2, 3, 4)]
    ours, theirs = ([torch.nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in range(2))
    for one, other in zip(ours, theirs, strict=True):
        one.grad = torch.randn(one.shape, generator=torch.Generator().manual_seed(one.numel()))
        other.grad = one.grad.clone()
    norm = clip_gradients(ours, max_norm, Processes())
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
