"""A real SMTP server that keeps what it was given."""

import email
import email.policy
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from programs import free_port


class Mails:
    """Keeps mails. It may refuse one or an address, or vanish when it has taken one and before it says so."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.refuses = self.vanishes = False
        self.unknown: set[str] = set()

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:  # noqa: N802 - aiosmtpd's name
        if address in self.unknown:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.refuses:
            return "554 no"
        self.taken.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        if self.vanishes:
            server.transport.abort()
        return "250 OK"


@contextmanager
def mail_server(handler: Any) -> Iterator[int]:
    """The port of a server that gives its mails to a handler."""
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def mail_settings(port: int) -> str:
    """The table of ``tools.toml`` that has mails sent there."""
    return f'[mail]\nsender = "kim@example.kr"\nsmtp = "127.0.0.1"\nsmtp_port = {port}\nencrypted = false\n'
