"""``Caller``: on whose behalf a request runs."""

from dataclasses import dataclass, field, replace

from starlette.requests import HTTPConnection


@dataclass(frozen=True)
class Caller:
    """Who asks. What one tenant stores, no other tenant can find."""

    tenant: str
    """The organisation's id; empty where no tenants are configured."""
    key: str
    """The id of its API key; empty where no tenants are configured."""
    request_id: str = field(default="", compare=False)
    """What logs call this request."""


ANYBODY = Caller(tenant="", key="")
"""The only caller of a server without tenants."""


def caller_of(connection: HTTPConnection) -> Caller:
    """The caller of a request or WebSocket, as the server's gate has found it."""
    caller = getattr(connection.state, "caller", ANYBODY)
    return replace(caller, request_id=getattr(connection.state, "request_id", ""))
