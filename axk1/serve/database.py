"""The server's database: SQLite in a file by default, PostgreSQL or another by URL."""

from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase

from axk1.core.errors import ConfigError

DEFAULT_URL = "sqlite:///out/axk1.db"
"""Beside the models that the recipes make."""
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


class Table(DeclarativeBase):
    """Base of every table of the server."""


def open_database(url: str = DEFAULT_URL) -> Engine:
    """Connects and makes the tables that are missing.

    Args:
        url: SQLAlchemy's address, such as ``sqlite:///axk1.db`` or ``postgresql://user:password@host/name``.

    Raises:
        ConfigError: the address is none, or nobody answers there.
    """
    try:
        address = make_url(url)
        address = address.set(drivername=_DRIVERS.get(address.drivername, address.drivername))
        if address.get_backend_name() == "sqlite" and address.database:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        database = create_engine(address, pool_pre_ping=True)
        if address.get_backend_name() == "sqlite":
            event.listen(database, "connect", _set_up_sqlite)
        Table.metadata.create_all(database)
    except (ArgumentError, NoSuchModuleError, SQLAlchemyError, OSError) as error:
        raise ConfigError(f"database = {url} cannot be opened: {error}") from error
    return database


def _set_up_sqlite(connection, _) -> None:
    """Readers beside one writer, writes that survive a crash, and a wait instead of an error while another writes."""
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 10000", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
