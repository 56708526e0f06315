"""``ModelConfig``: whatever a config.json holds, there is a network or one clear error."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.core.errors import CheckpointError, ConfigError
from axk1.model.config import ARCHITECTURES, ModelConfig
from axk1.model.inspect import inspect_model
from axk1.model.transformer import Transformer

VALID = {
    "architectures": ["AXK1ForCausalLM"],
    "model_type": "axk1",
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4,
    "v_head_dim": 4,
    "n_routed_experts": 6,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_layer_types": ["dense", "sparse", "sparse"],
    "rope_parameters": {"rope_type": "yarn", "rope_theta": 100.0, "factor": 2.0, "mscale": 1.0},
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "eos_token_id": [1, 2],
    "bos_token_id": 1,
}
KEYS = [*VALID, "topk_method", "rope_scaling", "group_rule"]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.floats(-2, 20, allow_nan=False),
    st.sampled_from(["", "dense", "yarn", "max", "gelu"]),
    st.lists(st.sampled_from(["dense", "sparse", 1, None]), max_size=3),
    st.dictionaries(st.sampled_from(["rope_type", "rope_theta", "factor"]), st.sampled_from([None, 2, "linear", []])),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    changes=st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=2),
    dropped=st.sets(st.sampled_from(list(VALID)), max_size=1),
)
def test_a_config_is_a_network_or_a_checkpoint_error(architecture, changes, dropped):
    values = {k: v for k, v in (VALID | {"architectures": [architecture]} | changes).items() if k not in dropped}
    try:
        config = ModelConfig.from_hf(json.loads(json.dumps(values)))
    except CheckpointError as error:
        assert len(error.message) > 10
        return
    with torch.device("meta"):
        model = Transformer(config)
    assert inspect_model(config).total == sum(p.numel() for p in model.parameters())
    assert ModelConfig.from_hf(json.loads(json.dumps(config.to_hf()))).to_hf() == config.to_hf()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["MambaForCausalLM"]}, ["architectures", "MambaForCausalLM", "LlamaForCausalLM"]),
        ({"hidden_act": "gelu"}, ["hidden_act", "gelu", "silu"]),
        ({"n_group": 4}, ["n_group", "4", "divisor", "6"]),
        ({"num_experts_per_tok": 5}, ["num_experts_per_tok", "5", "1 to 3"]),
        ({"hidden_size": "wide"}, ["hidden_size", "wide", "whole number"]),
        ({"rope_scaling": {"type": "dynamic"}}, ["rope_type", "dynamic", "yarn"]),
        ({"rope_parameters": {"rope_type": "linear"}}, ["rope_parameters.factor", "None", "positive"]),
        ({"mlp_layer_types": ["dense", "sparse", "dense"]}, ["mlp_layer_types", "dense"]),
        ({"use_sliding_window": True}, ["sliding", "full attention"]),
        ({"scoring_func": "softmax"}, ["scoring_func", "sigmoid"]),
    ],
)
def test_errors_name_the_field_the_value_and_what_is_allowed(change, words):
    with pytest.raises(CheckpointError) as caught:
        ModelConfig.from_hf(VALID | change)
    for word in words:
        assert word in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "q_lora_rank", "n_routed_experts", "n_group"])
def test_a_size_that_is_left_out_is_named_and_not_guessed(name):
    with pytest.raises(CheckpointError, match=name):
        ModelConfig.from_hf({k: v for k, v in VALID.items() if k != name})


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\x00"])
def test_a_file_that_is_no_json_object_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        ModelConfig.load(tmp_path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        ModelConfig.load(tmp_path / "nowhere")


def test_a_config_made_in_code_is_checked_too():
    with pytest.raises(ConfigError, match="num_key_value_heads"):
        ModelConfig(architecture="LlamaForCausalLM", num_attention_heads=4, num_key_value_heads=3)
