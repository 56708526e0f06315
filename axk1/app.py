"""The web application: ``axk1 serve PATH`` puts a model behind OpenAI's API, ``--upstream URL`` those of a server."""

import asyncio
import contextlib
import dataclasses
import ipaddress
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
import uvicorn
from fastapi import FastAPI
from rich.markup import escape
from sqlalchemy import Engine

from axk1.agents.host import AgentHost, Equipment
from axk1.agents.loop import local_time
from axk1.agents.mcp.client import open_mcp_tools
from axk1.agents.mcp.config import read_servers
from axk1.agents.mcp.http import Endpoint
from axk1.agents.mcp.offered import INSTRUCTIONS, offered
from axk1.agents.mcp.server import mcp_server
from axk1.agents.policy import Policy
from axk1.agents.store import RunStore
from axk1.agents.tools.built_in import ToolsConfig, built_in_tools
from axk1.channels.web import page
from axk1.core.chat_model import ChatModel
from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.core.progress import console
from axk1.engine.config import EngineConfig
from axk1.engine.llm_engine import LLMEngine
from axk1.engine.quantised.folder import is_quantised, open_model
from axk1.model.config import ModelConfig
from axk1.search import router as search
from axk1.search.index.index import Index
from axk1.serve import errors
from axk1.serve.caller import Caller, caller_of
from axk1.serve.database import DEFAULT_URL, open_database
from axk1.serve.engine_service import EngineService
from axk1.serve.here_only import HereOnly
from axk1.serve.in_process import ServiceChat
from axk1.serve.request_id import RequestIds
from axk1.serve.responses import router as responses
from axk1.serve.responses.store import ResponseStore
from axk1.serve.router import router
from axk1.serve.service import ModelService
from axk1.serve.tenants.accounts import Accounts
from axk1.serve.tenants.directory import Directory
from axk1.serve.tenants.gate import Gate
from axk1.serve.tenants.metered import MeteredService
from axk1.serve.upstream.failures import KEY_VARIABLE
from axk1.serve.upstream.server import Upstream, checked_url
from axk1.serve.upstream.service import UpstreamService
from axk1.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ServeConfig(EngineConfig):
    """A checkpoint behind OpenAI's API, or servers elsewhere (vLLM, SGLang) behind the same front."""

    path: Path | None = None
    """The checkpoint folder; nothing where --upstream is given."""
    upstream: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Address of a server of OpenAI's API that has the model, such as http://host:8000/v1; repeated for several. The
    key that it asks for is taken from the environment variable AXK1_UPSTREAM_API_KEY."""
    upstream_timeout_seconds: float = 600
    """Seconds of silence after which an upstream's answer is given up."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines in, and then they need API keys (axk1 tenants add)."""
    port: int = 8000
    """Port to listen at."""
    served_model_name: str | None = None
    """What requests call the model; nothing means the folder's name, or the upstream's own names."""
    max_waiting: int = 256
    """Most texts that wait for a place; more are refused with status 429."""
    drain_seconds: int = 60
    """Seconds that texts being written have to end after SIGTERM or Ctrl-C."""
    database: str = DEFAULT_URL
    """Where the server keeps its state: SQLAlchemy's address, such as sqlite:///out/axk1.db or
    postgresql://user:password@host/name."""
    keep_responses_days: float = 30
    """Days since its last use after which a stored response of /v1/responses is deleted."""
    workspace: Path = Path("out/workspace")
    """Folder of the files that agents read and write; each organisation has a folder of its own in it."""
    agent_policy: Path | None = None
    """YAML file that says which tools of agents run by themselves, which ask first, which never run."""
    agent_tools: Path | None = None
    """TOML file with what agents' tools need: servers of mail, contacts, hosts whose pages may be read; see
    recipes/agent/tools.toml."""
    agent_mcp: Path | None = None
    """JSON or TOML file of MCP servers whose tools agents may use, too; see docs/mcp.md."""
    without_tenants: bool = False
    """Answer everybody who reaches the port: no API keys, no limits, no record of usage."""
    search: Path | None = None
    """The folder of an index (axk1 search build) that /v1/search and /v1/answers answer from."""
    device: str = "cpu"
    """Device of the model, such as cpu or cuda."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of weights and cache; auto is that of the checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = "a checkpoint folder or --upstream URL, one of the two"
        require((self.path is None) == bool(self.upstream), "path", self.path and str(self.path), allowed)
        if self.upstream:
            self._check_upstream()
        require(self.upstream_timeout_seconds > 0, "upstream_timeout_seconds", self.upstream_timeout_seconds, "above 0")
        require(0 < self.port < 65536, "port", self.port, "1 to 65535")
        require(self.max_waiting >= 0, "max_waiting", self.max_waiting, "0 or more")
        require(self.drain_seconds >= 0, "drain_seconds", self.drain_seconds, "0 or more")
        require(self.keep_responses_days > 0, "keep_responses_days", self.keep_responses_days, "more than 0")

    def _check_upstream(self) -> None:
        """Raises ConfigError for a wrong address, and for an option of the engine, since none runs here."""
        for url in self.upstream:
            checked_url(url)
        repeated = len(set(self.upstream)) < len(self.upstream)
        require(not repeated, "upstream", ", ".join(self.upstream), "each address once")
        here = {field.name for field in dataclasses.fields(EngineConfig)} | {"device", "dtype", "max_waiting"}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            changed = field.name in here and value != field.default
            require(not changed, field.name, value, "leaving it out with --upstream: the engine is elsewhere")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the address."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def create_app(
    service: ModelService,
    database: Engine,
    *,
    keep_responses_days: float = 30,
    with_tenants: bool = False,
    library: search.Library | None = None,
    equipment: Equipment | None = None,
    local: bool = True,
) -> FastAPI:
    """The application over some models; its start and its end are the service's.

    Args:
        service: who answers.
        database: where the server keeps its state.
        keep_responses_days: days after which stored responses are deleted.
        with_tenants: ask for API keys and meter every request; otherwise everybody is answered.
        library: the documents that are searched and cited; without them there are no such routes.
        equipment: what agents work with; without it there are no such routes.
        local: only this machine reaches the server; without tenants, pages of other sites are then not answered.
    """
    if with_tenants:
        service = MeteredService(service, Accounts(database))
    agents, endpoint = None, None
    if equipment is not None:
        open_chat = partial(_chat_of, service)
        directory = Directory(database)
        clock_of = partial(_clock_of, directory) if with_tenants else lambda _: local_time
        agents = AgentHost(RunStore(database), open_chat, equipment, clock_of=clock_of)
        offer = offered(equipment, agents=agents, library=library, open_chat=open_chat)
        endpoint = Endpoint(mcp_server(offer, instructions=INSTRUCTIONS), local=local and not with_tenants)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            await service.start()
            stack.push_async_callback(service.stop)
            if agents is not None:
                await stack.enter_async_context(agents.running())
            if endpoint is not None:
                await stack.enter_async_context(endpoint.running())
            yield

    app = FastAPI(title="A.X K1", lifespan=lifespan)
    errors.install(app)
    app.include_router(router(service))
    app.include_router(responses.router(service, ResponseStore(database, keep_days=keep_responses_days)))
    if library is not None:
        app.include_router(search.router(lambda: library, lambda asked: ServiceChat(service, caller=caller_of(asked))))
    if agents is not None:
        app.include_router(agents.router())
    if endpoint is not None:
        app.router.routes.append(endpoint.route)
    app.include_router(page.router())
    if with_tenants:
        page_paths = (route.path for route in page.router().routes)
        app.add_middleware(Gate, directory=Directory(database), open_paths=("/health", *page_paths))
    elif local:
        app.add_middleware(HereOnly)
    app.add_middleware(RequestIds)  # around the gate: its refusals have a name, too
    return app


def _chat_of(service: ModelService, caller: Caller) -> ChatModel:
    """The only model, on behalf of a caller."""
    return ServiceChat(service, caller=caller)


def _clock_of(directory: Directory, caller: Caller) -> Callable[[], datetime]:
    """The time where a caller's organisation is."""
    zone = directory.time_zone(caller.tenant)
    return lambda: datetime.now(zone)


def serve(config: ServeConfig, *, dry_run: bool = False) -> None:
    """Serves until a signal comes; then no new requests are taken, and those that run have time to end."""
    library = None if config.search is None else Index.open(config.search)
    equipment = _equipment(config, library)
    if equipment.servers:
        asyncio.run(_meet(equipment))
    database = None if dry_run else open_database(config.database)
    with_tenants = database is not None and _ask_for_keys(config, database)
    open_service = _open_upstreams if config.path is None else open_engine
    service = open_service(config, config.path, dry_run)
    console.print(f"http://{config.host}:{config.port}/v1   health: /health   metrics: /metrics")
    if library is not None:
        console.print(f"answers from {len(library):,} passages of {config.search}: /v1/answers and /v1/search")
    console.print(f"talk to it in a browser: http://{config.host}:{config.port}/")
    if service is not None and database is not None:
        kept = config.keep_responses_days
        options = {"keep_responses_days": kept, "with_tenants": with_tenants}
        here_only = config.is_local and not config.without_tenants
        app = create_app(service, database, **options, library=library, equipment=equipment, local=here_only)
        drain = config.drain_seconds
        uvicorn.run(app, host=config.host, port=config.port, log_level="warning", timeout_graceful_shutdown=drain)


def _equipment(config: ServeConfig, library: search.Library | None) -> Equipment:
    """What agents work with. Raises ConfigError where the policy or a file of tools or MCP servers is wrong."""
    tools = built_in_tools(ToolsConfig.load(config.agent_tools), library=library)
    servers = {} if config.agent_mcp is None else read_servers(config.agent_mcp)
    for name, server in servers.items():
        given, allowed = (
            server.allow_sampling,
            "false: on a server there is nobody on whose account the model would write",
        )
        require(not given, f"mcpServers.{name}.allow_sampling", given, allowed)
    # A policy may name tools of MCP servers, which are known when these have answered.
    known = None if servers else tools
    policy = Policy() if config.agent_policy is None else Policy.load(config.agent_policy, known)
    return Equipment(tools, config.workspace, policy, servers=servers)


async def _meet(equipment: Equipment) -> None:
    """Says what MCP servers offer, before anything is started. Raises ConfigError, or that one cannot be reached."""
    async with open_mcp_tools(equipment.servers) as theirs:
        equipment.policy.check({**equipment.tools, **theirs}, where="agent_policy")
        console.print(f"agents may use {len(theirs)} tools of MCP servers: {escape(', '.join(theirs))}")


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


def open_engine(config: ServeConfig, path: Path, dry_run: bool) -> EngineService | None:
    """The plan of an engine here, and the engine unless this is a dry run."""
    model_config, name = ModelConfig.load(path), config.served_model_name or path.resolve().name
    quantised = config.weights != "auto" or is_quantised(model_config)
    value_bytes = 4 if quantised or config.dtype in ("auto", "float32") else 2
    drafting = config.speculative_config
    draft = None if drafting.model is None else ModelConfig.load(drafting.model)
    tokens = config.num_blocks(model_config, value_bytes, draft=draft) * config.block_size
    console.print(f"[bold]{path}[/bold] as {name!r}, {config.length_limit(model_config):,} tokens of context")
    console.print(f"cache of {tokens:,} tokens; {config.max_num_seqs} texts at once, {config.max_waiting} more wait")
    if drafting.method is not None:
        source = f"{drafting.method}{f' {drafting.model}' if drafting.model else ''}"
        most, texts = drafting.num_speculative_tokens, drafting.largest_batch
        console.print(f"drafts by {source}, at most {most} tokens each, while at most {texts} texts share a pass")
    if dry_run:
        return None
    dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
    model = open_model(path, device=config.device, dtype=dtype, weights=config.weights)
    engine = LLMEngine(model, Tokenizer.load(path), config)
    return EngineService(engine, name, max_waiting=config.max_waiting)


def _open_upstreams(config: ServeConfig, _: None, dry_run: bool) -> UpstreamService | None:
    """What servers elsewhere have, and a front for them unless this is a dry run.

    Raises:
        ConfigError: in a dry run, some do not answer. A server starts without them and waits for them.
    """
    found = asyncio.run(_looked_at(config))
    for upstream in found:
        models = ", ".join(f"{card['id']!r}" for card in upstream.cards)
        console.print(escape(upstream.trouble or f"{upstream.url} serves {models}"))
    silent = [upstream for upstream in found if upstream.trouble]
    if dry_run:
        if silent:
            raise ConfigError(str(silent[0].trouble), repair=f"curl {silent[0].url}/models")
        return None
    return UpstreamService(_upstreams(config))


def _upstreams(config: ServeConfig) -> list[Upstream]:
    key, name, timeout = os.environ.get(KEY_VARIABLE, ""), config.served_model_name, config.upstream_timeout_seconds
    return [Upstream(url, key=key, served_name=name, timeout=timeout) for url in config.upstream]


async def _looked_at(config: ServeConfig) -> list[Upstream]:
    """The upstreams as they are now; asked in an event loop of its own, which has closed when this returns."""
    upstreams = _upstreams(config)
    await asyncio.gather(*(upstream.check() for upstream in upstreams))
    await asyncio.gather(*(upstream.close() for upstream in upstreams))
    return upstreams
