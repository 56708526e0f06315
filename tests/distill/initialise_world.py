"""Small teachers of every architecture, and calibration text, for the tests of starting weights."""

import dataclasses

import numpy as np
import torch
from distill_world import VOCABULARY, random_samples

from axk1.distill.initialise.text import Sample
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer

MIXTURE = ModelConfig(
    vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
    max_position_embeddings=64, q_lora_rank=12, kv_lora_rank=10, qk_nope_head_dim=4, qk_rope_head_dim=4, v_head_dim=6,
    n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=8, first_k_dense_replace=1, initializer_range=0.3,
)  # fmt: skip
QWEN3 = ModelConfig(
    architecture="Qwen3ForCausalLM", vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8, intermediate_size=40, max_position_embeddings=64,
    initializer_range=0.3,
)  # fmt: skip
LLAMA = dataclasses.replace(
    QWEN3, architecture="LlamaForCausalLM", head_dim=None, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
)
QWEN2 = dataclasses.replace(QWEN3, architecture="Qwen2ForCausalLM", head_dim=None)
TEACHERS = {"mixture": MIXTURE, "qwen3": QWEN3, "llama": LLAMA, "qwen2": QWEN2}


def teacher_of(config, seed=0):
    """A network with random weights, norms and biases included."""
    torch.manual_seed(seed)
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.copy_(0.5 + torch.rand(parameter.shape))
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(std=0.1)
    return model


def text(n=30, seed=1):
    """Calibration samples."""
    return [Sample(ids.astype(np.int64), np.ones(len(ids), bool)) for ids in random_samples(n, seed)]


def logits(model):
    """Of a few tokens, in evaluation."""
    with torch.no_grad():
        return model(torch.arange(20).view(2, 10) * 7 % VOCABULARY)
