"""Mail: sent by SMTP, read by IMAP, addresses from a file of contacts.

A mail is sent at most once. Before the server hears of it, it is written to ``.outbox`` with the Message-ID that its
call always has; when the server has taken it, that is noted. A crash between the two leaves a mail of which nobody
here knows whether it went: the folder of sent mail is asked where IMAP is set up, otherwise the person.
"""

import asyncio
import contextlib
import csv
import email
import email.policy
import hashlib
import imaplib
import json
import mimetypes
import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from pathlib import Path
from typing import Annotated, Any

import aiosmtplib
from pydantic import StringConstraints

from axk1.agents.tool import Effect, Outcome, Slot, Tool, ToolContext, ToolRefusal, tool
from axk1.agents.tools.workspace import digest, inside
from axk1.core.config import require

Address = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$", max_length=254),
]
_LARGEST = 25 << 20
"""Bytes of all attachments."""
_LONGEST = 20_000
"""Characters of a mail that are read."""
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.S | re.I)


@dataclass(frozen=True, kw_only=True)
class MailConfig:
    """Where mail goes out and comes in."""

    sender: str = ""
    """The person's address, from which mail is sent."""
    name: str = ""
    """The name beside it."""
    smtp: str = ""
    """Host of the SMTP server; nothing means that no mail is sent."""
    smtp_port: int = 587
    """Its port: 587 with STARTTLS, 465 with TLS from the start."""
    imap: str = ""
    """Host of the IMAP server; nothing means that no mail is read."""
    imap_port: int = 993
    """Its port; 993 is TLS from the start, all others begin with STARTTLS where the server has it."""
    user: str = ""
    """Name for both servers; nothing means the sender's address, and no sign-in where there is no password."""
    password_variable: str = "AXK1_MAIL_PASSWORD"
    """The environment variable that holds the password."""
    encrypted: bool = True
    """Refuse servers that do not encrypt; turn it off for one on this machine alone."""
    sent_folder: str = "Sent"
    """The IMAP folder of sent mail."""
    timeout_seconds: float = 30
    """Silence after which a server is given up."""

    def __post_init__(self) -> None:
        require(not (self.smtp or self.imap) or bool(self.sender), "mail.sender", self.sender, "the person's address")
        for name in ("smtp_port", "imap_port"):
            require(0 < getattr(self, name) < 65536, f"mail.{name}", getattr(self, name), "1 to 65535")

    @property
    def password(self) -> str:
        """The password; empty where the variable is not set."""
        return os.environ.get(self.password_variable, "")


def mail_tools(config: MailConfig, contacts: Path | None = None) -> list[Tool]:
    """The tools of mail, those for which there is a server.

    Args:
        config: the servers.
        contacts: a file of contacts, vCard (``.vcf``) or CSV with the columns ``name`` and ``email``.
    """
    mail = _Mail(config)
    found = [mail.send_tool()] if config.smtp else []
    found += [mail.read_tool()] if config.imap else []
    return found + ([_contact_tool(contacts)] if contacts is not None else [])


class _Mail:
    """Mail of one person."""

    def __init__(self, config: MailConfig) -> None:
        self.config = config

    def send_tool(self) -> Tool:
        """``send_mail``."""

        def show(context: ToolContext, **arguments: Any) -> str:
            return self._shown(context, **arguments)

        async def recover(context: ToolContext, **arguments: Any) -> Outcome | None:
            return await self._recovered(context, **arguments)

        @tool(effect=Effect.SEND, preview=show, recover=recover)
        async def send_mail(
            context: ToolContext,
            to: Annotated[
                list[Address], Slot(ko="누구에게 보낼까요? (메일 주소)", en="To whom shall it go? (address)")
            ],
            subject: str,
            body: str,
            attachments: list[str] | None = None,
        ) -> Outcome:
            """Sends a mail with files of the workspace."""
            return await self._send(context, to, subject, body, attachments)

        return send_mail

    def read_tool(self) -> Tool:
        """``read_mail``."""

        @tool(effect=Effect.READ, untrusted=True)
        def read_mail(context: ToolContext, query: str = "", limit: int = 10) -> Outcome:
            """Reads the newest mails of the inbox, or those that have some words in them."""
            del context
            with self._inbox("INBOX") as inbox:
                return Outcome({"mails": list(_found(inbox, query, min(max(limit, 1), 50)))})

        return read_mail

    async def _send(
        self, context: ToolContext, to: Sequence[str], subject: str, body: str, attachments: Sequence[str] | None
    ) -> Outcome:
        message, config = self._message(context, to, subject, body, attachments), self.config
        entry = _Entry(context)
        if entry.accepted:
            return _sent(message, to, entry.refused)
        server = aiosmtplib.SMTP(
            hostname=config.smtp,
            port=config.smtp_port,
            use_tls=config.smtp_port == 465,
            start_tls=config.smtp_port != 465 if config.encrypted else None,
            username=(config.user or config.sender) if config.password else None,
            password=config.password or None,
            timeout=config.timeout_seconds,
        )
        try:
            await server.connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise ToolRefusal(f"the mail server {config.smtp}:{config.smtp_port} cannot be used: {error}") from None
        try:
            await asyncio.to_thread(entry.begin, message)
            errors, _ = await server.send_message(message)
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as error:
            entry.fail()
            raise ToolRefusal(f"the mail server refused the mail: {error}") from None
        finally:
            server.close()
        refused = {address: f"{error.code} {error.message}" for address, error in errors.items()}
        await asyncio.to_thread(entry.accept, refused)
        return _sent(message, to, refused)

    async def _recovered(self, context: ToolContext, to: Sequence[str], **others: Any) -> Outcome | None:
        entry, message = _Entry(context), self._message(context, to, **others)
        if entry.accepted:
            return _sent(message, to, entry.refused)
        if not entry.begun:
            return None
        if self.config.imap:
            with contextlib.suppress(ToolRefusal):
                if await asyncio.to_thread(self._is_sent, message["Message-ID"]):
                    entry.accept()
                    return _sent(message, to)
        raise ToolRefusal(
            {
                "ko": "메일 서버에 넘기는 중에 끊겨, 메일이 나갔는지 알 수 없습니다. 다시 보낼까요?",
                "en": "It was cut off while the mail server took it: nobody knows whether it went. Send it again?",
            }[context.language]
        )

    def _is_sent(self, message_id: str) -> bool:
        with self._inbox(self.config.sent_folder) as folder:
            _, found = folder.search(None, "HEADER", "Message-ID", f'"{message_id}"')
            return bool(found and found[0])

    def _message(
        self, context: ToolContext, to: Sequence[str], subject: str, body: str, attachments: Sequence[str] | None = None
    ) -> EmailMessage:
        """The mail, byte for byte the same at every attempt of a call. Raises ToolRefusal for what no mail can hold."""
        if not to:
            raise ToolRefusal("to is empty; allowed: one address or more")
        if re.search(r"[\r\n\0]", subject) or len(subject) > 500:
            raise ToolRefusal("subject has a line break or more than 500 characters")
        message = EmailMessage(policy=email.policy.SMTP)
        key = hashlib.sha256(context.idempotency_key.encode()).hexdigest()[:32]
        message["Message-ID"] = f"<{key}@{self.config.sender.rpartition('@')[2] or 'localhost'}>"
        message["Date"] = format_datetime(context.now)
        message["From"] = formataddr((self.config.name, self.config.sender))
        message["To"] = ", ".join(to)
        message["Subject"] = subject
        message.set_content(body)
        places = [inside(context, path, there=True) for path in attachments or ()]
        if sum(place.stat().st_size for place in places) > _LARGEST:
            raise ToolRefusal(f"the attachments have more than {_LARGEST >> 20} MB together")
        for place in places:
            _attach(message, place)
        return message

    def _shown(
        self, context: ToolContext, to: Sequence[str], subject: str, body: str, attachments: Sequence[str] | None = None
    ) -> str:
        """Exactly what goes out."""
        self._message(context, to, subject, body, attachments)  # what cannot be sent is not shown
        words = {
            "ko": ("이 메일을 보냅니다.", "보내는 사람", "받는 사람", "제목", "첨부", "본문"),
            "en": ("This mail is sent.", "From", "To", "Subject", "Attachment", "Text"),
        }[context.language]
        lines = [words[0], "", f"- {words[1]}: {formataddr((self.config.name, self.config.sender))}"]
        lines += [f"- {words[2]}: {', '.join(to)}", f"- {words[3]}: {subject}"]
        for path in attachments or ():
            place = inside(context, path, there=True)  # its digest, for another file may have the same length
            lines.append(f"- {words[4]}: {path} ({place.stat().st_size:,} B), SHA-256 {digest(place)[:16]}…")
        fence = "`" * max(3, 1 + max((len(one) for one in re.findall("`+", body)), default=0))
        return "\n".join([*lines, "", f"{words[5]}:", fence, body, fence])

    @contextlib.contextmanager
    def _inbox(self, folder: str) -> Iterator[imaplib.IMAP4]:
        """An IMAP folder, opened to read only. Raises ToolRefusal where the server does not let us in."""
        config = self.config
        try:
            if config.imap_port == 993:
                server: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                    config.imap,
                    config.imap_port,
                    ssl_context=ssl.create_default_context(),
                    timeout=config.timeout_seconds,
                )
            else:
                server = imaplib.IMAP4(config.imap, config.imap_port, timeout=config.timeout_seconds)
                if "STARTTLS" in server.capabilities:
                    server.starttls(ssl.create_default_context())
                elif config.encrypted:
                    raise ToolRefusal(
                        f"the mail server {config.imap} does not encrypt; mail.encrypted = false allows it"
                    )
        except (OSError, imaplib.IMAP4.error) as error:
            raise ToolRefusal(f"the mail server {config.imap}:{config.imap_port} cannot be used: {error}") from None
        try:
            server.login(config.user or config.sender, config.password)
            status, _ = server.select(f'"{folder}"', readonly=True)
            if status != "OK":
                raise ToolRefusal(f"the mail server has no folder {folder!r}")
            yield server
        except (OSError, imaplib.IMAP4.error) as error:
            raise ToolRefusal(f"the mail server {config.imap} failed: {error}") from None
        finally:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                server.logout()


def _attach(message: EmailMessage, place: Path) -> None:
    content = place.read_bytes()
    main, _, sub = (mimetypes.guess_type(place.name)[0] or "application/octet-stream").partition("/")
    if main == "text":
        with contextlib.suppress(UnicodeDecodeError):
            message.add_attachment(content.decode("utf-8"), subtype=sub, filename=place.name)
            return
    message.add_attachment(content, maintype=main, subtype=sub, filename=place.name)


class _Entry:
    """A call's mail in the outbox: begun once it may have left, accepted once the server has said so."""

    def __init__(self, context: ToolContext) -> None:
        name = hashlib.sha256(context.idempotency_key.encode()).hexdigest()[:32]
        self._mail = context.workspace / ".outbox" / f"{name}.eml"
        self._done = self._mail.with_suffix(".accepted")

    @property
    def begun(self) -> bool:
        """Whether the server may have it."""
        return self._mail.exists()

    @property
    def accepted(self) -> bool:
        """Whether the server has said that it has it."""
        return self._done.exists()

    @property
    def refused(self) -> dict[str, str]:
        """The addresses that the server did not take, each with what it said."""
        return json.loads(self._done.read_bytes() or b"{}")

    def begin(self, message: EmailMessage) -> None:
        """Keeps the mail, safe against a power cut."""
        self._mail.parent.mkdir(parents=True, exist_ok=True)
        _write_safely(self._mail, bytes(message))

    def accept(self, refused: Mapping[str, str] | None = None) -> None:
        """Notes that it went, and to whom it did not."""
        _write_safely(self._done, json.dumps(refused or {}, ensure_ascii=False).encode())

    def fail(self) -> None:
        """Notes that it surely did not go."""
        self._mail.unlink(missing_ok=True)


def _write_safely(place: Path, content: bytes) -> None:
    """A file that is there whole or not at all, also after a power cut."""
    part = place.with_name(f"{place.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(place)
    number = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sent(message: EmailMessage, to: Sequence[str], refused: Mapping[str, str] | None = None) -> Outcome:
    """What is told of a mail that went: to whom, and to whom it did not."""
    told: dict[str, Any] = {"sent": True, "to": [one for one in to if one not in (refused or {})]}
    told |= {"subject": message["Subject"], "message_id": message["Message-ID"]}
    return Outcome(told | ({"not_sent_to": dict(refused)} if refused else {}))


def _found(inbox: imaplib.IMAP4, query: str, limit: int) -> Iterator[dict[str, str]]:
    """The newest mails that have some words, each with its text."""
    if query:
        inbox.literal = query.encode()  # words that are not ASCII go as a literal
        _, found = inbox.search("UTF-8", "TEXT")
    else:
        _, found = inbox.search(None, "ALL")
    for number in reversed((found[0] or b"").split()[-limit:]):
        _, parts = inbox.fetch(number.decode(), "(BODY.PEEK[])")
        raw = next((part[1] for part in parts if isinstance(part, tuple)), b"")
        message = email.message_from_bytes(raw, policy=email.policy.default)
        headers = {name: str(message[name] or "") for name in ("From", "To", "Date", "Subject")}
        yield {**{name.lower(): value for name, value in headers.items()}, "text": _text_of(message)[:_LONGEST]}


def _text_of(message: Any) -> str:
    """The text of a mail; of one that is HTML alone, what stands between its tags."""
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    try:
        text = part.get_content()
    except (LookupError, UnicodeError):  # a charset that nobody knows
        text = part.get_payload(decode=True).decode("utf-8", errors="replace")
    return _TAGS.sub(" ", text).strip() if part.get_content_subtype() == "html" else text.strip()


def _contact_tool(file: Path) -> Tool:
    @tool(effect=Effect.READ)
    def find_contact(context: ToolContext, name: str) -> Outcome:
        """Finds a person's address in the contacts."""
        del context
        wanted = name.casefold().strip()
        people = [one for one in read_contacts(file) if wanted and wanted in one["name"].casefold()]
        return Outcome({"contacts": people[:20]})

    return find_contact


def read_contacts(file: Path) -> list[dict[str, str]]:
    """Names and addresses of a file of contacts. Raises ToolRefusal where it cannot be read."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolRefusal(f"contacts = {str(file)!r} cannot be read: {error}") from None
    if file.suffix.lower() == ".vcf":
        return list(_cards(text))
    rows = csv.DictReader(text.splitlines())
    if not {"name", "email"} <= set(rows.fieldnames or ()):
        raise ToolRefusal(f"contacts = {str(file)!r} needs the columns name and email")
    return [{"name": row["name"].strip(), "email": row["email"].strip()} for row in rows if row["email"]]


def _cards(text: str) -> Iterator[dict[str, str]]:
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    for card in re.findall(r"BEGIN:VCARD(.*?)END:VCARD", unfolded, re.S | re.I):
        name = re.search(r"^FN[^:\n]*:(.*)$", card, re.M | re.I)
        for address in re.findall(r"^(?:item\d+\.)?EMAIL[^:\n]*:(.*)$", card, re.M | re.I):
            yield {"name": name[1].strip().replace("\\,", ",") if name else "", "email": address.strip()}
