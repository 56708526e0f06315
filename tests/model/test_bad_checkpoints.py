"""Broken model folders: one sentence that names the thing, and never a half-loaded model."""

import json
import re
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from axk1 import load_model
from axk1.core.errors import CheckpointError
from axk1.model.checkpoint import WEIGHTS, WEIGHTS_INDEX, save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=16,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=2,
    num_attention_heads=1,
    q_lora_rank=4,
    kv_lora_rank=4,
    qk_nope_head_dim=2,
    qk_rope_head_dim=2,
    v_head_dim=2,
    n_routed_experts=2,
    num_experts_per_tok=1,
    moe_intermediate_size=4,
)


def saved(folder: Path, **options) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(CONFIG)
    save_model(model, folder, **options)
    return model


def refused(folder: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert "\n" not in caught.value.message
    return caught.value


def test_a_folder_without_weights(tmp_path):
    saved(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    assert WEIGHTS in refused(tmp_path).message


def test_a_missing_shard(tmp_path):
    saved(tmp_path, shard_bytes=1000)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    assert shard.name in refused(tmp_path).message


MAPS = ("3", "{}", '{"a": 3}', '{"a": "../b.safetensors"}', '{"a": ""}')


@pytest.mark.parametrize("index", ["", "{}", "[]", *(f'{{"weight_map": {each}}}' for each in MAPS)])
def test_a_corrupt_index(tmp_path, index):
    saved(tmp_path, shard_bytes=1000)
    (tmp_path / WEIGHTS_INDEX).write_text(index)
    refused(tmp_path)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file(share):
    with tempfile.TemporaryDirectory() as name:
        saved(Path(name))
        file = Path(name, WEIGHTS)
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * share)])
        error = refused(Path(name))
        assert WEIGHTS in error.message
        assert error.repair


@settings(max_examples=150, deadline=None, derandomize=True)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_header_is_an_error_or_harmless(place, bit):
    with tempfile.TemporaryDirectory() as name:
        model = saved(Path(name))
        file = Path(name, WEIGHTS)
        data = bytearray(file.read_bytes())
        (header,) = struct.unpack("<Q", data[:8])
        data[int((8 + header) * place)] ^= 1 << bit
        file.write_bytes(data)
        try:
            loaded = load_model(name)
        except CheckpointError:
            return
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, loaded.state_dict()[key]), key


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_weight_of_another_shape_is_named_with_both_shapes(data):
    with tempfile.TemporaryDirectory() as name:
        saved(Path(name))
        tensors = load_file(Path(name, WEIGHTS))
        asked = sorted(key for key in tensors if key != "model.layers.0.post_mlp_layernorm.weight")
        key = data.draw(st.sampled_from(asked))
        shape = [*tensors[key].shape[:-1], tensors[key].shape[-1] + 1]
        save_file(tensors | {key: torch.zeros(shape)}, Path(name, WEIGHTS))
        message = refused(Path(name)).message
        assert key in message
        assert str(shape) in message
        assert str(list(tensors[key].shape)) in message


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_missing_weight_is_named(data):
    with tempfile.TemporaryDirectory() as name:
        saved(Path(name))
        tensors = load_file(Path(name, WEIGHTS))
        optional = re.compile(r"correction_bias|layers\.0\.post_mlp")
        key = data.draw(st.sampled_from(sorted(key for key in tensors if not optional.search(key))))
        tensors.pop(key)
        save_file(tensors, Path(name, WEIGHTS))
        assert key in refused(Path(name)).message


def test_an_unknown_weight_is_named(tmp_path):
    saved(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    save_file(tensors | {"model.layers.0.self_attn.q_proj.lora_A": torch.ones(2)}, tmp_path / WEIGHTS)
    assert "model.layers.0.self_attn.q_proj.lora_A" in refused(tmp_path).message


def test_whole_numbers_are_no_weights(tmp_path):
    saved(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    key = "model.layers.1.mlp.gate.weight"
    save_file(tensors | {key: tensors[key].to(torch.int8)}, tmp_path / WEIGHTS)
    message = refused(tmp_path).message
    assert key in message
    assert "int8" in message


def test_a_config_of_another_size_names_the_first_weight_that_does_not_fit(tmp_path):
    saved(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 3, "mlp_layer_types": None}))
    assert "model.layers.2." in refused(tmp_path).message
    (tmp_path / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 1, "mlp_layer_types": None}))
    assert "model.layers.1." in refused(tmp_path).message
    (tmp_path / "config.json").write_text(json.dumps(values | {"vocab_size": 20}))
    message = refused(tmp_path).message
    assert "[16, 8]" in message
    assert "[20, 8]" in message
