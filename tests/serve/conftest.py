"""A tiny random model of latent attention behind a real server, in a thread of this process."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest
import torch
import uvicorn

from axk1.app import create_app
from axk1.engine.config import EngineConfig
from axk1.engine.llm import LLM
from axk1.engine.llm_engine import LLMEngine
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.serve.service import ModelService
from axk1.tokenizer.tokenizer import Tokenizer
from axk1.tokenizer.training import learn

SIZES = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LATENT = {"q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "intermediate_size": 48}
CONTEXT = 512


@dataclass
class Running:
    """A server and what it runs."""

    url: str
    service: ModelService
    llm: LLM
    """The same model for answers to compare with."""

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=100)

    @property
    def asynchronous(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=100)

    def idle(self) -> bool:
        """Whether nothing is written and all blocks are free."""
        engine = self.service.engine.engine
        return not engine.has_unfinished_requests() and engine.blocks.num_free_blocks == engine.blocks.num_blocks


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


def start(network: Transformer, tokenizer: Tokenizer, *, max_waiting: int = 256, **options) -> Iterator[Running]:
    engine = LLMEngine(network, tokenizer, EngineConfig(**options))
    service = ModelService(engine, "tiny", max_waiting=max_waiting)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield Running(url, service, LLM(network, tokenizer))
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def server(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    yield from start(network, tokenizer)


@pytest.fixture
def narrow(network: Transformer, tokenizer: Tokenizer) -> Iterator[Running]:
    """A server that writes one text and lets one wait."""
    yield from start(network, tokenizer, max_num_seqs=1, max_waiting=1)
