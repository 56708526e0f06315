"""A model behind a real server, in a thread of this process."""

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import openai
import uvicorn
from starlette.types import ASGIApp

from axk1.agents.host import Equipment
from axk1.app import create_app
from axk1.engine.config import EngineConfig
from axk1.engine.llm import LLM
from axk1.engine.llm_engine import LLMEngine
from axk1.model.transformer import Transformer
from axk1.serve.database import open_database
from axk1.serve.engine_service import EngineService
from axk1.serve.service import ModelService
from axk1.tokenizer.tokenizer import Tokenizer


@dataclass
class Running:
    """A server and what it runs."""

    url: str
    service: EngineService
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


def start(
    network: Transformer,
    tokenizer: Tokenizer,
    *,
    max_waiting: int = 256,
    database: str | None = None,
    with_tenants: bool = False,
    gate: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    **options,
) -> Iterator[Running]:
    """A server, for as long as the iterator is open. Args: gate: puts something in front of the application."""
    engine = LLMEngine(network, tokenizer, EngineConfig(**options))
    service = EngineService(engine, "tiny", max_waiting=max_waiting)
    with listening(service, database=database, with_tenants=with_tenants, gate=gate) as url:
        yield Running(url, service, LLM(network, tokenizer))


@contextmanager
def listening(
    service: ModelService,
    *,
    database: str | None = None,
    with_tenants: bool = False,
    equipment: Equipment | None = None,
    gate: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> Iterator[str]:
    """The address of a service, which runs while the block does. Args: equipment: what its agents work with."""
    with socket.socket() as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(("127.0.0.1", 0))
        state = open_database(database or f"sqlite:///{folder}/axk1.db")
        app = gate(create_app(service, state, with_tenants=with_tenants, equipment=equipment))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            state.dispose()
