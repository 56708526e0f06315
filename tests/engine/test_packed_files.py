"""Quantised folders read weight by weight: each equals what the network that the folder opens as computes with."""

import dataclasses

import pytest
import torch

from axk1.core.errors import CheckpointError
from axk1.engine.kernel.packing import KINDS, unpack
from axk1.engine.quantised.applying import quantise
from axk1.engine.quantised.folder import open_model, save_quantised
from axk1.engine.quantised.modules import PackedWeight, QuantizedExperts, QuantizedLinear
from axk1.engine.quantised.packed_files import PackedFiles, open_weights
from axk1.model.checkpoint import load_model, named_views, save_model
from axk1.model.config import ModelConfig
from axk1.model.tensor_files import TensorFiles
from axk1.model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=50, hidden_size=40, intermediate_size=56, num_hidden_layers=3, num_attention_heads=2, q_lora_rank=12,
    kv_lora_rank=20, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12, n_routed_experts=4, num_experts_per_tok=2,
    moe_intermediate_size=24, num_nextn_predict_layers=1, attention_bias=True,
)  # fmt: skip
DENSE = ModelConfig(
    architecture="Qwen3ForCausalLM", vocab_size=50, hidden_size=40, intermediate_size=56, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True,
)  # fmt: skip


def quantised(folder, config, kind):
    torch.manual_seed(0)
    model = Transformer(config)
    for _, view in named_views(model):
        view.data.normal_()
    model = quantise(model, kind)
    save_quantised(model, folder)
    return model


def as_plain(model: Transformer) -> Transformer:
    """The same network with plain float32 matrices, made of what the modules compute with."""
    plain, packed = Transformer(model.config), dict(model.named_modules())
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, buffer in [*plain.named_parameters(), *plain.named_buffers()]:
            module = packed.get(name.rpartition(".")[0])
            if isinstance(module, QuantizedExperts):
                stacked = torch.cat([unpack(module.gate.packed), unpack(module.up.packed)], 1)
                buffer.copy_(stacked if "gate_up" in name else unpack(module.down.packed))
            elif hasattr(module, "packed") and name.endswith("weight"):
                assert isinstance(module.packed, PackedWeight)
                buffer.copy_(module.weight)
            else:
                buffer.copy_(state[name])
    return plain


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, tie_word_embeddings=True), DENSE])
def test_every_weight_is_what_the_opened_network_has(tmp_path, config, kind):
    quantised(tmp_path, config, kind)
    opened = open_model(tmp_path)
    assert isinstance(opened.layers[0].self_attn.o_proj, QuantizedLinear)
    expected = dict(named_views(as_plain(opened)))
    files = open_weights(tmp_path)
    assert isinstance(files, PackedFiles)
    assert set(files.weights) == set(expected)
    for name, view in expected.items():
        weight = files.read_as(name, torch.float32)
        assert files.weights[name].shape == tuple(weight.shape) == tuple(view.shape), name
        assert torch.equal(weight, view), name
        assert torch.equal(files.read_as(name, torch.bfloat16), view.bfloat16()), name


def test_an_expert_is_read_alone(tmp_path):
    quantised(tmp_path, CONFIG, "int4")
    files = open_weights(tmp_path)
    one = files.weights["model.layers.1.mlp.experts.2.gate_proj.weight"]
    assert one.nbytes < 40 * 32 * 1.2, "more than an expert of 24 x 40, padded to 32 x 64, in 4.5 bits"


def test_a_plain_folder_opens_as_tensor_files(tmp_path):
    save_model(Transformer(CONFIG), tmp_path)
    assert isinstance(open_weights(tmp_path), TensorFiles)


def test_what_does_not_fit_is_named(tmp_path):
    quantised(tmp_path, CONFIG, "int8")
    file, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    with pytest.raises(CheckpointError, match="allowed: 'fp8'"):
        load_model(tmp_path)
    text = config.read_text()
    config.write_text(text.replace('"n_routed_experts": 4', '"n_routed_experts": 5'))
    with pytest.raises(CheckpointError, match="asks for"):
        open_weights(tmp_path)
    config.write_text(text)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        open_weights(tmp_path)
