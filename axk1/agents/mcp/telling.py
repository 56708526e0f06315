"""What a client hears while a call is under way: progress, where it gave a token, and log messages.

Since 2026-07-28 a request itself says from which level on it wants to hear; before, ``logging/setLevel`` did, and a
client that has not called it hears from ``info`` on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, get_args

import mcp_types as types
from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from axk1.agents.mcp.connection_state import state_of
from axk1.agents.tool import Report

LOGGER = "axk1"
_LEVELS = get_args(types.LoggingLevel)
_LEVEL = "axk1.log_level"
_MOST_WAITING = 1000
"""Notes that wait for a slow client; more are left out."""
_USUAL: types.LoggingLevel = "info"
Context = ServerRequestContext[Any, Any]


async def set_level(context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    """``logging/setLevel``, for the connection."""
    state_of(context)[_LEVEL] = params.level
    return types.EmptyResult()


@contextlib.asynccontextmanager
async def telling(context: Context) -> AsyncIterator[Report]:
    """A ``Report`` for one request. What was said is on its way when the block ends, so before the result."""
    notes: asyncio.Queue[tuple[str, float | None, float | None] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def report(text: str, *, done: float | None = None, total: float | None = None) -> None:
        if notes.qsize() >= _MOST_WAITING:
            return
        with contextlib.suppress(RuntimeError):  # a thread that outlives the loop has nobody to tell
            loop.call_soon_threadsafe(notes.put_nowait, (text, done, total))

    sending = asyncio.create_task(_send(context, notes))
    try:
        yield report
        await asyncio.sleep(0)  # notes of other threads arrive
        notes.put_nowait(None)
        await sending
    finally:
        sending.cancel()


async def _send(context: Context, notes: asyncio.Queue[tuple[str, float | None, float | None] | None]) -> None:
    reached = -1.0
    while (note := await notes.get()) is not None:
        text, done, total = note
        with contextlib.suppress(Exception):  # who no longer listens must not end the work
            if done is not None and done > reached:  # it must grow
                reached = done
                await context.session.report_progress(done, total, text)
            if _hears(context):
                params = types.LoggingMessageNotificationParams(level=_USUAL, logger=LOGGER, data=text)
                message = types.LoggingMessageNotification(params=params)
                await context.session.send_notification(message, related_request_id=context.request_id)


def _hears(context: Context) -> bool:
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return _USUAL in allowed_log_levels(context.protocol_version, context.meta)
    return _LEVELS.index(state_of(context).get(_LEVEL, _USUAL)) <= _LEVELS.index(_USUAL)
