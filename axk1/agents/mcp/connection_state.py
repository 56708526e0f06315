"""What is kept with a client's connection, in the protocols before 2026-07-28; the newest has no connections."""

from collections.abc import Callable
from typing import Any

from mcp.server.context import ServerRequestContext


def state_of(context: ServerRequestContext[Any, Any]) -> dict[str, Any]:
    """What was kept so far; it goes with the connection."""
    return context.session._connection.state  # the SDK's place for it, to which there is no public way yet


def at_its_end(context: ServerRequestContext[Any, Any], clean: Callable[[], Any]) -> None:
    """Calls ``clean`` when the connection ends."""
    context.session._connection.exit_stack.callback(clean)
