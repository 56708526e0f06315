"""LoRA: adapters beside frozen weights, and the files of PEFT."""

import json
import os
import subprocess
import sys

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from axk1.core.errors import ConfigError, Interrupted
from axk1.model.checkpoint import load_model, save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.train.config import OptimizerConfig
from axk1.train.lora import adapters, add_adapters, merged, save_adapter
from axk1.train.optimizers import build_optimizers
from axk1.train.pretrain import pretrain

DENSE = ModelConfig(
    architecture="Qwen3ForCausalLM", vocab_size=40, hidden_size=16, num_hidden_layers=2, head_dim=8,
    num_attention_heads=2, num_key_value_heads=1, intermediate_size=24, max_position_embeddings=64,
)  # fmt: skip
TOKENS = torch.arange(12).view(1, 12)


def drawn(config, spread=0.1):
    """A model with adapters whose B is not zero."""
    model = add_adapters(Transformer(DENSE), config)
    for _, _, addition in adapters(model):
        torch.nn.init.normal_(addition.lora_B, std=spread)
    return model


def logits(model):
    with torch.no_grad():
        return model(TOKENS)


def opened_again(model, folder):
    folder.mkdir()
    save_model(model, folder)
    return load_model(folder)


def test_training_starts_at_the_model_itself_and_only_adapters_are_trained(recipe):
    model = Transformer(DENSE)
    before = logits(model)
    adapted = add_adapters(model, recipe(lora_rank=4))
    assert torch.equal(logits(adapted), before)
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 7 * 2 and all("lora_" in name for name in trained)
    for name in ("adamw", "muon"):
        groups = [g for o in build_optimizers(adapted, OptimizerConfig(name=name)) for g in o.param_groups]
        assert sum(len(group["params"]) for group in groups) == len(trained)


def test_gradients_are_those_of_the_product(recipe, tmp_path):
    model = drawn(recipe(lora_rank=3, lora_alpha=6.0)).double()
    plain = opened_again(merged(model), tmp_path / "merged")
    for one in (model, plain):
        one(TOKENS).square().sum().backward()
    weights = dict(plain.named_modules())
    for name, _, addition in adapters(model):
        gradient = weights[name.removeprefix("model.")].weight.grad
        torch.testing.assert_close(addition.lora_B.grad, 2 * gradient @ addition.lora_A.T)
        torch.testing.assert_close(addition.lora_A.grad, 2 * addition.lora_B.T @ gradient)


def test_the_merged_model_and_what_peft_opens_say_what_the_adapted_one_says(recipe, tmp_path):
    (tmp_path / "base").mkdir()
    save_model(Transformer(DENSE), tmp_path / "base")
    config = recipe(lora_rank=3, lora_alpha=6.0)
    model = add_adapters(load_model(tmp_path / "base"), config)
    for _, _, addition in adapters(model):
        torch.nn.init.normal_(addition.lora_B, std=0.1)
    expected = logits(model)
    save_adapter(model, tmp_path / "adapter", config)
    torch.testing.assert_close(logits(opened_again(merged(model), tmp_path / "merged")), expected, rtol=0, atol=1e-5)
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert (base(TOKENS).logits - expected).abs().max() > 1e-2
    opened = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    torch.testing.assert_close(opened(TOKENS).logits, expected, rtol=0, atol=1e-5)


def test_a_run_that_was_stopped_ends_with_the_same_weights_and_the_rest_stays(recipe, stop_after, tmp_path):
    lora = {"lora_rank": 2, "lora_targets": ["o_proj"], "steps": 6}
    whole = pretrain(recipe(**lora, output=str(tmp_path / "whole")))
    config = recipe(**lora, output=str(tmp_path / "stopped"))
    stop_after(2)
    with pytest.raises(Interrupted):
        pretrain(config)
    stopped = pretrain(config)
    changed = set()
    start = recipe(**lora).model
    torch.manual_seed(recipe(**lora).seed)
    weights, others = load_file(whole / "model.safetensors"), load_file(stopped / "model.safetensors")
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    (tmp_path / "start").mkdir()
    save_model(Transformer(ModelConfig.load(start)), tmp_path / "start")
    for name, value in load_file(tmp_path / "start" / "model.safetensors").items():
        if not torch.equal(value, weights[name]):
            changed.add(name.split(".")[-2])
    assert changed == {"o_proj"}
    assert json.loads((whole / "adapter" / "adapter_config.json").read_text())["target_modules"] == ["o_proj"]
    one, other = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (whole, stopped))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_layers_that_are_not_there_and_numbers_that_mean_nothing_are_refused(recipe):
    with pytest.raises(ConfigError, match="lora_targets = 'qq_proj' is not allowed; allowed: down_proj"):
        add_adapters(Transformer(DENSE), recipe(lora_rank=2, lora_targets=["qq_proj"]))
    with pytest.raises(ConfigError, match="lora_rank = 0 is not allowed"):
        recipe(lora_alpha=2.0)


def test_two_processes_learn_the_adapter_that_one_learns(recipe, recipe_file, tmp_path):
    lora = {"lora_rank": 2, "steps": 3}
    config = recipe(**lora, output=str(tmp_path / "two"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "axk1", "pretrain", str(recipe_file(config))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    whole = pretrain(recipe(**lora, output=str(tmp_path / "whole")))
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        weights = load_file(config.output / file)
        for name, value in load_file(whole / file).items():
            torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-5, msg=name)
