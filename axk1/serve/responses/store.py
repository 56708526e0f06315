"""``ResponseStore``: responses that are kept, each tenant's apart, in the server's database.

A response holds its own input and output and points to the one that it goes on from, so that a conversation is a chain
and nothing is kept twice. Deleting a response therefore ends the chains that go on from it.
"""

import time
from typing import Any

from sqlalchemy import JSON, Engine, ForeignKey, String, delete, literal, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from axk1.serve.database import Table
from axk1.serve.responses.items import Item

_PURGE_EVERY = 600.0
"""Seconds between two looks for what is too old."""


class StoredResponse(Table):
    """A response without its items."""

    __tablename__ = "responses"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str]
    parent: Mapped[str | None] = mapped_column(String(64))
    """The response that it goes on from; None where its own items are the whole conversation."""
    used: Mapped[float] = mapped_column(index=True)
    """When it was made or last gone on from, in seconds since 1970."""
    body: Mapped[dict[str, Any]] = mapped_column(JSON)


class StoredItem(Table):
    """An item of a response, input before output."""

    __tablename__ = "response_items"

    response_id: Mapped[str] = mapped_column(ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    is_output: Mapped[bool]
    item: Mapped[dict[str, Any]] = mapped_column(JSON)


class ResponseStore:
    """The responses of all tenants. Its methods wait for the database, so event loops call them in a thread."""

    def __init__(self, database: Engine, *, keep_days: float = 30) -> None:
        """Args: keep_days: days since its last use after which a response is gone."""
        self._database, self._keep_seconds = database, keep_days * 86400
        self._purged = 0.0

    def save(self, tenant: str, response: dict[str, Any], given: list[Item], parent: str | None) -> None:
        """Keeps a response.

        Args:
            tenant: whose it is.
            response: as the API returns it.
            given: the input items since ``parent``.
            parent: the kept response that it goes on from, if any.
        """
        body = {**response, "output": []}
        items = [(False, item) for item in given] + [(True, item) for item in response["output"]]
        with Session(self._database) as session, session.begin():
            session.add(StoredResponse(id=response["id"], tenant=tenant, parent=parent, used=time.time(), body=body))
            session.flush()
            session.add_all(
                StoredItem(response_id=response["id"], place=place, is_output=is_output, item=item)
                for place, (is_output, item) in enumerate(items)
            )
        self._purge()

    def response(self, tenant: str, response_id: str) -> dict[str, Any] | None:
        """A tenant's response as the API returned it; None where there is none."""
        with Session(self._database) as session:
            found = session.scalar(self._of(tenant).where(StoredResponse.id == response_id))
            if found is None:
                return None
            items = select(StoredItem.item).where(StoredItem.response_id == response_id, StoredItem.is_output)
            return {**found.body, "output": list(session.scalars(items.order_by(StoredItem.place)))}

    def conversation(self, tenant: str, response_id: str, *, with_output: bool = True) -> list[Item] | None:
        """The items of a response and of all that it goes on from, the oldest first; None where one is missing.

        Args:
            with_output: whether the response's own output is the end of it, since somebody goes on from there;
                that counts as a use of all of them.
        """
        with Session(self._database) as session, session.begin():
            chain = self._chain(session, tenant, response_id)
            if chain is None:
                return None
            if with_output:  # it goes on
                used = update(StoredResponse).where(StoredResponse.id.in_(chain)).values(used=time.time())
                session.execute(used)
            rows = session.scalars(select(StoredItem).where(StoredItem.response_id.in_(chain)))
            order = {each: place for place, each in enumerate(chain)}
            found = sorted(rows, key=lambda row: (-order[row.response_id], row.place))
            return [row.item for row in found if with_output or row.response_id != response_id or not row.is_output]

    def delete(self, tenant: str, response_id: str) -> bool:
        """Deletes a tenant's response; False where there is none."""
        with Session(self._database) as session, session.begin():
            return session.execute(self._of(tenant, delete).where(StoredResponse.id == response_id)).rowcount > 0

    def _of(self, tenant: str, verb=select):
        recent = StoredResponse.used >= time.time() - self._keep_seconds
        return verb(StoredResponse).where(StoredResponse.tenant == tenant, recent)

    def _chain(self, session: Session, tenant: str, response_id: str) -> list[str] | None:
        """The ids from a response back to the first of its conversation; None where one is missing."""
        start = self._of(tenant).where(StoredResponse.id == response_id)
        columns = (StoredResponse.id, StoredResponse.parent)
        chain = start.with_only_columns(*columns, literal(0).label("depth")).cte(recursive=True)
        older = self._of(tenant).with_only_columns(*columns, chain.c.depth + 1)
        chain = chain.union_all(older.join_from(chain, StoredResponse, StoredResponse.id == chain.c.parent))
        rows = session.execute(select(chain.c.id, chain.c.parent).order_by(chain.c.depth)).all()
        return [row.id for row in rows] if rows and rows[-1].parent is None else None

    def _purge(self) -> None:
        """Deletes what is too old, from time to time."""
        now = time.time()
        if now - self._purged < _PURGE_EVERY:
            return
        self._purged = now
        with Session(self._database) as session, session.begin():
            session.execute(delete(StoredResponse).where(StoredResponse.used < now - self._keep_seconds))
