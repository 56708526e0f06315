"""fp8 with block scales: against transformers' own code and a plain loop in float64, and whole folders."""

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_bad_checkpoints import CONFIG
from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize

from axk1.core.errors import CheckpointError
from axk1.model.block_scales import dequantise_blocks, quantise_blocks, scales_shape
from axk1.model.checkpoint import load_model, named_views, save_model
from axk1.model.config import ModelConfig
from axk1.model.tensor_files import WEIGHTS, TensorFiles
from axk1.model.transformer import Transformer

QUICK = settings(deadline=None, derandomize=True, max_examples=40)
BLOCKS = st.tuples(st.integers(1, 9), st.integers(1, 9))
SIZES = st.tuples(st.integers(1, 30), st.integers(1, 30))


def random_weight(shape, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * torch.rand(shape[0], 1, generator=generator) ** 4


def plain_loop(weight, scales, block) -> torch.Tensor:
    """Every number by itself, in float64."""
    out = torch.empty(weight.shape, dtype=torch.float64)
    for row in range(weight.shape[0]):
        for column in range(weight.shape[1]):
            scale = scales[row // block[0], column // block[1]].double()
            out[row, column] = weight[row, column].double() * scale
    return out


@QUICK
@given(shape=SIZES, block=BLOCKS, dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_each_number_is_that_of_a_plain_loop(shape, block, dtype):
    weight, scales = quantise_blocks(random_weight(shape), block)
    assert tuple(scales.shape) == scales_shape(shape, block)
    found = dequantise_blocks(weight, scales, block, dtype)
    # The product of a float8 and a float32 has 28 bits: rounded to 24, then, for bfloat16, to 8.
    assert torch.equal(found, plain_loop(weight, scales, block).float().to(dtype))


@QUICK
@given(blocks=st.tuples(st.integers(1, 4), st.integers(1, 4)), block=BLOCKS, seed=st.integers(0, 99))
def test_whole_blocks_are_as_transformers_has_them(blocks, block, seed):
    """transformers takes multiples of the block alone; both directions."""
    weight = random_weight((blocks[0] * block[0], blocks[1] * block[1]), seed)
    form = SimpleNamespace(weight_block_size=list(block), scale_fmt="float")
    quantizer = SimpleNamespace(quantization_config=form)
    theirs = Fp8Quantize(quantizer).convert({"a.weight": weight})
    numbers, scales = theirs["a.weight"], theirs["a.weight_scale_inv"]
    opened = Fp8Dequantize(quantizer).convert({"weight": numbers, "weight_scale_inv": scales})["weight"]
    assert torch.equal(dequantise_blocks(numbers, scales, block, torch.float32), opened)
    mine, my_scales = quantise_blocks(weight, block)
    torch.testing.assert_close(my_scales, scales, rtol=1e-6, atol=0)
    step = numbers.float().abs().clamp(min=2**-6) * 2**-3  # they multiply by the inverse, which may round elsewhere
    assert ((mine.float() - numbers.float()).abs() <= step).all()


@QUICK
@given(shape=SIZES, block=BLOCKS, scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_rounding_stays_within_half_a_step_of_each_block(shape, block, scale):
    weight = random_weight(shape) * scale
    numbers, scales = quantise_blocks(weight, block)
    assert torch.isfinite(numbers.float()).all()
    found = dequantise_blocks(numbers, scales, block, torch.float32)
    wide = scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[: shape[0], : shape[1]]
    assert ((found - weight).abs() <= (weight.abs() * 2**-4).maximum(wide * 2**-10) * 1.0001).all()


def test_a_block_of_zeros_stays_zero():
    numbers, scales = quantise_blocks(torch.zeros(5, 7), (2, 3))
    assert torch.equal(dequantise_blocks(numbers, scales, (2, 3), torch.bfloat16), torch.zeros(5, 7).bfloat16())


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(Transformer(CONFIG), tmp_path, fp8_block=(3, 3), shard_bytes=2000)
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folder_opens_as_its_dequantised_twin(folder, tmp_path, dtype):
    stored = {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}
    assert sum(v.dtype == torch.float8_e4m3fn for v in stored.values()) > 20
    twin = tmp_path / "twin"
    twin.mkdir()
    plain = {}
    for name, tensor in stored.items():
        if not name.endswith("_scale_inv"):
            fp8 = tensor.dtype == torch.float8_e4m3fn
            plain[name] = plain_loop(tensor, stored[name + "_scale_inv"], (3, 3)).float() if fp8 else tensor
    save_file(plain, twin / WEIGHTS)
    values = json.loads((folder / "config.json").read_text())
    values.pop("quantization_config")
    (twin / "config.json").write_text(json.dumps(values))
    left, right = load_model(folder, dtype=dtype), load_model(twin, dtype=dtype)
    assert left.config == right.config
    for (name, one), (_, other) in zip(named_views(left), named_views(right), strict=True):
        assert torch.equal(one, other), name
    ids = torch.arange(8)[None]
    assert torch.equal(left(ids), right(ids))
    again = tmp_path / "again"
    again.mkdir()
    save_model(left, again)  # plain weights, and a config that says so
    assert "quantization_config" not in json.loads((again / "config.json").read_text())
    assert torch.equal(load_model(again)(ids), left(ids))


def test_without_a_dtype_the_weights_are_those_of_the_embedding(folder, tmp_path):
    assert load_model(folder).layers[1].mlp.experts.down_proj.dtype == torch.float32
    half = tmp_path / "half"
    half.mkdir()
    save_model(Transformer(CONFIG).bfloat16(), half, fp8_block=(128, 128))
    assert load_model(half).layers[1].mlp.experts.down_proj.dtype == torch.bfloat16
    form = json.loads((half / "config.json").read_text())["quantization_config"]
    assert (form["quant_method"], form["weight_block_size"]) == ("fp8", [128, 128])


def test_what_is_wrong_with_scales_is_named():
    name = "model.layers.1.mlp.experts.1.up_proj.weight"
    for change in ("gone", "shape", "config"):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place)
            save_model(Transformer(CONFIG), path, fp8_block=(3, 3))
            tensors = load_file(path / WEIGHTS)
            if change == "gone":
                tensors.pop(name + "_scale_inv")
            elif change == "shape":
                tensors[name + "_scale_inv"] = torch.ones(2, 2)
            else:
                values = json.loads((path / "config.json").read_text())
                values.pop("quantization_config")
                (path / "config.json").write_text(json.dumps(values))
            save_file(tensors, path / WEIGHTS)
            with pytest.raises(CheckpointError, match=r"scale_inv|quantization_config"):
                TensorFiles(path)


def test_transformers_opens_our_folder_and_computes_the_same(tmp_path):
    config = ModelConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=16, n_routed_experts=4,
        num_experts_per_tok=2, moe_intermediate_size=16, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(Transformer(config), tmp_path, fp8_block=(16, 16))
    form = transformers.FineGrainedFP8Config(dequantize=True, weight_block_size=(16, 16))
    theirs, report = transformers.AXK1ForCausalLM.from_pretrained(
        tmp_path, quantization_config=form, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report.values()), report
    ids = torch.arange(20)[None]
    torch.testing.assert_close(load_model(tmp_path)(ids), theirs.eval()(ids).logits, atol=1e-4, rtol=0)
