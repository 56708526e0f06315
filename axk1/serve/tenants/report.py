"""What has been used: the ledger's settlements, by organisation, key, day and model; and the audit log."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from sqlalchemy import Engine, Integer, cast, func, select

from axk1.serve.tenants.tables import AuditEntry, Key, LedgerEntry, Organisation


@dataclass(frozen=True)
class UsageRow:
    """The requests of a key to a model in a day of its organisation."""

    organisation: str
    """Its name."""
    key: str
    """Its id."""
    key_name: str
    day: str
    model: str
    requests: int
    prompt_tokens: int
    """Those found in the cache among them."""
    cached_tokens: int
    completion_tokens: int
    estimated_requests: int
    """Requests whose tokens were counted here, since an upstream did not tell them."""


def usage_rows(
    database: Engine, *, organisation: str | None = None, since: str = "", until: str = "9999-12-31"
) -> list[UsageRow]:
    """Sums of the ledger, by day.

    Args:
        database: of ``open_database``.
        organisation: only this one, by id; None for all.
        since, until: first and last date, such as 2026-11-01, in the time zone of each organisation.
    """
    entry = LedgerEntry
    groups = (Organisation.name, entry.key, Key.name, entry.day, entry.model)
    taken = (entry.prompt_tokens, entry.cached_tokens, entry.completion_tokens, cast(entry.estimated, Integer))
    chosen = (entry.step == "settled") & entry.day.between(since, until)
    if organisation is not None:
        chosen &= entry.organisation == organisation
    found = select(*groups, func.count(), *map(func.sum, taken)).where(chosen).group_by(*groups)
    found = found.join(Organisation, Organisation.id == entry.organisation).join(Key, Key.id == entry.key)
    with database.connect() as connection:
        rows = connection.execute(found.order_by(Organisation.name, entry.day, entry.key, entry.model))
        return [UsageRow(*row[:5], *(int(number) for number in row[5:])) for row in rows]


def as_csv(rows: list[UsageRow]) -> str:
    """The rows under their names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(UsageRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in asdict(row).items()} for row in rows)
    return text.getvalue()


def audit_rows(database: Engine, organisation: str | None = None) -> Iterator[dict[str, object]]:
    """The audit log, the oldest first; None for all organisations."""
    entries = select(AuditEntry.__table__).order_by(AuditEntry.id)
    if organisation is not None:
        entries = entries.where(AuditEntry.organisation == organisation)
    with database.connect() as connection:
        for row in connection.execution_options(yield_per=1000).execute(entries):
            at = datetime.fromtimestamp(row.at, UTC).isoformat(timespec="milliseconds")
            yield {name: value for name, value in {**row._mapping, "at": at}.items() if value not in (None, "")}


def _harmless(value: object) -> object:
    """Spreadsheets run a cell that begins like a formula, and names are chosen by others."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
