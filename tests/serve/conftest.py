"""A tiny random model of latent attention behind a real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from postgres import Postgres, PostgresUnavailable
from running_server import Running, start

from axk1.model.checkpoint import save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.serve.database import open_database
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


@pytest.fixture(scope="session")
def server(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    yield from start(network, tokenizer)


@pytest.fixture
def narrow(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    """A server that writes one text and lets one wait."""
    yield from start(network, tokenizer, max_num_seqs=1, max_waiting=1)


@pytest.fixture
def checkpoint(network: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    save_model(network, folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        server = Postgres()
    except PostgresUnavailable as error:
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/axk1.db"
    return request.getfixturevalue("postgres").new_database()


@pytest.fixture
def database(database_url):
    opened = open_database(database_url)
    yield opened
    opened.dispose()
