"""Real tools, small ones: a calendar in a file, an address book, mail through a real SMTP server, files."""

import asyncio
import json
import smtplib
import threading
import time
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated

from pydantic import Field

from axk1.agents.tool import Effect, Outcome, Slot, Tool, ToolContext, ToolRefusal, tool

Address = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", json_schema_extra={"format": "email"})]
CONTACTS = {"김민수": "minsu@example.com", "Jane Doe": "jane@example.com"}


@tool(effect=Effect.READ)
def find_contact(context: ToolContext, name: str) -> Outcome:
    """Looks a person up in the address book."""
    return Outcome({one: address for one, address in CONTACTS.items() if name in one})


@tool(effect=Effect.READ, untrusted=True)
def read_mail(context: ToolContext) -> Outcome:
    """Reads the newest mail."""
    return Outcome((context.workspace / "mail.txt").read_text())


def _events(folder: Path) -> list[dict]:
    path = folder / "events.json"
    return json.loads(path.read_text()) if path.exists() else []


def _keep(folder: Path, events: list[dict]) -> None:
    part = folder / "events.part"
    part.write_text(json.dumps(events, ensure_ascii=False))
    part.rename(folder / "events.json")


@tool(effect=Effect.READ)
def list_events(context: ToolContext) -> Outcome:
    """Lists the calendar."""
    return Outcome(_events(context.workspace))


def _drop(context: ToolContext, undo: dict) -> str:
    left = [one for one in _events(context.workspace) if one["id"] != undo["id"]]
    _keep(context.workspace, left)
    return f"{undo['id']} is out of the calendar"


@tool(effect=Effect.WRITE, undo=_drop)
def add_event(
    context: ToolContext,
    title: Annotated[str, Slot(ko="무슨 일정인가요?", en="What is it called?")],
    start: Annotated[datetime, Slot(ko="언제인가요?", en="When does it start?")],
    place: Annotated[str | None, Slot(ko="어디인가요?", en="Where is it?")] = None,
) -> Outcome:
    """Puts an event into the calendar."""
    event = {"id": context.idempotency_key, "title": title, "start": start.isoformat(), "place": place}
    kept = [one for one in _events(context.workspace) if one["id"] != event["id"]]
    _keep(context.workspace, [*kept, event])
    return Outcome({"added": event}, files=("events.json",), undo={"id": event["id"]})


@tool(effect=Effect.DELETE, preview=lambda context, path: f"delete {path}")
def delete_file(context: ToolContext, path: Annotated[str, Slot(ko="어느 파일인가요?", en="Which file?")]) -> Outcome:
    """Deletes a file."""
    try:
        (context.workspace / path).unlink()
    except FileNotFoundError:
        raise ToolRefusal(f"path = {path!r} does not exist") from None
    return Outcome(f"deleted {path}")


@tool(effect=Effect.WRITE)
def write_file(context: ToolContext, path: str, text: str) -> Outcome:
    """Writes a file."""
    (context.workspace / path).write_text(text)
    return Outcome(f"wrote {path}", files=(path,))


@tool(effect=Effect.READ)
def read_file(context: ToolContext, path: str) -> Outcome:
    """Reads a file."""
    return Outcome((context.workspace / path).read_text())


def mail_tool(port: int, inbox: Path) -> Tool:
    """Mail through the server at a port, which keeps what it received in a folder."""

    def preview(context: ToolContext, to: list[str], subject: str, body: str) -> str:
        return f"to {', '.join(to)}: {subject}\n{body}"

    def recover(context: ToolContext, to: list[str], subject: str, body: str) -> Outcome | None:
        time.sleep(0.1)  # what the server had whole when this process died is in its folder by now
        there = any(context.idempotency_key in path.read_text() for path in inbox.glob("*.eml"))
        return Outcome("the mail was sent before the interruption") if there else None

    @tool(effect=Effect.SEND, preview=preview, recover=recover)
    def send_mail(
        context: ToolContext,
        to: Annotated[list[Address], Slot(ko="누구에게 보낼까요?", en="To whom shall it go?")],
        subject: str,
        body: str,
    ) -> Outcome:
        """Sends a mail."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "me@example.com", ", ".join(to), subject
        message["Message-ID"] = f"<{context.idempotency_key}@axk1.test>"
        message.set_content(body)
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as server:
            server.send_message(message)
        return Outcome(f"sent to {', '.join(to)}")

    return send_mail


class Inbox:
    """What a real SMTP server received, a file for each mail, written whole before it says that it has it."""

    def __init__(self, folder: Path, *, answer_seconds: float = 0) -> None:
        """Args: answer_seconds: from having a mail to saying so; who dies in between does not know."""
        self.folder, self.answer_seconds, self._lock = folder, answer_seconds, threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802 - aiosmtpd's name
        with self._lock:
            number = len(list(self.folder.glob("*.eml")))
            part = self.folder / f"{number}.part"
            part.write_bytes(envelope.content)
            part.rename(self.folder / f"{number}.eml")
        await asyncio.sleep(self.answer_seconds)
        return "250 OK"

    @property
    def mails(self) -> list[str]:
        return [path.read_text() for path in sorted(self.folder.glob("*.eml"))]
