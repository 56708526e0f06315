"""``Endpoint``: an MCP server at a path of a web application (streamable HTTP)."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import Route

PATH = "/mcp"
_HERE = ("127.0.0.1", "localhost", "[::1]")
_SESSION_SECONDS = 1800
"""Silence after which a session of the older protocols is closed; the newest has none."""
_SESSIONS = 1000


class Endpoint:
    """A server on HTTP. ``route`` goes into the application, ``running()`` around its life.

    Args:
        server: as of ``mcp_server``.
        local: only programs of this machine are served, so a page of the web that had its name turned into our
            address (DNS rebinding) must not be: the Host and Origin that it sends give it away. Others bring a key.
    """

    def __init__(self, server: Server[Any], *, local: bool) -> None:
        hosts = [f"{host}{port}" for host in _HERE for port in ("", ":*")]
        security = TransportSecuritySettings(
            enable_dns_rebinding_protection=local,
            allowed_hosts=hosts,
            allowed_origins=[f"http://{host}" for host in hosts],
        )
        self._manager = StreamableHTTPSessionManager(
            server, security_settings=security, session_idle_timeout=_SESSION_SECONDS, max_sessions=_SESSIONS
        )
        self.route = Route(PATH, endpoint=StreamableHTTPASGIApp(self._manager))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Takes requests while inside."""
        async with self._manager.run():
            yield
