"""``axk1 agent "..."``: has work done in a terminal; asks what is missing and what may be done, and names the files."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from axk1.agents.brief import BriefChat
from axk1.agents.limits import Limits
from axk1.agents.loop import Runner
from axk1.agents.mcp.client import open_mcp_tools
from axk1.agents.mcp.config import McpServer, read_servers
from axk1.agents.policy import Policy
from axk1.agents.run import Input, InputRefused, Run, Status, Step
from axk1.agents.store import RunStore
from axk1.agents.tool import Effect, Tool
from axk1.agents.tools.built_in import ToolsConfig, built_in_tools
from axk1.core.chat_model import OpenChatModel
from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.core.progress import console, print_next, print_plan
from axk1.search.index.index import Index
from axk1.serve.database import DEFAULT_URL, open_database

_output = Console(highlight=False, soft_wrap=True)
"""Where answers go; plans and questions go to the standard error."""
_AGREED = (Effect.READ, Effect.WRITE)
"""Effects to which --yes agrees; mail, deletion and payment are always the person's."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """A piece of work."""

    goal: str | None = None
    """What is to be done, in your words; nothing where --resume is given."""
    model: str | None = None
    """Who decides: a checkpoint folder, or the address of a server of OpenAI's API, such as http://host:8000/v1."""
    workspace: Path = Path("out/workspace")
    """Folder of the files that the tools read and write; they touch no others."""
    resume: str | None = None
    """Id of a run to go on with; axk1 agent list tells them."""
    say: str | None = None
    """With --resume: what you say to it, such as the answer to its question."""
    policy: Path | None = None
    """YAML file that says which tools run by themselves, which ask first, which never run; see docs/agents.md."""
    tools: Path | None = None
    """TOML file with what the tools need: servers of mail, contacts, hosts whose pages may be read; see
    recipes/agent/tools.toml."""
    mcp: Path | None = None
    """JSON or TOML file of MCP servers whose tools the run may use, too; see docs/mcp.md."""
    search: Path | None = None
    """The folder of an index (axk1 search build) that the run may search."""
    yes: bool = False
    """Agree to confirmations of tools that only read and write; sending, deleting and paying still ask."""
    language: Literal["ko", "en"] | None = None
    """Language of questions; nothing for that of the goal."""
    constrained: bool = False
    """Make the model call a tool at every turn, so that a grammar keeps even a small one well-formed."""
    brief: bool = False
    """The model is a student of recipes/assistant: it reads tools in a line each, and calls one at every turn."""
    database: str = DEFAULT_URL
    """Where runs are kept: SQLAlchemy's address, as for axk1 serve."""
    limits: Limits = field(default_factory=Limits)
    """How much the run may use."""

    def __post_init__(self) -> None:
        given = "a goal, or --resume RUN"
        require((self.goal is None) != (self.resume is None), "goal", self.goal, given, repair='axk1 agent "..."')
        require(self.say is None or self.resume is not None, "say", self.say, "only with --resume RUN")


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """What to list."""

    status: Status | None = None
    """Only runs that stand so."""
    limit: int = 20
    """Most runs, the newest first."""
    database: str = DEFAULT_URL
    """Where runs are kept: SQLAlchemy's address, as for axk1 serve."""
    json: bool = False
    """Print JSON."""


def agent(
    open_model: OpenChatModel,
    config: AgentConfig,
    *,
    dry_run: bool = False,
    read: Callable[[str], str] = input,
    tools: Mapping[str, Tool] | None = None,
) -> Run | None:
    """Has a piece of work done, or goes on with one; returns the run as it stands then.

    Args:
        open_model: opens the model that the config names.
        config: the work.
        dry_run: stop after the plan.
        read: asks the person for a line; EOFError or KeyboardInterrupt leaves the run as it stands.
        tools: what it may use; nothing for the built-in tools over the workspace.
    """
    if tools is None:
        library = None if config.search is None else Index.open(config.search)
        tools = built_in_tools(ToolsConfig.load(config.tools), library=library)
    servers = {} if config.mcp is None else read_servers(config.mcp)
    policy = _policy(config, tools) if not servers else Policy()  # a policy may name tools that are not there yet
    _print_plan(config, policy, tools, servers)
    if dry_run:
        return None
    if config.model is None:
        raise ConfigError("model = None is not allowed; allowed: a checkpoint folder or a server's address",
                          repair="--model out/nano/student, or --model http://host:8000/v1")  # fmt: skip
    return asyncio.run(_work(open_model, config, tools, servers, read))


def _policy(config: AgentConfig, tools: Mapping[str, Tool]) -> Policy:
    return Policy() if config.policy is None else Policy.load(config.policy, tools)


def list_runs(config: ListConfig, *, dry_run: bool = False) -> list[Run]:
    """Prints the runs of this database that belong to no tenant, the newest first."""
    if dry_run:
        return []
    runs = RunStore(open_database(config.database)).runs("", limit=config.limit)
    runs = [run for run in runs if config.status in (None, run.status)]
    if config.json:
        for run in runs:
            entry = {"id": run.id, "status": str(run.status), "goal": run.goal, "answer": run.answer}
            print(json.dumps(entry | {"created_at": run.created_at.isoformat()}, ensure_ascii=False))
        return runs
    table = Table(box=None, pad_edge=False)
    for column in ("run", "status", "begun", "goal"):
        table.add_column(column)
    for run in runs:
        table.add_row(run.id, str(run.status), f"{run.created_at:%Y-%m-%d %H:%M}", escape(run.goal[:60]))
    _output.print(table)
    return runs


async def _work(
    open_model: OpenChatModel,
    config: AgentConfig,
    tools: Mapping[str, Tool],
    servers: Mapping[str, McpServer],
    read: Callable[[str], str],
) -> Run:
    store = RunStore(open_database(config.database))
    async with open_model(str(config.model)) as model, open_mcp_tools(servers, model=model) as theirs:
        every = {**tools, **theirs}
        driver = BriefChat(model) if config.brief else model
        constrained = config.constrained or config.brief
        policy = _policy(config, every)
        runner = Runner(
            driver, every, store, policy, config.limits, workspace=config.workspace, constrained=constrained
        )
        if config.resume is not None:
            run = await runner.look(config.resume)
        else:
            run = await runner.open(str(config.goal), language=config.language)
        console.print(f"[dim]{run.id}[/dim]")
        return await _talk(runner, run, config, read)


async def _talk(runner: Runner, run: Run, config: AgentConfig, read: Callable[[str], str]) -> Run:
    """Carries a run on and gives it what the person says, until it ends or they leave."""
    shown, said = len(run.steps) if config.resume else 1, config.say
    while True:
        run = await runner.resume(run.id)
        for step in run.steps[shown:]:
            _print_step(step)
        shown = len(run.steps)
        if said is None and run.status not in (Status.INPUT_REQUIRED, Status.CONFIRMATION_REQUIRED):
            _print_end(run)
            return run
        given = Input(text=said) if said is not None else _asked(runner, run, config, read)
        said = None
        if given is None:
            print_next(f"axk1 agent --resume {run.id} --model {config.model} --workspace {config.workspace}")
            return run
        try:
            run = await runner.accept(run.id, given)
        except InputRefused as error:
            console.print(f"[yellow]{escape(error.message)}[/yellow]")
            if config.say is not None:
                raise


def _asked(runner: Runner, run: Run, config: AgentConfig, read: Callable[[str], str]) -> Input | None:
    """What the person says to what the run asks; None where they leave."""
    waiting = run.waiting if run.status is Status.CONFIRMATION_REQUIRED else None
    if waiting is not None and config.yes and runner.tools[waiting.tool].effect in _AGREED:
        return Input(confirm=True)
    try:
        line = read("y/n> " if waiting is not None else "> ").strip()
    except (EOFError, KeyboardInterrupt):
        return None
    if not line:
        return _asked(runner, run, config, read)
    return Input(text=line)


def _print_plan(
    config: AgentConfig, policy: Policy, tools: Mapping[str, Tool], servers: Mapping[str, McpServer]
) -> None:
    verdicts: dict[str, list[str]] = {}
    for one in tools.values():
        verdicts.setdefault(policy.decide(one, {}).verdict, []).append(one.name)
    rows = {"goal": config.goal or f"the run {config.resume}", "model": config.model, "files": config.workspace}
    rows |= {f"{verdict}": ", ".join(sorted(names)) for verdict, names in sorted(verdicts.items())}
    rows |= {"MCP servers": ", ".join(servers)} if servers else {}
    print_plan("agent", {**rows, "limits": f"{config.limits.max_turns} turns, {config.limits.max_seconds:g} s"})


def _print_step(step: Step) -> None:
    if step.type == "call":
        arguments = ", ".join(f"{name}={value!r}" for name, value in (step.arguments or {}).items())
        console.print(f"[cyan]{step.tool}[/cyan]({escape(arguments)})")
    elif step.type in ("question", "confirmation"):
        console.print(f"[bold]{escape(str(step.content))}[/bold]")
    elif step.type == "refusal":
        console.print(f"[yellow]{escape(str(step.content))}[/yellow]")
    elif step.type == "result":
        text = step.content if isinstance(step.content, str) else json.dumps(step.content, ensure_ascii=False)
        console.print(f"[dim]{escape(text[:300])}[/dim]")


def _print_end(run: Run) -> None:
    if run.answer:
        _output.print(escape(run.answer))
    for path in run.files:
        _output.print(str(Path(run.workspace) / path))
    used = run.usage
    console.print(f"[dim]{run.status}: {used.turns} turns, {used.total_tokens:,} tokens, {used.seconds:.1f} s[/dim]")
