"""The tables. Times are seconds since 1970; a scope is an organisation or a key."""

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from axk1.serve.database import Table


class LimitColumns:
    """What a scope may take; nothing means that there is no such limit. Tokens are those of prompts and answers."""

    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    tokens_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    tokens_per_day: Mapped[int | None] = mapped_column(BigInteger)
    tokens_per_month: Mapped[int | None] = mapped_column(BigInteger)


class Organisation(LimitColumns, Table):
    """A tenant."""

    __tablename__ = "organisations"
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    time_zone: Mapped[str]
    """Where its days and months begin, by the name of the tz database."""
    keep_text: Mapped[bool]
    """Whether the audit log keeps what was asked and answered."""
    created: Mapped[float] = mapped_column(Float(53))


class Key(LimitColumns, Table):
    """An API key of an organisation; its text is nowhere, only a hash."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"), index=True)
    name: Mapped[str]
    sha256: Mapped[str]
    metrics_only: Mapped[bool]
    """A key for whoever collects /metrics; it asks no model anything."""
    created: Mapped[float] = mapped_column(Float(53))
    revoked: Mapped[float | None] = mapped_column(Float(53))


class LedgerEntry(Table):
    """What changed the account of a request. Rows are added, never changed, never deleted.

    ``tokens`` is what the entry adds to the account: a reservation what it holds at most, a settlement the difference
    to what was really taken. So the sum over any rows is their balance.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        UniqueConstraint("request", "step"),
        Index("ledger_of_key", "key", "started"),
        Index("ledger_of_organisation", "organisation", "started"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    request: Mapped[str]
    step: Mapped[str]
    """reserved, then settled or released."""
    organisation: Mapped[str]
    key: Mapped[str]
    model: Mapped[str]
    route: Mapped[str]
    started: Mapped[float] = mapped_column(Float(53))
    """When the request was reserved, in every row of it: the periods in which it counts."""
    day: Mapped[str]
    """The same as a date in the organisation's time zone then."""
    written: Mapped[float] = mapped_column(Float(53))
    tokens: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    cached_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    estimated: Mapped[bool] = mapped_column(default=False)
    """The tokens were counted here, since whoever answered did not tell them."""
    outcome: Mapped[str] = mapped_column(default="")
    """done, left (the client went away), failed, refused (by the model's service) or lost (the server died)."""


class Hold(Table):
    """An open reservation."""

    __tablename__ = "holds"
    request: Mapped[str] = mapped_column(primary_key=True)
    server: Mapped[str] = mapped_column(index=True)
    organisation: Mapped[str] = mapped_column(index=True)
    key: Mapped[str] = mapped_column(index=True)
    started: Mapped[float] = mapped_column(Float(53))
    tokens: Mapped[int] = mapped_column(BigInteger)


class Balance(Table):
    """What a scope has taken in its running minute, day or month: sums of the ledger, kept ready.

    A row may be deleted at any time; it is summed again when it is next needed.
    """

    __tablename__ = "balances"
    scope: Mapped[str] = mapped_column(primary_key=True)
    period: Mapped[str] = mapped_column(primary_key=True)
    start: Mapped[float] = mapped_column(Float(53))
    end: Mapped[float] = mapped_column(Float(53))
    requests: Mapped[int] = mapped_column(BigInteger)
    tokens: Mapped[int] = mapped_column(BigInteger)


class AuditEntry(Table):
    """Who did what: requests, refusals, and what the operator changed."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_of_organisation", "organisation", "at"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(Float(53))
    event: Mapped[str]
    organisation: Mapped[str]
    key: Mapped[str] = mapped_column(default="")
    request: Mapped[str] = mapped_column(default="")
    detail: Mapped[str] = mapped_column(Text, default="")
    """A few words or numbers, never message text."""
    text: Mapped[str | None] = mapped_column(Text)
    """JSON of what was asked and answered, where the organisation wants it kept."""


class Server(Table):
    """A process that answers; it says every few seconds that it lives."""

    __tablename__ = "servers"
    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    process: Mapped[int]
    seen: Mapped[float] = mapped_column(Float(53))
