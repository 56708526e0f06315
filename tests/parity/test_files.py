"""Hugging Face folders: what transformers writes we read, what we write transformers reads, bit for bit."""

import json
import tempfile
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import FAMILIES, FEW, configs, oracle, ours, randomise, tokens
from safetensors.torch import load_file, save_file
from transformers.modeling_layers import MtpLayer
from transformers.models.axk1.modeling_axk1 import AXK1DecoderLayer, AXK1RMSNorm
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention

from axk1.model.checkpoint import load_model, save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder's safetensors files."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


def assert_same_bits(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert set(left) == set(right)
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        assert torch.equal(bits(tensor), bits(right[name])), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
@FEW
@given(data=st.data(), seed=st.integers(0, 999))
def test_transformers_opens_what_we_save_and_files_keep_every_bit(family, dtype, data, seed):
    values = data.draw(configs(family))
    with tempfile.TemporaryDirectory() as name:
        theirs, mine, again = Path(name, "theirs"), Path(name, "mine"), Path(name, "again")
        reference = oracle(values, seed).to(dtype)
        reference.save_pretrained(theirs)
        for folder, source in ((mine, theirs), (again, mine)):
            folder.mkdir()
            save_model(load_model(source), folder)
        opened, report = type(reference).from_pretrained(mine, output_loading_info=True, dtype=dtype)
        assert not any(report.values()), report
        before, after = reference.state_dict(), opened.state_dict()
        correction = {n for n in before if n.endswith("e_score_correction_bias")}
        for n in correction:  # kept in float32 by transformers and by us, whatever the other weights are
            assert torch.equal(before.pop(n).float(), after.pop(n).float()), n
        assert_same_bits(before, after)
        written = stored(mine)
        assert_same_bits(written, stored(again))
        unasked = {n for n in set(written) - set(stored(theirs)) if not n.endswith("post_mlp_layernorm.weight")}
        assert unasked <= {"lm_head.weight"}  # A.X K1 stores a tied output matrix, for vLLM
        assert json.loads((mine / "config.json").read_text()) == json.loads((again / "config.json").read_text())


@pytest.mark.parametrize("family", FAMILIES)
@settings(FEW, max_examples=3)
@given(data=st.data(), seed=st.integers(0, 999))
def test_sharded_folders_in_both_directions(family, data, seed):
    reference = oracle(data.draw(configs(family)), seed)
    ids = tokens(seed)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        theirs, mine = Path(name, "theirs"), Path(name, "mine")
        reference.save_pretrained(theirs, max_shard_size="4KB")
        assert len(list(theirs.glob("*.safetensors"))) > 1
        model = load_model(theirs)
        torch.testing.assert_close(model(ids), reference(ids).logits, atol=1e-4, rtol=0)
        mine.mkdir()
        save_model(model, mine, shard_bytes=4000)
        assert len(list(mine.glob("*.safetensors"))) > 1
        index = json.loads((mine / "model.safetensors.index.json").read_text())
        assert set(index["weight_map"]) == set(stored(mine))
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in stored(mine).values())
        opened, report = type(reference).from_pretrained(mine, output_loading_info=True)
        assert not any(report.values()), report
        torch.testing.assert_close(opened(ids).logits, reference(ids).logits, atol=1e-4, rtol=0)


@FEW
@given(values=configs("AXK1ForCausalLM"), seed=st.integers(0, 999))
def test_multi_token_prediction_is_kept_and_leaves_the_rest_alone(values, seed):
    layers = values["num_hidden_layers"]
    config = ModelConfig.from_hf(json.loads(json.dumps(values | {"num_nextn_predict_layers": 1})))
    model = Transformer(config)
    randomise(model, seed)
    ids = tokens(seed)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        save_model(model, folder)
        extra = {key for key in stored(folder) if key.startswith(f"model.layers.{layers}.")}
        prefix = f"model.layers.{layers}."
        assert {
            prefix + n for n in ("enorm.weight", "hnorm.weight", "eh_proj.weight", "shared_head.norm.weight")
        } < extra
        again = load_model(folder)
        assert_same_bits(model.state_dict(), again.state_dict())
        assert any(key.startswith("mtp.") for key in again.state_dict())
        reference, report = transformers.AXK1ForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"]
        assert all(key.startswith(prefix) for key in report["unexpected_keys"])
        torch.testing.assert_close(again(ids), reference.eval()(ids).logits, atol=1e-4, rtol=0)


@settings(FEW, max_examples=6)
@given(values=configs("AXK1ForCausalLM"), seed=st.integers(0, 999))
def test_multi_token_prediction_equals_that_of_transformers(values, seed):
    layers = values["num_hidden_layers"]
    model = Transformer(ModelConfig.from_hf(json.loads(json.dumps(values | {"num_nextn_predict_layers": 1}))))
    randomise(model, seed)
    ids, next_ids = tokens(seed), tokens(seed + 1)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        save_model(model, name)
        reference = transformers.AXK1ForCausalLM.from_pretrained(name).eval()
        reference.config.mlp_layer_types.append("sparse")
        module = MtpLayer(reference.config, AXK1DecoderLayer, AXK1RMSNorm, layers).eval()
        weights = stored(Path(name))
        theirs = {}
        for key in module.state_dict():
            theirs[key] = mtp_weight(weights, f"model.layers.{layers}.", key)
        module.load_state_dict(theirs)
        states = reference.model(ids).last_hidden_state
        angles = reference.model.rotary_emb(states, torch.arange(11)[None])
        mask = torch.full((11, 11), float("-inf")).triu(1)[None, None]
        expected = module(reference.model.embed_tokens(next_ids), states, angles, mask, None, None)
        got = model.predict_second(model.hidden(ids), next_ids, torch.arange(11).expand(2, 11))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def mtp_weight(weights: dict[str, torch.Tensor], prefix: str, key: str) -> torch.Tensor:
    """A weight of transformers' module, from the names in a file."""
    if key.endswith("experts.gate_up_proj"):
        experts = sum(name.startswith(f"{prefix}mlp.experts.") and "gate_proj" in name for name in weights)
        parts = [[weights[f"{prefix}mlp.experts.{e}.{p}_proj.weight"] for p in ("gate", "up")] for e in range(experts)]
        return torch.stack([torch.cat(pair) for pair in parts])
    if key.endswith("experts.down_proj"):
        experts = sum(name.startswith(f"{prefix}mlp.experts.") and "down_proj" in name for name in weights)
        return torch.stack([weights[f"{prefix}mlp.experts.{e}.down_proj.weight"] for e in range(experts)])
    name = key.replace("mtp_block.", "").replace("mlp.post_mlp", "post_mlp").replace("post_norm.", "shared_head.norm.")
    return weights[prefix + name]


@settings(FEW, max_examples=3)
@given(values=configs("AXK1ForCausalLM"), seed=st.integers(0, 999))
def test_a_release_without_the_module_that_its_config_names_is_opened(values, seed):
    reference, ids = oracle(values | {"num_nextn_predict_layers": 1}, seed), tokens(seed)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        model = ours(reference, Path(name))
        assert json.loads(Path(name, "config.json").read_text())["num_nextn_predict_layers"] == 1
        assert model.mtp is None
        torch.testing.assert_close(model(ids), reference(ids).logits, atol=1e-4, rtol=0)


@settings(FEW, max_examples=4)
@given(values=configs("AXK1ForCausalLM"), seed=st.integers(0, 999))
def test_copies_that_the_released_module_stores_are_ignored(values, seed):
    reference, ids = oracle(values, seed), tokens(seed)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        reference.save_pretrained(folder)
        tensors = load_file(folder / "model.safetensors")
        tensors = {n: t for n, t in tensors.items() if not n.endswith("e_score_correction_bias")}
        beyond = f"model.layers.{values['num_hidden_layers']}."
        tensors |= {f"{beyond}embed_tokens.weight": torch.ones(2, 2), f"{beyond}eh_proj.weight": torch.ones(3)}
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        for module in reference.modules():
            if hasattr(module, "e_score_correction_bias"):
                module.e_score_correction_bias.zero_()
        torch.testing.assert_close(load_model(folder)(ids), reference(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@FEW
@given(data=st.data())
def test_config_keys_survive_and_transformers_reads_the_same_network(family, data):
    values = data.draw(configs(family)) | {"house_colour": "green", "attention_dropout": 0.0}
    config = ModelConfig.from_hf(json.loads(json.dumps(values)))
    written = config.to_hf()
    assert written["house_colour"] == "green"
    assert ModelConfig.from_hf(json.loads(json.dumps(written))) == config
    reference = transformers.AutoConfig.for_model(**json.loads(json.dumps(values)))
    opened = transformers.AutoConfig.for_model(**json.loads(json.dumps(written)))
    same = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
    same += ("intermediate_size", "rms_norm_eps", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
    if family == "AXK1ForCausalLM":
        same += ("mlp_layer_types", "n_group", "topk_group", "n_routed_experts", "q_lora_rank", "kv_lora_rank")
        same += ("routed_scaling_factor", "norm_topk_prob", "rope_interleave", "n_shared_experts")
    for key in same:
        assert getattr(opened, key, None) == getattr(reference, key, None), key
    rope = reference.rope_parameters
    assert {k: v for k, v in opened.rope_parameters.items() if k in rope} == rope


def test_the_released_spelling_of_the_config_is_read():
    released = json.loads(Path(__file__).parents[2].joinpath("recipes/axk1-519b/config.json").read_text())
    modern = ModelConfig.from_hf(released)
    rope = released.pop("rope_parameters")
    released |= {"model_type": "AXK1", "topk_method": "none", "rope_theta": 10000}
    released["rope_scaling"] = {"type": "yarn"} | {
        k: v for k, v in rope.items() if k not in ("rope_type", "rope_theta")
    }
    config = ModelConfig.from_hf(released)
    assert config == modern
    assert not config.sparse_layer(0)
    assert config.sparse_layer(1)
    written = config.to_hf()
    assert written["model_type"] == "axk1"
    opened = transformers.AutoConfig.for_model(**written)
    assert opened.mlp_layer_types == ["dense"] + ["sparse"] * 60
    assert opened.rope_parameters["rope_type"] == "yarn"


def test_a_latent_query_may_be_uncompressed():
    values = {"architectures": ["AXK1ForCausalLM"], "model_type": "axk1", "vocab_size": 40, "hidden_size": 16}
    values |= {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 20, "n_routed_experts": 4}
    values |= {"num_key_value_heads": 2, "kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4}
    values |= {"v_head_dim": 4, "moe_intermediate_size": 8, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}
    values |= {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}, "q_lora_rank": 8}
    reference = oracle(values)
    # transformers' A.X K1 insists on a compressed query; DeepSeek-V3, from which it is made, does not.
    reference.config.__dict__["q_lora_rank"] = None
    for index, layer in enumerate(reference.model.layers):
        layer.self_attn = DeepseekV3Attention(reference.config, index)
    randomise(reference, 1)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        model = ours(reference, Path(name))
        assert "layers.0.self_attn.q_proj.weight" in model.state_dict()
        torch.testing.assert_close(model(tokens(1)), reference(tokens(1)).logits, atol=1e-4, rtol=0)
