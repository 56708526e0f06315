"""How much a scope has taken in its running periods: sums of the ledger that are kept ready."""

from typing import Any

from sqlalchemy import Connection, Row, case, delete, func, insert, select, update

from axk1.serve.tenants.limits import LIMIT_NAMES, Room
from axk1.serve.tenants.periods import bounds
from axk1.serve.tenants.tables import Balance, Hold, LedgerEntry

OWNERS = ("organisation", "key")
"""The two scopes of a request, by the ledger's column that names them."""


def rooms(connection: Connection, scopes: dict[str, Row[Any]], zone: str, now: float) -> list[Room]:
    """What is left of every limit.

    Args:
        connection: a transaction of ``writing``.
        scopes: the rows of the organisation and of the key, by owner.
        zone: the organisation's time zone.
        now: the moment, in seconds since 1970.
    """
    found = []
    for owner, row in scopes.items():
        for name in LIMIT_NAMES:
            limit, (kind, period) = getattr(row, name), name.split("_per_")
            if limit is not None:
                balance = _balance(connection, owner, row.id, period, zone, now)
                used, seconds = getattr(balance, kind), balance.end - now
                found.append(Room(owner, row.id, kind, period, limit, used, balance.start, seconds))
    return found


def add(connection: Connection, scopes: tuple[str, ...], started: float, *, requests: int, tokens: int) -> None:
    """Adds to the periods in which a request counts; one that is over is left alone."""
    within = (Balance.start <= started) & (started < Balance.end)
    connection.execute(
        update(Balance)
        .where(Balance.scope.in_(scopes) & within)
        .values(requests=Balance.requests + requests, tokens=Balance.tokens + tokens)
    )


def held(connection: Connection, room: Room) -> int:
    """How much of a limit is held by requests that are still being answered."""
    if room.kind == "requests":
        return 0
    mine = (getattr(Hold, room.owner) == room.scope) & (Hold.started >= room.start)
    return int(connection.scalar(select(func.coalesce(func.sum(Hold.tokens), 0)).where(mine)))


def forget(connection: Connection, scopes: list[str]) -> None:
    """Lets balances be summed again, after a change of what they are sums of."""
    connection.execute(delete(Balance).where(Balance.scope.in_(scopes)))


def _balance(connection: Connection, owner: str, scope: str, period: str, zone: str, now: float) -> Any:
    here = (Balance.scope == scope) & (Balance.period == period)
    row = connection.execute(select(Balance.__table__).where(here)).first()
    if row is not None and row.start <= now < row.end:
        return row
    start, end = bounds(period, now, zone)
    column = getattr(LedgerEntry, owner)
    reserved = func.sum(case((LedgerEntry.step == "reserved", 1), else_=0))
    summed = select(func.coalesce(reserved, 0), func.coalesce(func.sum(LedgerEntry.tokens), 0))
    requests, tokens = connection.execute(summed.where((column == scope) & (LedgerEntry.started >= start))).one()
    if row is not None:
        connection.execute(delete(Balance).where(here))
    sums = {"requests": int(requests), "tokens": int(tokens)}
    connection.execute(insert(Balance).values(scope=scope, period=period, start=start, end=end, **sums))
    return connection.execute(select(Balance.__table__).where(here)).one()
