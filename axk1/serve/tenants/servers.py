"""Which processes answer, so that what a dead one held can be given back."""

import os
import socket
import uuid

from sqlalchemy import Connection, Row, delete, insert, select, update

from axk1.serve.tenants import ledger
from axk1.serve.tenants.tables import Hold, Server

BEAT_SECONDS = 10.0
"""How often a server says that it lives."""
SILENT_SECONDS = 60.0
"""Silence after which a server of another machine is taken for dead."""


def register(connection: Connection, *, now: float) -> str:
    """Enters this process; returns its id."""
    name = uuid.uuid4().hex
    here = {"host": socket.gethostname(), "process": os.getpid(), "seen": now}
    connection.execute(insert(Server).values(id=name, **here))
    return name


def beat(connection: Connection, server: str, *, now: float) -> None:
    """Says that this process lives, and gives back what dead ones held."""
    connection.execute(update(Server).where(Server.id == server).values(seen=now))
    recover(connection, server, now=now)


def leave(connection: Connection, server: str) -> None:
    """Strikes this process out, at its end."""
    connection.execute(delete(Server).where(Server.id == server))


def recover(connection: Connection, server: str, *, now: float) -> int:
    """Releases the reservations of servers that have died.

    What they had written of an answer nobody can count any more, so it costs nothing. Should such a server live after
    all, its settlement is still written and counts.

    Returns:
        How many were released.
    """
    known = {row.id: row for row in connection.execute(select(Server.__table__))}
    dead = [name for name, row in known.items() if name != server and _is_dead(row, now)]
    connection.execute(delete(Server).where(Server.id.in_(dead)))
    living = set(known) - set(dead)
    lost = connection.execute(select(Hold.request).where(Hold.server.not_in(living))).scalars().all()
    return sum(ledger.release(connection, request, "lost", now=now) for request in lost)


def _is_dead(row: Row, now: float) -> bool:
    if now - row.seen > SILENT_SECONDS:
        return True
    return row.host == socket.gethostname() and not _runs(row.process)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
