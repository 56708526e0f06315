"""``axk1 tenants``: organisations, keys, limits and what was used, on the server's database."""

import json
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Row

from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.core.progress import console
from axk1.serve.database import DEFAULT_URL, open_database
from axk1.serve.tenants.directory import Directory
from axk1.serve.tenants.limits import LIMIT_NAMES, Limits
from axk1.serve.tenants.report import as_csv, audit_rows, usage_rows

_WHERE = ("keep_text", "time_zone")


@dataclass(frozen=True, kw_only=True)
class _OnDatabase:
    database: str = DEFAULT_URL
    """Where the server keeps its state: SQLAlchemy's address, as for axk1 serve."""


@dataclass(frozen=True, kw_only=True)
class AddConfig(_OnDatabase, Limits):
    """A new organisation."""

    organisation: str
    """Its name."""
    time_zone: str = "UTC"
    """Where its days and months begin, such as Asia/Seoul."""
    keep_text: bool = False
    """Keep what is asked and answered in the audit log."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class KeyConfig(_OnDatabase, Limits):
    """A new key. Its limits come on top of the organisation's."""

    organisation: str
    """Name of the organisation."""
    name: str = ""
    """What people call the key, such as the program that uses it."""
    metrics_only: bool = False
    """A key that opens /metrics and nothing else."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class ListConfig(_OnDatabase):
    """What to list."""

    organisation: str | None = None
    """Only this one."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class LimitConfig(_OnDatabase, Limits):
    """What to change; what is left out stays as it is."""

    name: str
    """Name of an organisation, or id of a key."""
    lift: tuple[str, ...] = ()
    """Limits to take away, such as tokens_per_day."""
    time_zone: str | None = None
    """Where the organisation's days and months begin."""
    keep_text: bool | None = None
    """Keep what is asked and answered in the audit log; False deletes what was kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = next((name for name in self.lift if name not in LIMIT_NAMES), None)
        require(wrong is None, "lift", wrong, ", ".join(LIMIT_NAMES))


@dataclass(frozen=True, kw_only=True)
class MoveConfig(_OnDatabase):
    """Which key goes where."""

    key: str
    """Id of the key."""
    to: str
    """Name of its new organisation."""


@dataclass(frozen=True, kw_only=True)
class RevokeConfig(_OnDatabase):
    """Which key ends."""

    key: str
    """Id of the key, or the whole key."""


@dataclass(frozen=True, kw_only=True)
class UsageConfig(_OnDatabase):
    """What to report."""

    organisation: str | None = None
    """Only this one."""
    since: str = "0001-01-01"
    """First day, such as 2026-11-01, in the organisation's time zone."""
    until: str = "9999-12-31"
    """Last day."""
    json: bool = False
    """Print JSON."""
    csv: bool = False
    """Print CSV."""

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            try:
                date.fromisoformat(getattr(self, name))
            except ValueError:
                require(False, name, getattr(self, name), "a date such as 2026-11-01")
        require(not (self.json and self.csv), "csv", True, "one of --json and --csv")


@dataclass(frozen=True, kw_only=True)
class AuditConfig(_OnDatabase):
    """What to print."""

    organisation: str | None = None
    """Only this one."""


def add(config: AddConfig, *, dry_run: bool = False) -> None:
    """Adds an organisation."""
    console.print(f"organisation {config.organisation!r}, time zone {config.time_zone}: {_limits(config)}")
    if dry_run:
        return
    options = {"time_zone": config.time_zone, "keep_text": config.keep_text, "limits": _only_limits(config)}
    fresh = _directory(config).add(config.organisation, **options)
    if config.json:
        print(json.dumps({"id": fresh, "name": config.organisation}))
    console.print(f"next: axk1 tenants key {config.organisation!r}{_database_option(config)}")


def key(config: KeyConfig, *, dry_run: bool = False) -> None:
    """Makes a key and prints it, alone on standard output."""
    console.print(f"a key of {config.organisation!r}: {_limits(config)}")
    if dry_run:
        return
    options = {"name": config.name, "metrics_only": config.metrics_only, "limits": _only_limits(config)}
    fresh, text = _directory(config).add_key(config.organisation, **options)
    print(json.dumps({"id": fresh, "key": text}) if config.json else text)
    console.print(f"its id is {fresh}. The key is shown this once: only a hash of it is kept")
    console.print("servers that were started before there was an organisation ask for keys when they start again")


def list_tenants(config: ListConfig, *, dry_run: bool = False) -> None:
    """Prints organisations, their keys and limits."""
    directory = _directory(config)
    chosen = None if config.organisation is None else directory.find(config.organisation)
    keys, found = directory.keys(), [row for row in directory.organisations() if chosen in (None, row.id)]
    listed = {row.id: [each for each in keys if each.organisation == row.id] for row in found}
    if config.json:
        plain = [{**row._mapping, "keys": [_without_hash(each) for each in listed[row.id]]} for row in found]
        print(json.dumps(plain, ensure_ascii=False))
        return
    table = _table("organisation", "key", "name", "state", "limits")
    for row in found:
        table.add_row(row.name, "", row.time_zone, "keeps texts" if row.keep_text else "", _limits(row))
        for each in listed[row.id]:
            state = "revoked" if each.revoked is not None else "metrics only" if each.metrics_only else ""
            table.add_row("", each.id, each.name, state, _limits(each))
    _print(table, len(found), "axk1 tenants add NAME")


def limit(config: LimitConfig, *, dry_run: bool = False) -> None:
    """Changes limits, time zone or privacy."""
    values = {name: getattr(config, name) for name in (*LIMIT_NAMES, *_WHERE)}
    changed = {name: value for name, value in values.items() if value is not None}
    changed |= dict.fromkeys(config.lift)
    if not changed:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in (*LIMIT_NAMES, "lift", *_WHERE))
        raise ConfigError(
            "nothing is to be changed", repair=f"axk1 tenants limit {config.name!r} with one of {options}"
        )
    console.print(f"{config.name}: " + ", ".join(f"{name} = {value}" for name, value in changed.items()))
    if not dry_run:
        _directory(config).change(config.name, **changed)


def move(config: MoveConfig, *, dry_run: bool = False) -> None:
    """Gives a key to another organisation."""
    console.print(f"key {config.key} to {config.to!r}; what it has used stays on the account of its old organisation")
    if not dry_run:
        _directory(config).move(config.key, config.to)


def revoke(config: RevokeConfig, *, dry_run: bool = False) -> None:
    """Ends a key."""
    if not dry_run:
        ended = _directory(config).revoke(config.key)
        console.print(f"key {ended} opens nothing any more")


def usage(config: UsageConfig, *, dry_run: bool = False) -> None:
    """Prints what was used."""
    database = open_database(config.database)
    chosen = None if config.organisation is None else Directory(database).find(config.organisation)
    rows = usage_rows(database, organisation=chosen, since=config.since, until=config.until)
    if config.json:
        print(json.dumps([asdict(row) for row in rows], ensure_ascii=False))
    elif config.csv:
        print(as_csv(rows), end="")
    else:
        table = _table("organisation", "day", "key", "name", "model", "requests", "prompt", "cached", "completion")
        for row in rows:
            numbers = (row.requests, row.prompt_tokens, row.cached_tokens, row.completion_tokens)
            names = (row.organisation, row.day, row.key, row.key_name, row.model)
            table.add_row(*names, *(f"{number:,}" for number in numbers))
        _print(table, len(rows), "nothing was used in these days")


def audit(config: AuditConfig, *, dry_run: bool = False) -> None:
    """Prints the audit log, a JSON object in each line."""
    database = open_database(config.database)
    chosen = None if config.organisation is None else Directory(database).find(config.organisation)
    for row in audit_rows(database, chosen):
        print(json.dumps(row, ensure_ascii=False))


def _directory(config: _OnDatabase) -> Directory:
    return Directory(open_database(config.database))


def _only_limits(config: Limits) -> Limits:
    return Limits(**{field.name: getattr(config, field.name) for field in fields(Limits)})


def _without_hash(key: Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in key._mapping.items() if name != "sha256"}


def _limits(row: Any) -> str:
    """The limits of a config or of a row, in words."""
    set_ = {name: getattr(row, name) for name in LIMIT_NAMES if getattr(row, name) is not None}
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in set_.items()) or "no limits"


def _database_option(config: _OnDatabase) -> str:
    return "" if config.database == DEFAULT_URL else f" --database {config.database}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in ("requests", "prompt", "cached", "completion") else "left")
    return table


def _print(table: Table, rows: int, otherwise: str) -> None:
    if rows:
        Console(highlight=False, markup=False).print(table)
    else:
        console.print(f"none; {otherwise}")
