"""``Connection``: one server of another program, started when needed and started again when it has died.

A task of its own holds the session from its start to its end, as the SDK's cancel scopes want; calls only borrow it.
What a program writes to standard error goes to a file without a name, and its last line into our errors.
"""

import asyncio
import contextlib
import io
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from httpx2 import AsyncClient, HTTPError, Timeout
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.session import ClientRequestContext, ElicitationFnT, SamplingFnT
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from axk1.agents.mcp.config import McpServer, expanded
from axk1.core.errors import AXK1Error

_PAGES = 100
"""Most pages of a list of tools; a server that never ends shall not hold us."""
_STOP_SECONDS = 10
_TIMES = Timeout(30, read=300)
"""Seconds for each step of HTTP; a server may hold a stream open that long. A call's own limit is the server's."""


class ServerLost(AXK1Error):
    """The server cannot be reached, or went away in the middle."""


@dataclass
class _Session:
    """A connection that stands, and the task that holds it."""

    ready: asyncio.Future[Client]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Connection:
    """The way to one server.

    Args:
        name: what the user calls it.
        server: how it is reached.
        on_elicit: who answers what it asks in the middle of a call, in protocols before 2026-07-28.
        on_sample: who writes texts for it; None refuses.
    """

    def __init__(
        self, name: str, server: McpServer, *, on_elicit: ElicitationFnT, on_sample: SamplingFnT | None = None
    ) -> None:
        self.name, self.server = name, expanded(server)
        self.turn = asyncio.Lock()
        """Held during a call in the older protocols, where a question does not say which call it belongs to."""
        self._callbacks: dict[str, Any] = {"elicitation_callback": on_elicit, "sampling_callback": on_sample}
        self._session: _Session | None = None
        self._opening = asyncio.Lock()
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - until close()

    async def client(self) -> Client:
        """The session, after a new start where there is none. Raises ServerLost with what the server said last."""
        async with self._opening:
            if self._session is None:
                self._session = await self._open()
            return self._session.ready.result()

    @property
    def asks_in_the_middle(self) -> bool:
        """Whether the server speaks a protocol in which it asks during a call, and not by its result."""
        session = self._session
        return session is None or session.ready.result().protocol_version not in MODERN_PROTOCOL_VERSIONS

    async def tools(self) -> list[types.Tool]:
        """All tools that the server offers now; also the proof that it lives."""
        client, found, cursor = await self.client(), [], None
        for _ in range(_PAGES):
            async with self.reporting():
                page = await client.list_tools(cursor=cursor, cache_mode="refresh")
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return found
        raise AXK1Error(f"the MCP server {self.name} lists tools on more than {_PAGES} pages")

    @contextlib.asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Turns the SDK's ways of losing a connection into ServerLost, and forgets the session that is lost."""
        try:
            yield
        except MCPError as error:
            if error.code != types.CONNECTION_CLOSED:
                raise
            await self.forget()
            raise ServerLost(self._sentence("is gone", error)) from error
        except (HTTPError, OSError) as error:
            await self.forget()
            raise ServerLost(self._sentence("is gone", error)) from error

    async def forget(self) -> None:
        """Ends the session; the next call starts another."""
        session, self._session = self._session, None
        if session is not None and session.task is not None:
            session.stop.set()
            done, _ = await asyncio.wait([session.task], timeout=_STOP_SECONDS)
            if not done:
                session.task.cancel()
                await asyncio.wait([session.task])

    async def close(self) -> None:
        """Ends the server that we started, or the session with one elsewhere."""
        await self.forget()
        self._log.close()

    async def _open(self) -> _Session:
        session = _Session(asyncio.get_running_loop().create_future())
        session.task = asyncio.create_task(self._hold(session), name=f"mcp {self.name}")
        seconds = self.server.start_seconds
        done, _ = await asyncio.wait([session.ready, session.task], timeout=seconds, return_when="FIRST_COMPLETED")
        if session.ready.done() and session.ready.exception() is None:
            return session
        cause = session.ready.exception() if session.ready.done() else None
        session.task.cancel()
        await asyncio.wait([session.task])
        what = "cannot be reached" if done else f"did not answer within {seconds:g} seconds"
        raise ServerLost(self._sentence(what, cause), repair=self._repair()) from cause

    async def _hold(self, session: _Session) -> None:
        """Opens the session, keeps it until it is to stop, and closes it: all in one task."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                transport = await self._transport(stack)
                limits = {"read_timeout_seconds": self.server.timeout_seconds}
                client = await stack.enter_async_context(Client(transport, **limits, **self._callbacks))
                session.ready.set_result(client)
                await session.stop.wait()
        except Exception as error:  # whatever the transport raises: ``_open`` tells it
            if not session.ready.done():
                session.ready.set_exception(_innermost(error))

    async def _transport(self, stack: contextlib.AsyncExitStack) -> Any:
        server = self.server
        if server.url is not None:
            http = await stack.enter_async_context(AsyncClient(headers=dict(server.headers), timeout=_TIMES))
            return streamable_http_client(server.url, http_client=http)
        command = StdioServerParameters(
            command=str(server.command), args=list(server.args), env=dict(server.env), cwd=server.cwd
        )
        self._log.seek(0)
        self._log.truncate()
        return stdio_client(command, errlog=self._log)

    def _sentence(self, what: str, cause: BaseException | None) -> str:
        said = self._last_line()
        detail = f": {cause}" if cause is not None and str(cause) else ""
        return f"the MCP server {self.name} {what}{detail}" + (f"; it wrote last: {said}" if said else "")

    def _last_line(self) -> str:
        if self.server.url is not None:
            return ""
        self._log.seek(0, io.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2000))
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""

    def _repair(self) -> str:
        if self.server.url is not None:
            return f"look whether {self.server.url} runs, or set disabled = true for {self.name}"
        return f"run it yourself: {' '.join([str(self.server.command), *self.server.args])}"


async def no_elicitation(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Dismisses every question, for those who only look at a server."""
    return types.ElicitResult(action="cancel")


def _innermost(error: BaseException) -> BaseException:
    """The one cause inside groups of exceptions; a person reads this."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error
