"""The tools of any MCP server as ``Tool``s:

    async with open_mcp_tools(read_servers(Path("mcp.json"))) as tools:
        ...  # {"files__read": Tool, ...}

What strangers' servers say is never believed blindly: not of what their tools do (``effect_of``), and not what these
return (``untrusted``). A server that dies is started again at the next call; a call that only reads is then repeated,
and of any other it is said that nobody knows whether it was done.
"""

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.client.session import ClientRequestContext, SamplingFnT

from axk1.agents.mcp.calls import Asking, call_in_one_piece, call_in_rounds
from axk1.agents.mcp.config import McpServer
from axk1.agents.mcp.connection import Connection, ServerLost
from axk1.agents.mcp.results import cut, outcome_of
from axk1.agents.mcp.schema_tool import AnyArguments, SchemaTool, preview_of, validator
from axk1.agents.tool import Effect, Outcome, OutcomeUnknown, Tool, ToolContext, ToolRefusal
from axk1.core.chat_model import ChatModel
from axk1.core.config import nearest
from axk1.core.errors import AXK1Error, ConfigError

_LONGEST_NAME = 64
"""Of a function, in OpenAI's API."""
_LONGEST_DESCRIPTION = 2_000
_LONGEST_SAMPLE = 1_024
"""Most tokens that a server may have written for it at once."""


@contextlib.asynccontextmanager
async def open_mcp_tools(
    servers: Mapping[str, McpServer], *, model: ChatModel | None = None
) -> AsyncIterator[dict[str, Tool]]:
    """Connects to servers and gives their tools by name, ``server__tool``; they work until the context ends.

    Args:
        servers: the user's names -> how each is reached, as from ``read_servers``.
        model: writes texts for servers that may ask for them (``allow_sampling``).

    Raises:
        ServerLost: one cannot be reached; the text says what it wrote last.
        ConfigError: ``tools``, ``effects`` or ``slots`` name a tool that the server does not have.
    """
    async with contextlib.AsyncExitStack() as stack:
        tools: dict[str, Tool] = {}
        for name, server in servers.items():
            asking = Asking()
            sample = _sampler(model) if server.allow_sampling and model is not None else None
            connection = Connection(name, server, on_elicit=asking, on_sample=sample)
            stack.push_async_callback(connection.close)
            offered = await connection.tools()
            _require_known(name, server, {tool.name for tool in offered})
            chosen = [tool for tool in offered if not server.tools or tool.name in server.tools]
            for made in (_tool(connection, asking, tool) for tool in chosen):
                if made.name in tools:
                    raise AXK1Error(f"two tools of MCP servers would both be called {made.name}")
                tools[made.name] = made
        yield tools


def effect_of(tool: types.Tool, *, trusted: bool) -> Effect:
    """What a tool does, by its server's hints.

    Hints are a stranger's word, so those of a server that is not trusted only make it stricter: what may destroy is
    DELETE, and everything else SEND, for which a policy asks. A trusted server's ``readOnlyHint`` makes READ, and a
    tool that neither destroys nor reaches out WRITE.
    """
    hints = tool.annotations or types.ToolAnnotations()
    if hints.destructive_hint and not (trusted and hints.read_only_hint):
        return Effect.DELETE
    if not trusted:
        return Effect.SEND
    if hints.read_only_hint:
        return Effect.READ
    return Effect.WRITE if hints.destructive_hint is False and hints.open_world_hint is False else Effect.SEND


def tool_name(server: str, tool: str) -> str:
    """``server__tool`` with the letters and the length that OpenAI's API allows for functions."""
    name = f"{server}__{re.sub(r'[^A-Za-z0-9_-]', '_', tool)}"
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(f"{server}__{tool}".encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - 9]}_{digest}"


def _tool(connection: Connection, asking: Asking, tool: types.Tool) -> SchemaTool:
    server = connection.server
    name = tool_name(connection.name, tool.name)
    try:
        validator(tool.input_schema)
    except AXK1Error as error:
        raise AXK1Error(f"the MCP server {connection.name} gives {tool.name} a wrong schema; {error.message}") from None
    slots = server.slots_of(tool.name)
    unknown = sorted(set(slots) - set(tool.input_schema.get("properties", {})))
    if unknown:
        raise ConfigError(f"mcpServers.{connection.name}.slots.{tool.name}: the tool has no parameter {unknown[0]!r}")
    effect = server.effects.get(tool.name) or effect_of(tool, trusted=server.trusted)
    return SchemaTool(
        name=name,
        description=cut(tool.description or tool.title or tool.name, _LONGEST_DESCRIPTION),
        effect=effect,
        slots=slots,
        arguments=AnyArguments.named(tool.input_schema),
        schema=tool.input_schema,
        function=_function(connection, asking, tool.name, name, effect),
        preview=preview_of(connection.name, tool.name),
        untrusted=True,
    )


def _function(connection: Connection, asking: Asking, tool: str, name: str, effect: Effect) -> Callable[..., Any]:
    async def function(context: ToolContext, /, **arguments: Any) -> Outcome:
        try:
            result = await _called(connection, asking, tool, arguments, context, reads=effect == Effect.READ)
        except ServerLost as error:
            raise ToolRefusal(error.message) from error
        except MCPError as error:
            if error.code == types.REQUEST_TIMEOUT and effect is not Effect.READ:
                raise OutcomeUnknown(_why(connection, name, error)) from error
            raise ToolRefusal(_why(connection, name, error), untrusted=True) from error
        except RuntimeError as error:  # the SDK's, where a result does not fit the schema that the server gave for it
            raise ToolRefusal(f"{name} answered in a form other than it promises: {error}") from error
        return outcome_of(result, name, context, max_characters=connection.server.max_characters)

    return function


async def _called(
    connection: Connection, asking: Asking, tool: str, arguments: dict[str, Any], context: ToolContext, *, reads: bool
) -> types.CallToolResult:
    """Calls; a lost server is started again before the call, and after it only where repeating does nothing."""
    for last in (False, True):
        try:
            await connection.tools()  # a dead session shows itself here, where nothing has been done yet
            break
        except ServerLost:
            if last:
                raise
    try:
        return await _once(connection, asking, tool, arguments, context)
    except ServerLost as error:
        if reads:
            return await _once(connection, asking, tool, arguments, context)
        raise OutcomeUnknown(f"{error.message}. Whether {tool} was carried out is not known") from error


async def _once(
    connection: Connection, asking: Asking, tool: str, arguments: dict[str, Any], context: ToolContext
) -> types.CallToolResult:
    await connection.client()
    if not connection.asks_in_the_middle:
        return await call_in_rounds(connection, tool, arguments, context)
    async with connection.turn:
        return await call_in_one_piece(connection, asking, tool, arguments, context)


def _why(connection: Connection, name: str, error: MCPError) -> str:
    if error.code == types.REQUEST_TIMEOUT:
        seconds = connection.server.timeout_seconds
        return f"{name} did not answer within {seconds:g} seconds; whether it was carried out is not known"
    return f"{name} failed: {error.message}"


def _require_known(name: str, server: McpServer, offered: set[str]) -> None:
    for field in ("tools", "effects", "slots"):
        for tool in getattr(server, field):
            if tool not in offered:
                raise ConfigError(
                    f"mcpServers.{name}.{field}: the server has no tool {tool!r}{nearest(tool, sorted(offered))}; "
                    f"it has {', '.join(sorted(offered))}"
                )


def _sampler(model: ChatModel) -> SamplingFnT:
    """Texts for a server by our model; only texts, and short ones."""

    async def sample(
        context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.ErrorData:
        messages = [{"role": "system", "content": params.system_prompt}] if params.system_prompt else []
        for message in params.messages:
            if not isinstance(message.content, types.TextContent):
                return types.ErrorData(code=types.INVALID_PARAMS, message="the model reads texts only")
            messages.append({"role": message.role, "content": message.content.text})
        most = min(params.max_tokens, _LONGEST_SAMPLE)
        reply = await model.chat(messages, max_tokens=most, temperature=params.temperature or 0.0)
        reason = "maxTokens" if reply.finish_reason == "length" else "endTurn"
        text = types.TextContent(text=reply.content)
        return types.CreateMessageResult(role="assistant", content=text, model="axk1", stop_reason=reason)

    return sample
