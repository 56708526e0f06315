"""The web application: ``axk1 serve PATH`` puts a model behind OpenAI's API."""

import contextlib
import ipaddress
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
from axk1.core.errors import ConfigError
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
from axk1.serve.tenants.accounts import Accounts
from axk1.serve.tenants.directory import Directory
from axk1.serve.tenants.gate import Gate
from axk1.serve.tenants.metered import MeteredService
from axk1.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ServeConfig(EngineConfig):
    """A checkpoint behind OpenAI's API."""

    path: Path
    """The checkpoint folder."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines in, and then they need API keys (axk1 tenants add)."""
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
    without_tenants: bool = False
    """Answer everybody who reaches the port: no API keys, no limits, no record of usage."""
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

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the address."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def create_app(
    service: ModelService, database: Engine, *, keep_responses_days: float = 30, with_tenants: bool = False
) -> FastAPI:
    """The application over some models; its start and its end are the service's.

    Args:
        service: who answers.
        database: where the server keeps its state.
        keep_responses_days: days after which stored responses are deleted.
        with_tenants: ask for API keys and meter every request; otherwise everybody is answered.
    """
    if with_tenants:
        service = MeteredService(service, Accounts(database))

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
    if with_tenants:
        page_paths = (route.path for route in page.router().routes)
        app.add_middleware(Gate, directory=Directory(database), open_paths=("/health", *page_paths))
    return app


def serve(config: ServeConfig, *, dry_run: bool = False) -> None:
    """Serves until a signal comes; then no new requests are taken, and those that run have time to end."""
    model_config = ModelConfig.load(config.path)
    _print_plan(config, model_config)
    if dry_run:
        return
    database = open_database(config.database)
    with_tenants = _ask_for_keys(config, database)
    dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
    model = load_model(config.path, device=config.device, dtype=dtype)
    engine = LLMEngine(model, Tokenizer.load(config.path), config)
    service = EngineService(engine, config.name, max_waiting=config.max_waiting)
    days = config.keep_responses_days
    app = create_app(service, database, keep_responses_days=days, with_tenants=with_tenants)
    uvicorn.run(
        app, host=config.host, port=config.port, log_level="warning", timeout_graceful_shutdown=config.drain_seconds
    )


def _ask_for_keys(config: ServeConfig, database: Engine) -> bool:
    """Whether callers need API keys; says so. Raises ConfigError where the network would get in without one."""
    if config.without_tenants:
        console.print(f"[bold]no API keys[/bold] (--without-tenants): whoever reaches {config.host} is answered")
        return False
    organisations = len(Directory(database).organisations())
    if organisations:
        plural = "s" if organisations > 1 else ""
        console.print(f"API keys of {organisations} organisation{plural} are asked for; /health and the page are open")
        return True
    if not config.is_local:
        raise ConfigError(
            f"host = {config.host!r} lets other machines in, and there is no organisation whose keys they would need",
            repair="axk1 tenants add NAME && axk1 tenants key NAME, or --without-tenants to answer everybody",
        )
    console.print(f"no organisations, so no API keys: only this machine reaches {config.host}")
    return False


def _print_plan(config: ServeConfig, model: ModelConfig) -> None:
    value_bytes = 4 if config.dtype in ("auto", "float32") else 2
    tokens = config.num_blocks(model, value_bytes) * config.block_size
    console.print(f"[bold]{config.path}[/bold] as {config.name!r}, {config.length_limit(model):,} tokens of context")
    console.print(f"cache of {tokens:,} tokens; {config.max_num_seqs} texts at once, {config.max_waiting} more wait")
    console.print(f"http://{config.host}:{config.port}/v1   health: /health   metrics: /metrics")
    console.print(f"talk to it in a browser: http://{config.host}:{config.port}/")
