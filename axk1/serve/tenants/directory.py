"""``Directory``: the organisations and their keys, for the operator and for the server's gate."""

import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, Row, bindparam, insert, select, update

from axk1.core.config import nearest
from axk1.core.errors import ConfigError
from axk1.serve.caller import Caller
from axk1.serve.database import writing
from axk1.serve.errors import ApiError
from axk1.serve.tenants import balances, keys, ledger
from axk1.serve.tenants.limits import Limits
from axk1.serve.tenants.periods import check_zone
from axk1.serve.tenants.tables import AuditEntry, Key, Organisation

_BY_ID = select(Key.__table__).where(Key.__table__.c.id == bindparam("id"))
"""Built once: to build a statement takes longer than to run it."""


class Directory:
    """Organisations and keys. Whatever is changed here counts for the next request, in every server."""

    def __init__(self, database: Engine, *, clock: Callable[[], float] = time.time) -> None:
        """Args: database: of ``open_database``; clock: tells the time in seconds since 1970."""
        self._database, self._clock = database, clock

    def authenticate(self, key: bytes) -> tuple[Caller, bool]:
        """Whose key this is, and whether it is only for metrics.

        Raises:
            ApiError: status 401; it is no key, or a revoked one.
        """
        name = keys.id_of(key)
        with self._database.connect() as connection:
            found = connection.execute(_BY_ID, {"id": name}).first() if name else None
        if found is None or not keys.matches(key, found.sha256):
            raise unauthorized("this API key is not known here")
        if found.revoked is not None:
            raise unauthorized("this API key has been revoked")
        return Caller(tenant=found.organisation, key=found.id), found.metrics_only

    def add(self, name: str, *, time_zone: str, keep_text: bool = False, limits: Limits = Limits()) -> str:  # noqa: B008
        """Adds an organisation; returns its id. Raises ConfigError where the name is taken."""
        check_zone(time_zone)
        if not name.strip() or not name.isprintable() or len(name) > 100:
            raise ConfigError(f"organisation = {name!r} is not allowed; allowed: 1 to 100 printable characters")
        fresh = f"org_{uuid.uuid4().hex[:16]}"
        with writing(self._database) as connection:
            if connection.scalar(select(Organisation.id).where(Organisation.name == name)) is not None:
                raise ConfigError(f"organisation = {name!r} exists already", repair=f"axk1 tenants limit {name!r}")
            row = {"id": fresh, "name": name, "time_zone": time_zone, "keep_text": keep_text, "created": self._clock()}
            connection.execute(insert(Organisation).values(**row, **asdict(limits)))
            ledger.note(connection, "organisation added", fresh, self._clock(), detail=name)
        return fresh

    def add_key(
        self,
        organisation: str,
        *,
        name: str = "",
        metrics_only: bool = False,
        limits: Limits = Limits(),  # noqa: B008
    ) -> tuple[str, str]:
        """Makes a key; returns its id and its text, which is kept nowhere."""
        fresh, text = keys.new_key()
        with writing(self._database) as connection:
            owner = self._organisation(connection, organisation).id
            row = {"id": fresh, "organisation": owner, "name": name, "metrics_only": metrics_only}
            row |= {"sha256": keys.sha256(text), "created": self._clock(), **asdict(limits)}
            connection.execute(insert(Key).values(**row))
            ledger.note(connection, "key made", owner, self._clock(), key=fresh, detail=name)
        return fresh, text

    def revoke(self, key: str) -> str:
        """Ends a key, by its id or its whole text, for good; returns its id."""
        with writing(self._database) as connection:
            row = self._key(connection, key)
            if row.revoked is None:
                connection.execute(update(Key).where(Key.id == row.id).values(revoked=self._clock()))
                ledger.note(connection, "key revoked", row.organisation, self._clock(), key=row.id)
        return row.id

    def move(self, key: str, organisation: str) -> None:
        """Gives a key to another organisation. What it has taken stays on the old one's account, its own limits and
        what it has used of them stay with the key."""
        with writing(self._database) as connection:
            row, owner = self._key(connection, key), self._organisation(connection, organisation)
            connection.execute(update(Key).where(Key.id == row.id).values(organisation=owner.id))
            balances.forget(connection, [row.id])  # the new owner's day may begin at another hour
            ledger.note(connection, "key moved away", row.organisation, self._clock(), key=row.id)
            ledger.note(connection, "key moved here", owner.id, self._clock(), key=row.id)

    def change(self, name: str, **columns: Any) -> None:
        """Changes columns of an organisation (by name) or of a key (by id): limits, time_zone, keep_text.

        With ``keep_text`` false, the texts that were kept are deleted.
        """
        if "time_zone" in columns:
            check_zone(columns["time_zone"])
        with writing(self._database) as connection:
            table, row = self._find(connection, name)
            unknown = set(columns) - set(table.__table__.columns.keys())
            if unknown:
                raise ConfigError(f"{', '.join(sorted(unknown))} belongs to an organisation; {name!r} is a key")
            connection.execute(update(table).where(table.id == row.id).values(**columns))
            if table is Organisation:
                self._after_change(connection, row.id, columns)
            owner, key = (row.id, "") if table is Organisation else (row.organisation, row.id)
            detail = ", ".join(f"{column} = {value}" for column, value in columns.items())
            ledger.note(connection, "changed", owner, self._clock(), key=key, detail=detail)

    def find(self, organisation: str) -> str:
        """The id of an organisation, by its name or id. Raises ConfigError where there is none."""
        with self._database.connect() as connection:
            return self._organisation(connection, organisation).id

    def time_zone(self, organisation: str) -> ZoneInfo:
        """Where an organisation is. Args: organisation: its id or name. Raises ConfigError where there is none."""
        with self._database.connect() as connection:
            return ZoneInfo(self._organisation(connection, organisation).time_zone)

    def organisations(self) -> list[Row[Any]]:
        """All of them, by name."""
        with self._database.connect() as connection:
            return list(connection.execute(select(Organisation.__table__).order_by(Organisation.name)))

    def keys(self) -> list[Row[Any]]:
        """All keys, the oldest first."""
        with self._database.connect() as connection:
            return list(connection.execute(select(Key.__table__).order_by(Key.created)))

    def _after_change(self, connection: Connection, organisation: str, columns: dict[str, Any]) -> None:
        if "time_zone" in columns:  # its days begin at another hour
            mine = connection.execute(select(Key.id).where(Key.organisation == organisation)).scalars()
            balances.forget(connection, [organisation, *mine])
        if columns.get("keep_text") is False:
            kept = update(AuditEntry).where(AuditEntry.organisation == organisation)
            connection.execute(kept.values(text=None))

    def _find(self, connection: Connection, name: str) -> tuple[type[Organisation] | type[Key], Row[Any]]:
        row = connection.execute(select(Key.__table__).where(Key.id == name)).first()
        return (Key, row) if row is not None else (Organisation, self._organisation(connection, name))

    def _organisation(self, connection: Connection, name: str) -> Row[Any]:
        here = (Organisation.name == name) | (Organisation.id == name)
        row = connection.execute(select(Organisation.__table__).where(here)).first()
        if row is None:
            near = nearest(name, list(connection.execute(select(Organisation.name)).scalars()))
            raise ConfigError(
                f"organisation = {name!r} does not exist{near}",
                repair=f"axk1 tenants add {name!r}, or axk1 tenants list",
            )
        return row

    def _key(self, connection: Connection, name: str) -> Row[Any]:
        """A key by its id, or by its whole text for whoever has nothing else."""
        found = keys.id_of(name.encode()) or name
        row = connection.execute(select(Key.__table__).where(Key.id == found)).first()
        if row is None:
            raise ConfigError(f"key = {name!r} does not exist", repair="axk1 tenants list")
        return row


def unauthorized(message: str) -> ApiError:
    """Status 401 in OpenAI's form."""
    told = f"{message}; send Authorization: Bearer with a key from whoever runs this server"
    return ApiError(told, status=401, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
