"""``mcpServers``, the table that users know from other programs: names -> how each server is reached.

    {"mcpServers": {"files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/tmp"]},
                    "wiki": {"url": "https://wiki.example/mcp", "headers": {"Authorization": "Bearer ${WIKI_KEY}"}}}}

The same as TOML is ``[mcpServers.files]``. ``${NAME}`` and ``${NAME:-otherwise}`` are taken from the environment.
"""

import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from axk1.agents.tool import Effect, Slot
from axk1.core.config import from_dict, load_toml, require
from axk1.core.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_NAME = re.compile(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*")


@dataclass(frozen=True, kw_only=True)
class SlotConfig:
    """A parameter of a server's tool that only the person can know."""

    ko: str
    """The question for it, in Korean."""
    en: str
    """The question for it, in English."""


@dataclass(frozen=True, kw_only=True)
class McpServer:
    """One server, and what it may do. Its tools are called ``server__tool``."""

    command: str | None = None
    """The program to run; it talks over its standard input and output."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables for it, beside the few that every program needs; it inherits no others."""
    cwd: Path | None = None
    """The folder it runs in; nothing for this one."""
    url: str | None = None
    """The address of a server that runs elsewhere (streamable HTTP), in place of a command."""
    type: Literal["stdio", "http", "streamable-http"] | None = None
    """How it is reached; not needed, since a command or an address already says it."""
    headers: dict[str, str] = field(default_factory=dict)
    """HTTP headers for the address, such as Authorization."""
    disabled: bool = False
    """Leave this server alone."""
    trusted: bool = False
    """Believe what the server says of its tools (readOnlyHint and the like). Of a server that is not trusted, hints
    count only where they make a tool stricter, and everything else asks before it runs."""
    effects: dict[str, Effect] = field(default_factory=dict)
    """What single tools do, by the server's name for them: read, write, send, delete or pay. Goes before all hints."""
    slots: dict[str, dict[str, SlotConfig]] = field(default_factory=dict)
    """Parameters of single tools that must have been said by the person: tool -> parameter -> the questions."""
    tools: tuple[str, ...] = ()
    """Which of its tools may be used, by the server's names; nothing for all."""
    allow_sampling: bool = False
    """Let the server ask our model for texts of its own."""
    timeout_seconds: float = 60
    """Seconds after which a call is given up."""
    start_seconds: float = 30
    """Seconds that it has to answer the first greeting."""
    max_characters: int = 20_000
    """Longest text of a result that the model reads; more is cut, and said to be."""

    def __post_init__(self) -> None:
        allowed = "a command or a url, one of the two"
        require((self.command is None) != (self.url is None), "command", self.command, allowed)
        if self.url is not None and not _VARIABLE.match(self.url):
            require(urlsplit(self.url).scheme in ("http", "https"), "url", self.url, "an address with http or https")
        fits = self.type is None or (self.type == "stdio") == (self.url is None)
        require(fits, "type", self.type, "stdio with a command, http with a url")
        for name in ("timeout_seconds", "start_seconds", "max_characters"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")

    def slots_of(self, tool: str) -> dict[str, Slot]:
        """The slots of one tool, by parameter."""
        return {name: Slot(ko=one.ko, en=one.en) for name, one in self.slots.get(tool, {}).items()}


def read_servers(path: Path) -> dict[str, McpServer]:
    """The servers of a JSON or TOML file, without those that are disabled.

    Raises:
        ConfigError: the file is not there, is neither, or has a key or value that is not allowed.
    """
    values = _read_json(path) if path.suffix == ".json" else load_toml(path)
    servers = values.get("mcpServers")
    if not isinstance(servers, dict):
        raise ConfigError(f"{path} has no table mcpServers", repair='{"mcpServers": {"NAME": {"command": "PROGRAM"}}}')
    read = {name: _server(name, one, f"{path}: mcpServers.{name}") for name, one in servers.items()}
    return {name: server for name, server in read.items() if not server.disabled}


def expanded(server: McpServer, environment: dict[str, str] | None = None) -> McpServer:
    """The server with ``${NAME}`` replaced in its command, arguments, environment, address and headers.

    Raises:
        ConfigError: a variable is not set and has no other value behind ``:-``.
    """
    known = dict(os.environ) if environment is None else environment

    def filled(text: str) -> str:
        return _VARIABLE.sub(lambda found: _value(found, known), text)

    return replace(
        server,
        command=server.command and filled(server.command),
        args=tuple(map(filled, server.args)),
        env={name: filled(value) for name, value in server.env.items()},
        url=server.url and filled(server.url),
        headers={name: filled(value) for name, value in server.headers.items()},
    )


def _server(name: str, values: object, where: str) -> McpServer:
    require(bool(_NAME.fullmatch(name)), "mcpServers", name, "names of letters, digits, - and single _")
    if not isinstance(values, dict):
        raise ConfigError(f"{where} = {values!r} is not allowed; allowed: a table")
    effects = values.get("effects", {})
    if not isinstance(effects, dict) or not set(effects.values()) <= set(Effect):
        raise ConfigError(f"{where}: effects = {effects!r} is not allowed; allowed: {', '.join(Effect)} by tool")
    typed = {tool: Effect(effect) for tool, effect in effects.items()}
    return from_dict(McpServer, {**values, "effects": typed}, where=where)


def _read_json(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{str(path)!r} does not exist") from None
    except (ValueError, IsADirectoryError) as error:
        raise ConfigError(f"{str(path)!r} is not a JSON file: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{str(path)!r} is no JSON object")
    return values


def _value(found: re.Match[str], known: dict[str, str]) -> str:
    name, otherwise = found[1], found[2]
    value = known.get(name, otherwise)
    if value is None:
        raise ConfigError(f"the environment variable {name} is not set", repair=f"export {name}=...")
    return value
