"""``axk1 mcp serve``: our search, tools and agents for other programs, over standard input and output or HTTP."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from mcp.server.stdio import stdio_server
from rich.markup import escape
from starlette.applications import Starlette

from axk1.agents.host import AgentHost, Equipment
from axk1.agents.mcp.http import PATH, Endpoint
from axk1.agents.mcp.offered import INSTRUCTIONS, offered
from axk1.agents.mcp.served import Offer
from axk1.agents.mcp.server import mcp_server
from axk1.agents.policy import Policy
from axk1.agents.store import RunStore
from axk1.agents.tool import Language
from axk1.agents.tools.built_in import ToolsConfig, built_in_tools
from axk1.core.chat_model import ChatModel, OpenChatModel
from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.core.progress import console
from axk1.search.index.index import Index
from axk1.serve.database import DEFAULT_URL, open_database
from axk1.serve.tenants.directory import Directory
from axk1.serve.tenants.gate import Gate


@dataclass(frozen=True, kw_only=True)
class McpServeConfig:
    """What other programs may use of ours, over the Model Context Protocol."""

    model: str | None = None
    """Who does work and writes answers: a checkpoint folder, or the address of a server of OpenAI's API. Without one
    there are the tools and the search, which then quotes the documents."""
    search: Path | None = None
    """The folder of an index (axk1 search build)."""
    tools: Path | None = None
    """TOML file with what the tools need: servers of mail, contacts, hosts whose pages may be read; see
    recipes/agent/tools.toml."""
    policy: Path | None = None
    """YAML file that says which tools run by themselves, which ask first, which never run and are not shown."""
    workspace: Path = Path("out/workspace")
    """Folder of the files that the tools read and write; they touch no others."""
    port: int | None = None
    """Port to listen at (streamable HTTP); nothing for standard input and output, as programs that start us want."""
    host: str = "127.0.0.1"
    """Address to listen at; others than this machine's need API keys (axk1 tenants add)."""
    language: Language = "en"
    """Of the forms that a person fills in."""
    constrained: bool = False
    """Make the model of the agents call a tool at every turn, so that a grammar keeps even a small one well-formed."""
    database: str = DEFAULT_URL
    """Where runs and API keys are kept: SQLAlchemy's address, as for axk1 serve."""

    def __post_init__(self) -> None:
        require(self.port is None or 0 < self.port < 65536, "port", self.port, "1 to 65535")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the address."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def serve_mcp(open_model: OpenChatModel, config: McpServeConfig, *, dry_run: bool = False) -> None:
    """Serves until the client leaves, or a signal comes.

    Args:
        open_model: opens the model that the config names.
        config: what to offer, and where.
        dry_run: stop after the plan.

    Raises:
        ConfigError: the network would get in without a key.
    """
    library = None if config.search is None else Index.open(config.search)
    tools = built_in_tools(ToolsConfig.load(config.tools), library=library)
    policy = Policy() if config.policy is None else Policy.load(config.policy, tools)
    equipment = Equipment(tools, config.workspace, policy, constrained=config.constrained)
    database = open_database(config.database)
    with_keys = config.port is not None and bool(Directory(database).organisations())
    if config.port is not None and not config.is_local and not with_keys:
        raise ConfigError(
            f"host = {config.host!r} lets other machines in, and there is no organisation whose keys they would need",
            repair="axk1 tenants add NAME && axk1 tenants key NAME",
        )
    plan = offered(equipment, library=library)
    shown = [*plan.tools, *(["start_run", "give_input", "run_status", "cancel_run"] if config.model else [])]
    where = "standard input and output" if config.port is None else f"http://{config.host}:{config.port}{PATH}"
    console.print(f"MCP over {where}" + (", with API keys" if with_keys else ""))
    console.print(f"tools: {escape(', '.join(shown))}")
    console.print(f"resources: {escape(', '.join(plan.resources))}; prompts: {escape(', '.join(plan.prompts))}")
    if dry_run:
        return

    async def run() -> None:
        async with _model(open_model, config.model) as model:
            store = RunStore(database)
            agents = None if model is None else AgentHost(store, lambda _: model, equipment, name="mcp")
            options = {"agents": agents, "library": library, "language": config.language}
            offer = offered(equipment, **options, open_chat=lambda _: model)
            async with contextlib.nullcontext() if agents is None else agents.running():
                await _serve(config, offer, Directory(database) if with_keys else None)

    asyncio.run(run())


async def _serve(config: McpServeConfig, offer: Offer, directory: Directory | None) -> None:
    server = mcp_server(offer, instructions=INSTRUCTIONS)
    if config.port is None:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
        return
    endpoint = Endpoint(server, local=directory is None)
    app = Starlette(routes=[endpoint.route], lifespan=lambda _: endpoint.running())
    if directory is not None:
        app.add_middleware(Gate, directory=directory)
    await uvicorn.Server(uvicorn.Config(app, host=config.host, port=config.port, log_level="warning")).serve()


@contextlib.asynccontextmanager
async def _model(open_model: OpenChatModel, address: str | None) -> AsyncIterator[ChatModel | None]:
    if address is None:
        yield None
        return
    async with open_model(address) as model:
        yield model
