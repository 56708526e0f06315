"""The names that we write are the names that vLLM's loader of A.X K1 asks for, derived here from the geometry alone."""

from pathlib import Path

import pytest
from safetensors import safe_open

from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer

GEOMETRY = {
    "architectures": ["AXK1ForCausalLM"],
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 8,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4,
    "v_head_dim": 4,
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 2,
    "n_group": 1,
    "topk_group": 1,
}


def names_that_vllm_asks_for(layers: int, dense: int, experts: int, *, bias: bool) -> set[str]:
    names = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    attention = ("q_a_proj", "q_a_layernorm", "q_b_proj", "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj", "o_proj")
    for layer in range(layers):
        block = f"model.layers.{layer}."
        # vLLM builds post_mlp_layernorm in every layer, and refuses a checkpoint that leaves one unset.
        norms = ("input_layernorm", "post_attention_layernorm", "post_mlp_layernorm")
        names |= {f"{block}{norm}.weight" for norm in norms}
        names |= {f"{block}self_attn.{part}.weight" for part in attention}
        owners = [f"{block}mlp"]
        if layer >= dense:
            owners = [f"{block}mlp.shared_experts", *(f"{block}mlp.experts.{e}" for e in range(experts))]
            names.add(f"{block}mlp.gate.weight")
            names |= {f"{block}mlp.gate.e_score_correction_bias"} if bias else set()
        names |= {f"{owner}.{part}_proj.weight" for owner in owners for part in ("gate", "up", "down")}
    return names


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dense", [0, 1, 2, 4])
def test_written_names_are_those_that_vllm_asks_for(tmp_path: Path, tied: bool, dense: int):
    values = GEOMETRY | {"tie_word_embeddings": tied, "first_k_dense_replace": dense}
    save_model(Transformer(ModelConfig.from_hf(values)), tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        written = set(file.keys())
        ones = [file.get_tensor(f"model.layers.{layer}.post_mlp_layernorm.weight") for layer in range(dense)]
    assert written == names_that_vllm_asks_for(4, dense, 6, bias=True)
    assert all((norm == 1).all() for norm in ones)


def test_config_has_the_keys_that_vllm_reads():
    values = ModelConfig.from_hf(dict(GEOMETRY)).to_hf()
    assert values["model_type"] == "axk1"
    assert values["first_k_dense_replace"] == 2
    assert values["moe_layer_freq"] == 1
    assert values["scoring_func"] == "sigmoid"
    assert values["topk_method"] == "noaux_tc"  # without it vLLM builds no correction bias and groups by maximum
    assert values["num_nextn_predict_layers"] == 0
    assert values["rope_parameters"]["rope_type"] == "default"
    assert {"n_group", "topk_group", "norm_topk_prob", "routed_scaling_factor", "hidden_act", "q_lora_rank"} <= set(
        values
    )
