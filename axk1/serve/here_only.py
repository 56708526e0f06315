"""``HereOnly``: a server without keys, which only this machine reaches, answers no page of another site.

A page in a browser of this machine may have its own name turned into our address (DNS rebinding), or send a form to us.
The Host and Origin that the browser adds give it away.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from axk1.serve.errors import ApiError, refuse


class HereOnly:
    """ASGI middleware: status 421 or 403 where Host or Origin names anything but this machine."""

    def __init__(self, app: ASGIApp) -> None:
        """Args: app: what is behind it."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = _stranger(scope) if scope["type"] in ("http", "websocket") else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await refuse(error, scope, receive, send)


def _stranger(scope: Scope) -> ApiError | None:
    sent = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    keys = "with API keys (axk1 tenants add NAME) or --without-tenants other names are answered"
    host, origin = sent.get(b"host"), sent.get(b"origin")  # every browser sends a Host
    if host is not None and not is_here(f"//{host}"):
        return ApiError(f"Host = {host!r} is not this machine; {keys}", status=421, code="wrong_host")
    if origin is not None and not is_here(origin):
        return ApiError(f"Origin = {origin!r} is not this machine; {keys}", status=403, code="wrong_origin")
    return None


def is_here(address: str) -> bool:
    """Whether an address (``//host:port`` or with a scheme) is one of this machine's own."""
    try:
        name = urlsplit(address).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
