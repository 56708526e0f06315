"""A tiny random model of latent attention, and its tokenizer, as fixtures."""

import pytest
import torch

from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.tokenizer.training import learn

SIZES = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LATENT = {"q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "intermediate_size": 48}
CONTEXT = 512


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    lines = [f"제{i}조 예산은 {i * 7}일에 놓인다. The committee met on day {i * 3}.\n" for i in range(50)]
    return learn(iter(lines), vocab_size=SIZES["vocab_size"], reserved_tokens=7)


@pytest.fixture(scope="session")
def network() -> Transformer:
    torch.manual_seed(0)
    config = ModelConfig(max_position_embeddings=CONTEXT, **SIZES, **LATENT, **EXPERTS)
    network = Transformer(config)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.15)
    return network.double().eval()
