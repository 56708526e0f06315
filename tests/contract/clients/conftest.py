"""A checkpoint behind a real ``axk1 serve``: the one that AXK1_CHECKPOINT names; else the student of the recipes where
it has been made; else a tiny one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from serving import Serving, serve

from axk1.engine.llm import LLM
from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.tokenizer.training import learn

STUDENT = Path(__file__).resolve().parents[3] / "out/nano/student"
TINY = ModelConfig(
    vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, q_lora_rank=12, kv_lora_rank=16,
    qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=4, num_experts_per_tok=2,
    moe_intermediate_size=16, intermediate_size=48, max_position_embeddings=1024,
)  # fmt: skip


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A random checkpoint whose outputs differ from each other."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("contract") / "tiny"
    folder.mkdir()
    lines = [f"제{i}조 예산은 {i * 7}일에 놓인다. The committee met on day {i * 3}.\n" for i in range(50)]
    learn(iter(lines), vocab_size=TINY.vocab_size, reserved_tokens=7).save(folder)
    network = Transformer(TINY)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.15)
    save_model(network, folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tiny) -> Path:
    named = os.environ.get("AXK1_CHECKPOINT")
    return Path(named) if named else STUDENT if STUDENT.is_dir() else tiny


@pytest.fixture(scope="session")
def llm(checkpoint) -> LLM:
    """The same model in this process, for answers to compare with."""
    return LLM.load(checkpoint)


@pytest.fixture(scope="session")
def server(checkpoint) -> Iterator[Serving]:
    with serve(checkpoint) as running:
        yield running
