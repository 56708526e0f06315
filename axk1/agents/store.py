"""``RunStore``: runs, their steps and the journal of their calls in the server's database, each tenant's apart.

All that changes goes through ``record``: one transaction that first looks whether the writer still holds the run's
lease. What a process had not recorded when it died has not happened; what it recorded has, for every process.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Connection, Engine, ForeignKey, Row, String, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from axk1.agents.audit import sealed
from axk1.agents.lease import is_dead
from axk1.agents.limits import Limits, Usage
from axk1.agents.run import Call, CallState, NoSuchRun, Question, Run, RunBusy, Status, Step
from axk1.serve.database import Table, writing


class StoredRun(Table):
    """A run without its history."""

    __tablename__ = "agent_runs"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    key: Mapped[str]
    goal: Mapped[str]
    language: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[str]
    workspace: Mapped[str]
    tools: Mapped[list[str]] = mapped_column(JSON)
    limits: Mapped[dict[str, Any]] = mapped_column(JSON)
    usage: Mapped[dict[str, Any]] = mapped_column(JSON)
    answer: Mapped[str | None]
    question: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    nonce: Mapped[str]
    cancelled: Mapped[bool]
    host: Mapped[str]
    owner: Mapped[str | None]
    """Who works on it."""
    owned_until: Mapped[float]
    """When the lease ends, in seconds since 1970."""


class StoredStep(Table):
    """A step. Rows are only ever added."""

    __tablename__ = "agent_steps"

    run_id: Mapped[str] = mapped_column(ForeignKey("agent_runs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    at: Mapped[str]
    tool: Mapped[str | None]
    call_id: Mapped[str | None]
    arguments: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    content: Mapped[Any] = mapped_column(JSON, nullable=True)
    message: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    by: Mapped[str]
    digest: Mapped[str]


class StoredCall(Table):
    """A call of a tool: what was wanted, how far it came, what came out."""

    __tablename__ = "agent_calls"

    run_id: Mapped[str] = mapped_column(ForeignKey("agent_runs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[str]
    tool: Mapped[str]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str]
    at: Mapped[str]
    digest: Mapped[str]
    preview: Mapped[str]
    expires_at: Mapped[str | None]
    content: Mapped[Any] = mapped_column(JSON, nullable=True)
    files: Mapped[list[str]] = mapped_column(JSON)
    undo: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    untrusted: Mapped[bool]


@dataclass(frozen=True)
class Lease:
    """The right to work on a run."""

    run_id: str
    owner: str
    seconds: float
    """How long it lasts without being renewed."""


class RunStore:
    """The runs of all tenants. Its methods wait for the database, so event loops call them in a thread."""

    def __init__(self, database: Engine) -> None:
        """Args: database: of ``serve.database.open_database``."""
        self._database = database

    def create(self, run: Run, steps: Sequence[Step]) -> None:
        """Keeps a new run with its first steps."""
        with writing(self._database) as connection:
            connection.execute(insert(StoredRun).values(**_run_row(run), owner=None, owned_until=0.0))
            _add_steps(connection, run.id, steps)

    def run(self, tenant: str, run_id: str) -> Run:
        """A tenant's run with its whole history. Raises NoSuchRun."""
        with self._database.connect() as connection:
            return self._whole(connection, tenant, run_id)

    def runs(self, tenant: str, *, limit: int = 20, before: str | None = None) -> list[Run]:
        """A tenant's runs without their histories, the newest first. Args: before: only those older than this one."""
        asked = select(StoredRun.__table__).where(StoredRun.tenant == tenant)
        with self._database.connect() as connection:
            if before is not None:
                other = self._row(connection, tenant, before)
                asked = asked.where(StoredRun.created_at < other.created_at)
            rows = connection.execute(asked.order_by(StoredRun.created_at.desc(), StoredRun.id).limit(limit))
            return [_run(row, (), ()) for row in rows]

    def steps(self, tenant: str, run_id: str, *, after: int = 0) -> tuple[Status, list[Step]]:
        """Where a run stands, and its steps behind a number. Raises NoSuchRun."""
        with self._database.connect() as connection:
            status = Status(self._row(connection, tenant, run_id).status)
            return status, _steps(connection, run_id, after)

    def unfinished(self, host: str) -> list[Run]:
        """Runs of all tenants that are at work, or were when their process died; without their histories.

        Args:
            host: those that such a program began.
        """
        asked = select(StoredRun.__table__).where(StoredRun.status == Status.RUNNING, StoredRun.host == host)
        with self._database.connect() as connection:
            rows = connection.execute(asked.order_by(StoredRun.created_at)).all()
        return [_run(row, (), ()) for row in rows if _is_free(row)]

    def take(self, tenant: str, run_id: str, owner: str, seconds: float) -> Lease:
        """The lease of a run. Raises RunBusy while somebody else holds it, NoSuchRun where there is none."""
        with writing(self._database) as connection:
            row = self._row(connection, tenant, run_id)
            if not _is_free(row):
                raise RunBusy(f"another process works on the run {run_id}", repair=f"try again in {seconds:.0f} s")
            held = {"owner": owner, "owned_until": time.time() + seconds}
            connection.execute(update(StoredRun).where(StoredRun.id == run_id).values(**held))
        return Lease(run_id, owner, seconds)

    def renew(self, lease: Lease) -> None:
        """Holds the lease longer. Raises RunBusy where it is lost."""
        with writing(self._database, lazily=True) as connection:
            self._hold(connection, lease)

    def leave(self, lease: Lease) -> None:
        """Gives the lease back, if it is still held."""
        mine = update(StoredRun).where(StoredRun.id == lease.run_id, StoredRun.owner == lease.owner)
        with writing(self._database) as connection:
            connection.execute(mine.values(owner=None, owned_until=0.0))

    def record(
        self,
        lease: Lease,
        *,
        steps: Sequence[Step] = (),
        calls: Sequence[Call] = (),
        leave: bool = False,
        **changed: Any,
    ) -> Run:
        """Writes what happened, all of it or nothing, and returns the run as it stands then.

        Args:
            lease: the writer's; RunBusy is raised, and nothing written, where it is lost.
            steps: added to the history; their numbers and digests are given here.
            calls: new ones, and known ones in a new state.
            leave: give the lease back with it.
            changed: fields of the run: ``status``, ``answer``, ``question``, ``usage``.
        """
        with writing(self._database) as connection:
            row = self._hold(connection, lease, leave=leave)
            _add_steps(connection, lease.run_id, steps)
            for call in calls:
                _put_call(connection, lease.run_id, call)
            if changed:
                values = {name: _plain(value) for name, value in changed.items()}
                connection.execute(update(StoredRun).where(StoredRun.id == lease.run_id).values(**values))
            return self._whole(connection, row.tenant, lease.run_id)

    def cancel(self, tenant: str, run_id: str) -> None:
        """Asks for the end of a run, whoever works on it. Raises NoSuchRun."""
        with writing(self._database) as connection:
            self._row(connection, tenant, run_id)
            connection.execute(update(StoredRun).where(StoredRun.id == run_id).values(cancelled=True))

    def _hold(self, connection: Connection, lease: Lease, *, leave: bool = False) -> Row[Any]:
        row = connection.execute(select(StoredRun.__table__).where(StoredRun.id == lease.run_id)).one()
        if row.owner != lease.owner:
            raise RunBusy(f"the run {lease.run_id} was taken over by another process")
        held = {"owner": None, "owned_until": 0.0} if leave else {"owned_until": time.time() + lease.seconds}
        connection.execute(update(StoredRun).where(StoredRun.id == lease.run_id).values(**held))
        return row

    def _row(self, connection: Connection, tenant: str, run_id: str) -> Row[Any]:
        asked = select(StoredRun.__table__).where(StoredRun.id == run_id, StoredRun.tenant == tenant)
        row = connection.execute(asked).one_or_none()
        if row is None:
            raise NoSuchRun(f"there is no run {run_id!r}", repair="axk1 agent list")
        return row

    def _whole(self, connection: Connection, tenant: str, run_id: str) -> Run:
        row = self._row(connection, tenant, run_id)
        asked = select(StoredCall.__table__).where(StoredCall.run_id == run_id).order_by(StoredCall.number)
        calls = [_call(call) for call in connection.execute(asked)]
        return _run(row, _steps(connection, run_id, 0), calls)


def _is_free(row: Row[Any]) -> bool:
    return row.owner is None or row.owned_until < time.time() or is_dead(row.owner)


def _add_steps(connection: Connection, run_id: str, steps: Sequence[Step]) -> None:
    last = select(StoredStep.number, StoredStep.digest).where(StoredStep.run_id == run_id)
    found = connection.execute(last.order_by(StoredStep.number.desc()).limit(1)).one_or_none()
    number, before = (0, "") if found is None else found
    for step in steps:
        number += 1
        step = sealed(run_id, replace(step, number=number), before)
        values = {field: getattr(step, field) for field in _STEP_FIELDS} | {"at": step.at.isoformat()}
        connection.execute(insert(StoredStep).values(run_id=run_id, **values))
        before = step.digest


def _put_call(connection: Connection, run_id: str, call: Call) -> None:
    values = {field: getattr(call, field) for field in _CALL_FIELDS}
    expires_at = call.expires_at.isoformat() if call.expires_at else None
    values |= {"at": call.at.isoformat(), "expires_at": expires_at, "files": list(call.files)}
    known = update(StoredCall).where(StoredCall.run_id == run_id, StoredCall.number == call.number)
    if connection.execute(known.values(**values)).rowcount == 0:
        connection.execute(insert(StoredCall).values(run_id=run_id, **values))


def _run_row(run: Run) -> dict[str, Any]:
    return {field: _plain(getattr(run, field)) for field in _RUN_FIELDS}


def _plain(value: Any) -> Any:
    if isinstance(value, Limits | Usage):
        return {name: None if number == float("inf") else number for name, number in asdict(value).items()}
    if isinstance(value, Question):
        return value.to_wire()
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _run(row: Row[Any], steps: Sequence[Step], calls: Sequence[Call]) -> Run:
    values: Mapping[str, Any] = {field: getattr(row, field) for field in _RUN_FIELDS}
    limits = {name: float("inf") if number is None else number for name, number in row.limits.items()}
    read = {
        "status": Status(row.status),
        "created_at": datetime.fromisoformat(row.created_at),
        "limits": Limits(**limits),
        "usage": Usage(**row.usage),
        "question": Question(**row.question) if row.question else None,
    }
    return Run(**{**values, **read}, steps=steps, calls=calls)


def _steps(connection: Connection, run_id: str, after: int) -> list[Step]:
    asked = select(StoredStep.__table__).where(StoredStep.run_id == run_id, StoredStep.number > after)
    rows = connection.execute(asked.order_by(StoredStep.number))
    return [
        Step(**{field: getattr(row, field) for field in _STEP_FIELDS} | {"at": datetime.fromisoformat(row.at)})
        for row in rows
    ]


def _call(row: Row[Any]) -> Call:
    values = {field: getattr(row, field) for field in _CALL_FIELDS}
    expires_at = datetime.fromisoformat(row.expires_at) if row.expires_at else None
    at = datetime.fromisoformat(row.at)
    return Call(**values | {"state": CallState(row.state), "at": at, "expires_at": expires_at})


_RUN_FIELDS = tuple(name for name in Run.__dataclass_fields__ if name not in ("steps", "calls"))
_STEP_FIELDS = tuple(Step.__dataclass_fields__)
_CALL_FIELDS = tuple(Call.__dataclass_fields__)
