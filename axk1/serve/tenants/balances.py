"""How much a scope has taken in its running periods: sums of the ledger that are kept ready."""

from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, delete, func, insert, select, update

from axk1.serve.tenants.limits import LIMIT_NAMES, Room
from axk1.serve.tenants.periods import bounds
from axk1.serve.tenants.tables import Balance, Hold, LedgerEntry

OWNERS = ("organisation", "key")
"""The two scopes of a request, by the ledger's column that names them."""


_B = Balance.__table__.c
# Built once: to build a statement takes longer than to run it.
_BALANCES = select(Balance.__table__).where((_B.scope == bindparam("one")) | (_B.scope == bindparam("two")))
_ADD = (
    update(Balance.__table__)
    .where((_B.scope == bindparam("one")) | (_B.scope == bindparam("two")))
    .where((_B.start <= bindparam("started")) & (bindparam("started") < _B.end))
    .values(requests=_B.requests + bindparam("more_requests"), tokens=_B.tokens + bindparam("more_tokens"))
)


def rooms(connection: Connection, scopes: dict[str, Row[Any]], zone: str, now: float) -> list[Room]:
    """What is left of every limit.

    Args:
        connection: a transaction of ``writing``.
        scopes: the rows of the organisation and of the key, by owner.
        zone: the organisation's time zone.
        now: the moment, in seconds since 1970.
    """
    limits = [
        (owner, row, name) for owner, row in scopes.items() for name in LIMIT_NAMES if getattr(row, name) is not None
    ]
    if not limits:
        return []
    one, two = (row.id for row in scopes.values())
    kept = {(row.scope, row.period): row for row in connection.execute(_BALANCES, {"one": one, "two": two})}
    found = []
    for owner, row, name in limits:
        kind, period = name.split("_per_")
        balance = kept.get((row.id, period))
        if balance is None or not balance.start <= now < balance.end:
            balance = kept[row.id, period] = _summed(connection, owner, row.id, period, zone, now)
        used, seconds = getattr(balance, kind), balance.end - now
        found.append(Room(owner, row.id, kind, period, getattr(row, name), used, balance.start, seconds))
    return found


def add(connection: Connection, scopes: tuple[str, str], started: float, *, requests: int, tokens: int) -> None:
    """Adds to the periods in which a request counts; one that is over is left alone."""
    one, two = scopes
    more = {"more_requests": requests, "more_tokens": tokens}
    connection.execute(_ADD, {"one": one, "two": two, "started": started, **more})


def held(connection: Connection, room: Room) -> int:
    """How much of a limit is held by requests that are still being answered."""
    if room.kind == "requests":
        return 0
    mine = (getattr(Hold, room.owner) == room.scope) & (Hold.started >= room.start)
    return int(connection.scalar(select(func.coalesce(func.sum(Hold.tokens), 0)).where(mine)))


def forget(connection: Connection, scopes: list[str]) -> None:
    """Lets balances be summed again, after a change of what they are sums of."""
    connection.execute(delete(Balance).where(Balance.scope.in_(scopes)))


def _summed(connection: Connection, owner: str, scope: str, period: str, zone: str, now: float) -> Row[Any]:
    """A balance from the ledger, kept from now on: none is there, or its period is over."""
    here = (Balance.scope == scope) & (Balance.period == period)
    start, end = bounds(period, now, zone)
    column = getattr(LedgerEntry, owner)
    reserved = func.sum(case((LedgerEntry.step == "reserved", 1), else_=0))
    summed = select(func.coalesce(reserved, 0), func.coalesce(func.sum(LedgerEntry.tokens), 0))
    requests, tokens = connection.execute(summed.where((column == scope) & (LedgerEntry.started >= start))).one()
    sums = {"requests": int(requests), "tokens": int(tokens)}
    connection.execute(delete(Balance).where(here))
    connection.execute(insert(Balance).values(scope=scope, period=period, start=start, end=end, **sums))
    return connection.execute(select(Balance.__table__).where(here)).one()
