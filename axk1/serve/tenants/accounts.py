"""``Accounts``: the ledger for an event loop. What it is asked is written by a thread, for many requests at once."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from axk1.serve.errors import ApiError
from axk1.serve.tenants import ledger, servers
from axk1.serve.tenants.ledger import Grant, Need, Usage
from axk1.serve.tenants.writer import Writer

_SECONDS_TO_RESERVE = 3.0
"""How long a request waits for a database that is away."""
_SECONDS_TO_SETTLE = 120.0
"""How long what has been taken is tried to be written, while a database fails over."""


class Accounts:
    """Reserves and settles on behalf of this process."""

    def __init__(self, database: Engine, *, clock: Callable[[], float] = time.time) -> None:
        """Args: database: of ``open_database``; clock: tells the time in seconds since 1970."""
        self._clock, self._server = clock, ""
        self._writer = Writer(database, beat=self._beat, every=servers.BEAT_SECONDS)

    async def start(self) -> int:
        """Enters this process and releases what dead ones held; returns how many reservations that were."""

        def enter(connection: Connection) -> int:
            self._server = servers.register(connection, now=self._clock())
            return servers.recover(connection, self._server, now=self._clock())

        self._writer.start()
        return await asyncio.wrap_future(self._writer.submit(enter, patience=_SECONDS_TO_RESERVE))

    async def stop(self) -> None:
        """Writes what is left and strikes this process out."""
        self._write(lambda connection: servers.leave(connection, self._server))
        await asyncio.to_thread(self._writer.stop)

    async def reserve(self, need: Need) -> Grant | ApiError:
        """Holds what a request may take, or says why not. Raises ApiError, 503, where the database is away."""
        written = self._writer.submit(
            lambda connection: ledger.reserve(connection, need, server=self._server, now=self._clock()),
            patience=_SECONDS_TO_RESERVE,
            lazily=True,  # a power cut that loses it loses the answer as well, which then costs nothing
        )
        try:
            return await durable(written)
        except asyncio.CancelledError:
            self.release(need.request, "left")
            raise

    def settle(self, request: str, usage: Usage, outcome: str, text: str | None = None) -> Future[Any]:
        """Writes what a request has taken; the future is done when that is on disk."""
        now = self._clock()
        return self._write(lambda connection: ledger.settle(connection, request, usage, outcome, now=now, text=text))

    def release(self, request: str, outcome: str) -> Future[Any]:
        """Gives back what a request holds."""
        now = self._clock()
        return self._write(lambda connection: ledger.release(connection, request, outcome, now=now))

    def note(self, event: str, organisation: str, **fields: str) -> None:
        """Adds to the audit log, soon."""
        now = self._clock()
        self._write(lambda connection: ledger.note(connection, event, organisation, now, **fields))

    def _write(self, job: Callable[[Connection], Any]) -> Future[Any]:
        return self._writer.submit(job, patience=_SECONDS_TO_SETTLE)

    def _beat(self, connection: Connection) -> None:
        servers.beat(connection, self._server, now=self._clock())


async def durable(written: Future[Any]) -> Any:
    """Waits until something is on disk; raises ApiError, 503, where it cannot be written."""
    try:
        return await asyncio.wrap_future(written)
    except SQLAlchemyError as error:
        message = "usage cannot be written, and nothing is answered that is not on the meter"
        raise ApiError(message, status=503, code="metering_unavailable", headers={"Retry-After": "5"}) from error
