"""The server's database: SQLite in a file by default, PostgreSQL by URL."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from axk1.core.config import require
from axk1.core.errors import ConfigError

DEFAULT_URL = "sqlite:///out/axk1.db"
"""Beside the models that the recipes make."""
SCHEMA_VERSION = 1
"""Grows with every change of a table that exists already."""
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_WRITERS_LOCK = 4_215_190_519
"""Number of the lock that writers of a PostgreSQL take; any number will do, as long as all take the same."""


class Table(DeclarativeBase):
    """Base of every table of the server."""


class Schema(Table):
    """One row: with which shape the tables were made."""

    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(primary_key=True)


def open_database(url: str = DEFAULT_URL) -> Engine:
    """Connects and makes the tables that are missing.

    Args:
        url: SQLAlchemy's address, such as ``sqlite:///axk1.db`` or ``postgresql://user:password@host/name``.

    Raises:
        ConfigError: the address is none, nobody answers there, or a newer version made the tables.
    """
    shown = url
    try:
        address = _address(url)
        shown = address.render_as_string()  # without the password
        if address.get_backend_name() == "sqlite" and address.database:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        is_file = address.get_backend_name() == "sqlite"
        database = create_engine(address, pool_pre_ping=not is_file)  # a file does not go away
        if is_file:
            event.listen(database, "connect", _set_up_sqlite)
        _make_tables(database)
    except (ArgumentError, NoSuchModuleError, SQLAlchemyError, OSError) as error:
        raise ConfigError(f"database = {shown} cannot be opened: {error}") from error
    return database


@contextlib.contextmanager
def writing(database: Engine, *, lazily: bool = False) -> Iterator[Connection]:
    """A transaction that nobody else writes beside, in whatever process; what it reads stays true until its end.

    Args:
        database: of ``open_database``.
        lazily: do not wait for the disk. What is written outlives this process at once, but not a power cut before
            somebody else waits; then the disk has it as well, since it keeps their order.
    """
    with database.connect() as connection, _durability(connection, lazily=lazily), connection.begin():
        if database.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            if lazily:
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
            connection.execute(select(func.pg_advisory_xact_lock(_WRITERS_LOCK)))
        yield connection


@contextlib.contextmanager
def _durability(connection: Connection, *, lazily: bool) -> Iterator[None]:
    """SQLite takes it for a connection, before a transaction begins; others share that connection afterwards."""
    if not lazily or connection.dialect.name != "sqlite":
        yield
        return
    file = connection.connection.driver_connection
    file.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        file.execute("PRAGMA synchronous = FULL")


def _address(url: str) -> URL:
    address = make_url(url)
    address = address.set(drivername=_DRIVERS.get(address.drivername, address.drivername))
    known = address.get_backend_name() in ("sqlite", "postgresql")
    require(known, "database", address.render_as_string(), "an address that begins with sqlite:/// or postgresql://")
    return address


def _make_tables(database: Engine) -> None:
    with writing(database) as connection:
        Table.metadata.create_all(connection)
        made = connection.scalar(select(Schema.version))
        if made is None:
            connection.execute(insert(Schema).values(version=SCHEMA_VERSION))
        elif made > SCHEMA_VERSION:
            raise ConfigError(
                f"the database has tables of version {made}, this program knows up to {SCHEMA_VERSION}",
                repair="pip install --upgrade axk1",
            )


def _set_up_sqlite(connection, _) -> None:
    """Readers beside one writer, writes that survive a crash, and a wait instead of an error while another writes."""
    for pragma in ("busy_timeout = 10000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
