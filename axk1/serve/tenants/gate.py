"""``Gate``: lets in who has a key, and tells the routes who it is. For HTTP and WebSocket alike."""

import asyncio
import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from axk1.serve.caller import Caller
from axk1.serve.errors import ApiError, as_api_error, refuse
from axk1.serve.tenants.directory import Directory, unauthorized

_BEARER = re.compile(rb"bearer +(\S+)", re.IGNORECASE)
_KEY_FIELDS = {"key", "api_key", "apikey", "api-key", "token", "access_token", "authorization", "bearer"}
_FORWARDED = {b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"}
METRICS = "/metrics"


class Gate:
    """ASGI middleware: ``Authorization: Bearer KEY`` -> ``connection.state.caller``, or 401 in OpenAI's form.

    ``/metrics`` tells of all tenants together. It takes a key made for it alone, or a client on this machine that no
    proxy speaks for; a tenant's key does not open it.
    """

    def __init__(self, app: ASGIApp, directory: Directory, open_paths: Iterable[str] = ()) -> None:
        """Args: app: what is behind the gate; directory: whose keys open it; open_paths: for which none is needed."""
        self._app, self._directory, self._open = app, directory, frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or (scope["type"] == "http" and scope["path"] in self._open):
            await self._app(scope, receive, send)
            return
        try:
            caller = await self._admit(scope)
        except Exception as error:
            await refuse(as_api_error(error), scope, receive, send)
            return
        scope["state"] = {**scope.get("state", {}), "caller": caller}
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Caller:
        _require_no_key_in(scope["query_string"])
        metrics = scope["path"] == METRICS
        if metrics and _is_local(scope):
            return Caller(tenant="", key="")
        key = _key_of(scope)
        caller, metrics_only = await asyncio.to_thread(self._directory.authenticate, key)
        if metrics_only != metrics:
            opens = METRICS if metrics_only else f"everything but {METRICS}"
            raise ApiError(f"this API key opens {opens}", status=403, code="wrong_key")
        return caller


def _key_of(scope: Scope) -> bytes:
    values = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if not values:
        raise unauthorized("no API key was sent")
    if len(values) > 1:  # two readers might each believe another one
        raise unauthorized("more than one Authorization header was sent")
    found = _BEARER.fullmatch(values[0].strip(b" \t"))
    if found is None:
        raise unauthorized("the Authorization header is not Bearer and a key")
    return found[1]


def _require_no_key_in(query: bytes) -> None:
    """Addresses are logged and remembered in many places; a key must not be in one, even beside a good header."""
    fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if any(name.strip().lower() in _KEY_FIELDS or "axk1_" in value.lower() for name, value in fields):
        raise unauthorized("keys are not taken from the address, where they end in logs")


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    if client is None or any(name.lower() in _FORWARDED for name, _ in scope["headers"]):
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
