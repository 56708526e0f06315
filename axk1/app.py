"""The web application: ``axk1 serve PATH`` puts a model behind OpenAI's API."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from axk1.channels.web import page
from axk1.core.config import require
from axk1.core.progress import console
from axk1.engine.config import EngineConfig
from axk1.engine.llm_engine import LLMEngine
from axk1.model.checkpoint import load_model
from axk1.model.config import ModelConfig
from axk1.serve import errors
from axk1.serve.database import DEFAULT_URL, open_database
from axk1.serve.engine_service import EngineService
from axk1.serve.responses import router as responses
from axk1.serve.responses.store import ResponseStore
from axk1.serve.router import router
from axk1.serve.service import ModelService
from axk1.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ServeConfig(EngineConfig):
    """A checkpoint behind OpenAI's API."""

    path: Path
    """The checkpoint folder."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines in."""
    port: int = 8000
    """Port to listen at."""
    served_model_name: str | None = None
    """What requests call the model; nothing means the folder's name."""
    max_waiting: int = 256
    """Most texts that wait for a place; more are refused with status 429."""
    drain_seconds: int = 60
    """Seconds that texts being written have to end after SIGTERM or Ctrl-C."""
    database: str = DEFAULT_URL
    """Where the server keeps its state: SQLAlchemy's address, such as sqlite:///out/axk1.db or
    postgresql://user:password@host/name."""
    keep_responses_days: float = 30
    """Days since its last use after which a stored response of /v1/responses is deleted."""
    device: str = "cpu"
    """Device of the model, such as cpu or cuda."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights and cache; auto is that of the checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.port < 65536, "port", self.port, "1 to 65535")
        require(self.max_waiting >= 0, "max_waiting", self.max_waiting, "0 or more")
        require(self.drain_seconds >= 0, "drain_seconds", self.drain_seconds, "0 or more")
        require(self.keep_responses_days > 0, "keep_responses_days", self.keep_responses_days, "more than 0")

    @property
    def name(self) -> str:
        """What requests call the model."""
        return self.served_model_name or self.path.resolve().name


def create_app(service: ModelService, database: Engine, *, keep_responses_days: float = 30) -> FastAPI:
    """The application over some models; its start and its end are the service's.

    Args:
        service: who answers.
        database: where the server keeps its state.
        keep_responses_days: days after which stored responses are deleted.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(title="A.X K1", lifespan=lifespan)
    errors.install(app)
    app.include_router(router(service))
    app.include_router(responses.router(service, ResponseStore(database, keep_days=keep_responses_days)))
    app.include_router(page.router())
    return app


def serve(config: ServeConfig, *, dry_run: bool = False) -> None:
    """Serves until a signal comes; then no new requests are taken, and those that run have time to end."""
    model_config = ModelConfig.load(config.path)
    _print_plan(config, model_config)
    if dry_run:
        return
    database = open_database(config.database)
    dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
    model = load_model(config.path, device=config.device, dtype=dtype)
    engine = LLMEngine(model, Tokenizer.load(config.path), config)
    service = EngineService(engine, config.name, max_waiting=config.max_waiting)
    app = create_app(service, database, keep_responses_days=config.keep_responses_days)
    uvicorn.run(
        app, host=config.host, port=config.port, log_level="warning", timeout_graceful_shutdown=config.drain_seconds
    )


def _print_plan(config: ServeConfig, model: ModelConfig) -> None:
    value_bytes = 4 if config.dtype in ("auto", "float32") else 2
    tokens = config.num_blocks(model, value_bytes) * config.block_size
    console.print(f"[bold]{config.path}[/bold] as {config.name!r}, {config.length_limit(model):,} tokens of context")
    console.print(f"cache of {tokens:,} tokens; {config.max_num_seqs} texts at once, {config.max_waiting} more wait")
    console.print(f"http://{config.host}:{config.port}/v1   health: /health   metrics: /metrics")
    console.print(f"talk to it in a browser: http://{config.host}:{config.port}/")
