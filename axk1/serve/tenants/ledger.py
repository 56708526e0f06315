"""The ledger: reserve what a request may take at most, settle what it has taken, release what it never got.

Each function is a step inside a transaction of ``writing``, which nobody else writes beside; so two servers on one
database cannot hand out the same tokens. A step that has been made is not made again: all are known by the request.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select

from axk1.serve.errors import ApiError
from axk1.serve.tenants import balances
from axk1.serve.tenants.limits import Room, refusal
from axk1.serve.tenants.periods import day_of
from axk1.serve.tenants.tables import AuditEntry, Hold, Key, LedgerEntry, Organisation

# Built once: to build a statement takes longer than to run it.
_KEY = select(Key.__table__).where(Key.__table__.c.id == bindparam("id"))
_ORGANISATION = select(Organisation.__table__).where(Organisation.__table__.c.id == bindparam("id"))
_L = LedgerEntry.__table__.c
_STEPS = select(LedgerEntry.__table__).where(_L.request == bindparam("request")).order_by(_L.id)
_ADD_ENTRY, _ADD_HOLD = insert(LedgerEntry.__table__), insert(Hold.__table__)
_DROP_HOLD = delete(Hold.__table__).where(Hold.__table__.c.request == bindparam("of_request"))
_ADD_NOTE = insert(AuditEntry.__table__)


@dataclass(frozen=True)
class Need:
    """A request, and the tokens that it may take."""

    request: str
    """Its id, unlike that of any other request."""
    key: str
    """Id of the key that asks."""
    model: str
    route: str
    prompt: int
    """Tokens of the prompt at most."""
    answer: int | None
    """Tokens of the answers at most; None: as many as there are."""
    choices: int = 1
    """Answers that are asked for."""
    flexible: bool = False
    """Whether answers may be cut to what the limits leave."""


@dataclass(frozen=True)
class Grant:
    """A reservation."""

    answer: int | None
    """Tokens that the answers may take together; None: any number."""
    rooms: tuple[Room, ...]
    """The limits, after it."""
    keep_text: bool
    """Whether the organisation wants texts in the audit log."""


@dataclass(frozen=True)
class Usage:
    """What a request has taken, in tokens."""

    prompt: int
    cached: int
    completion: int
    estimated: bool = False
    """Counted here, since whoever answered did not tell."""


def reserve(connection: Connection, need: Need, *, server: str, now: float) -> Grant | ApiError:
    """Holds what a request may take. Returns the refusal where it does not fit a limit."""
    key, organisation = key_and_organisation(connection, need.key)
    if key is None or key.revoked is not None:
        return ApiError("this API key has been revoked", status=401, code="invalid_api_key")
    scopes = {"organisation": organisation, "key": key}
    rooms = balances.rooms(connection, scopes, organisation.time_zone, now)
    if _steps(connection, need.request):
        return Grant(need.answer, tuple(rooms), organisation.keep_text)
    answer = _answer(need, rooms)
    wanted = need.prompt + (need.choices if answer is None else answer)
    for room in rooms:
        amount = 1 if room.kind == "requests" else wanted
        if room.used + amount > room.limit:
            return refusal(room, amount, balances.held(connection, room), rooms)
    held = need.prompt + (answer or 0)
    mine = {"request": need.request, "organisation": organisation.id, "key": key.id, "started": now, "tokens": held}
    when = {"day": day_of(now, organisation.time_zone), "written": now}
    what = {"step": "reserved", "model": need.model, "route": need.route}
    connection.execute(_ADD_ENTRY, {**mine, **when, **what})
    connection.execute(_ADD_HOLD, {**mine, "server": server})
    if rooms:
        balances.add(connection, (organisation.id, key.id), now, requests=1, tokens=held)
    after = tuple(_after(room, held) for room in rooms)
    return Grant(answer, after, organisation.keep_text)


def settle(
    connection: Connection, request: str, usage: Usage, outcome: str, *, now: float, text: str | None = None
) -> bool:
    """Writes what a request has taken in place of what was held.

    Args:
        connection: a transaction of ``writing``.
        request: its id.
        usage: what it has taken.
        outcome: done, left or failed.
        now: the moment, in seconds since 1970.
        text: JSON of what was asked and answered, for the audit log.

    Returns:
        Whether this was the first time; otherwise nothing was done.
    """
    steps = _steps(connection, request)
    if not steps or any(step.step == "settled" for step in steps):
        return False
    taken = {"prompt_tokens": usage.prompt, "cached_tokens": usage.cached, "completion_tokens": usage.completion}
    total = usage.prompt + usage.completion
    _close(connection, steps, "settled", total, now, outcome=outcome, estimated=usage.estimated, **taken)
    detail = f"{steps[0].route} {steps[0].model}: {outcome}, {usage.prompt} + {usage.completion} tokens"
    note(connection, "request", steps[0].organisation, now, key=steps[0].key, request=request, detail=detail, text=text)
    return True


def release(connection: Connection, request: str, outcome: str, *, now: float) -> bool:
    """Gives back all that a request holds: refused by the model's service, or lost with its server.

    Returns:
        Whether it held something.
    """
    steps = _steps(connection, request)
    if not steps or len(steps) > 1:
        return False
    _close(connection, steps, "released", 0, now, outcome=outcome)
    first = steps[0]
    detail = f"{first.route} {first.model}: {outcome}"
    note(connection, "request", first.organisation, now, key=first.key, request=request, detail=detail)
    return True


def note(
    connection: Connection,
    event: str,
    organisation: str,
    now: float,
    *,
    key: str = "",
    request: str = "",
    detail: str = "",
    text: str | None = None,
) -> None:
    """Adds to the audit log."""
    values = {"key": key, "request": request, "detail": detail, "text": text}
    connection.execute(_ADD_NOTE, {"at": now, "event": event, "organisation": organisation, **values})


def key_and_organisation(connection: Connection, key: str) -> tuple[Row[Any] | None, Row[Any] | None]:
    """The rows of a key and of its organisation; None where there is no such key."""
    row = connection.execute(_KEY, {"id": key}).first()
    if row is None:
        return None, None
    return row, connection.execute(_ORGANISATION, {"id": row.organisation}).one()


def _answer(need: Need, rooms: list[Room]) -> int | None:
    """How many tokens the answers get: what was asked for, or what there is where they may be cut."""
    left = min((room.remaining for room in rooms if room.kind == "tokens"), default=None)
    if left is None or (need.answer is not None and need.prompt + need.answer <= left):
        return need.answer
    if not need.flexible:
        return need.answer if need.answer is not None else left + 1  # more than there is
    return max((left - need.prompt) // need.choices, 1) * need.choices


def _after(room: Room, tokens: int) -> Room:
    more = 1 if room.kind == "requests" else tokens
    return Room(**{**vars(room), "used": room.used + more})


def _steps(connection: Connection, request: str) -> list[Row[Any]]:
    return list(connection.execute(_STEPS, {"request": request}))


def _close(connection: Connection, steps: list[Row[Any]], step: str, total: int, now: float, **columns: Any) -> None:
    """Brings the account of a request to ``total`` tokens."""
    first = steps[0]
    change = total - sum(each.tokens for each in steps)
    same = {name: getattr(first, name) for name in ("request", "organisation", "key", "model", "route", "day")}
    entry = {**same, "started": first.started, "written": now, "step": step, "tokens": change}
    connection.execute(_ADD_ENTRY, {**entry, **columns})
    connection.execute(_DROP_HOLD, {"of_request": first.request})
    balances.add(connection, (first.organisation, first.key), first.started, requests=0, tokens=change)
