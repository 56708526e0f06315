"""Mail, through a real SMTP server in this process's neighbourhood; a crash never sends twice."""

import asyncio
import email
import email.policy
import hashlib
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mail_server import Mails, mail_server

from axk1.agents.loop import Runner
from axk1.agents.run import Input, Status
from axk1.agents.tool import ToolContext, ToolRefusal
from axk1.agents.tools.mail import MailConfig, _Mail, mail_tools, read_contacts
from axk1.core.chat_model import ChatReply, ToolCall

NOW = datetime(2026, 11, 23, 9, tzinfo=ZoneInfo("Asia/Seoul"))


@pytest.fixture
def inbox():
    handler = Mails()
    with mail_server(handler) as handler.port:
        yield handler


def sender(inbox, **changes):
    config = MailConfig(
        sender="kim@example.kr", name="김 대리", smtp="127.0.0.1", smtp_port=inbox.port, encrypted=False,
        timeout_seconds=5, **changes,
    )  # fmt: skip
    return {tool.name: tool for tool in mail_tools(config)}["send_mail"]


def context(folder: Path, call: int = 1) -> ToolContext:
    return ToolContext(folder, f"run:{call}", NOW, "ko")


ARGUMENTS = {
    "to": ["lee@example.kr"],
    "subject": "회의 안내 🗓",
    "body": "내일 3시입니다.\n감사합니다.",
    "attachments": [],
}


def test_a_korean_mail_with_a_file_arrives_as_it_was_shown(inbox, tmp_path):
    (tmp_path / "보고서 1.txt").write_text("내용")
    arguments = {**ARGUMENTS, "attachments": ["보고서 1.txt"]}
    tool = sender(inbox)
    shown = tool.preview(context(tmp_path), **arguments)
    outcome = asyncio.run(tool.function(context(tmp_path), **arguments))
    (mail,) = inbox.taken
    assert mail["Subject"] == "회의 안내 🗓" and mail["To"] == "lee@example.kr" and "김 대리" in mail["From"]
    assert mail.get_body().get_content().replace("\r\n", "\n").strip() == ARGUMENTS["body"]
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "보고서 1.txt" and attached.get_content().strip() == "내용"
    assert mail["Message-ID"] == outcome.content["message_id"]
    for part in ("lee@example.kr", "회의 안내 🗓", "내일 3시입니다.", "보고서 1.txt (6 B)"):
        assert part in shown


def test_the_same_call_sends_once_and_another_sends_again(inbox, tmp_path):
    tool = sender(inbox)
    for call in (1, 1, 2):
        asyncio.run(tool.function(context(tmp_path, call), **ARGUMENTS))
    assert len(inbox.taken) == 2 and len({mail["Message-ID"] for mail in inbox.taken}) == 2


def test_a_crash_before_the_server_hears_of_it_sends_later(inbox, tmp_path):
    tool = sender(inbox)
    assert asyncio.run(tool.recover(context(tmp_path), **ARGUMENTS)) is None
    asyncio.run(tool.function(context(tmp_path), **ARGUMENTS))
    again = asyncio.run(tool.recover(context(tmp_path), **ARGUMENTS))
    assert again.content["sent"] and len(inbox.taken) == 1


def test_a_crash_while_the_server_takes_it_is_nobodys_guess(inbox, tmp_path):
    tool, inbox.vanishes = sender(inbox), True
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        asyncio.run(tool.function(context(tmp_path), **ARGUMENTS))
    assert len(inbox.taken) == 1
    with pytest.raises(ToolRefusal, match="알 수 없습니다"):
        asyncio.run(tool.recover(context(tmp_path), **ARGUMENTS))


def test_a_refused_mail_may_be_tried_again(inbox, tmp_path):
    tool, inbox.refuses = sender(inbox), True
    with pytest.raises(ToolRefusal, match="refused"):
        asyncio.run(tool.function(context(tmp_path), **ARGUMENTS))
    assert asyncio.run(tool.recover(context(tmp_path), **ARGUMENTS)) is None
    inbox.refuses = False
    asyncio.run(tool.function(context(tmp_path), **ARGUMENTS))
    assert len(inbox.taken) == 1


def test_addresses_that_the_server_refuses_are_told(inbox, tmp_path):
    tool, inbox.unknown = sender(inbox), {"nobody@example.kr"}
    arguments = {**ARGUMENTS, "to": ["lee@example.kr", "nobody@example.kr"]}
    sent = asyncio.run(tool.function(context(tmp_path), **arguments)).content
    assert len(inbox.taken) == 1 and sent["to"] == ["lee@example.kr"]
    assert sent["not_sent_to"] == {"nobody@example.kr": "550 no such user"}
    for again in (tool.recover, tool.function):  # as after a crash behind the sending
        assert asyncio.run(again(context(tmp_path), **arguments)).content == sent
    with pytest.raises(ToolRefusal, match="refused"):
        asyncio.run(tool.function(context(tmp_path, 2), **{**ARGUMENTS, "to": ["nobody@example.kr"]}))
    assert len(inbox.taken) == 1


def test_what_is_shown_tells_files_of_one_length_apart(inbox, tmp_path):
    arguments, tool, shown = {**ARGUMENTS, "attachments": ["pay.txt"]}, sender(inbox), []
    for text in ("10 to A", "99 to B"):
        (tmp_path / "pay.txt").write_text(text)
        shown.append(tool.preview(context(tmp_path), **arguments))
        assert hashlib.sha256(text.encode()).hexdigest()[:16] in shown[-1] and "pay.txt (7 B)" in shown[-1]
    assert shown[0] != shown[1]


def test_an_attachment_that_was_replaced_after_it_was_shown_is_shown_anew(inbox, tmp_path, store):
    (tmp_path / "pay.txt").write_text("10 to A")
    model = Once(ToolCall("a", "send_mail", {**ARGUMENTS, "attachments": ["pay.txt"]}))
    runner = Runner(model, {"send_mail": sender(inbox)}, store, clock=lambda: NOW, workspace=tmp_path)
    run = asyncio.run(runner.start("lee@example.kr 에게 pay.txt 보내줘"))
    (tmp_path / "pay.txt").write_text("99 to B")
    run = asyncio.run(runner.give(run.id, Input(text="네")))
    assert run.status is Status.CONFIRMATION_REQUIRED and not inbox.taken
    run = asyncio.run(runner.give(run.id, Input(text="네")))
    assert run.status is Status.COMPLETED and len(inbox.taken) == 1


class Once:
    """A model that makes one call, and then is done."""

    def __init__(self, call):
        self.replies = [ChatReply("", (call,)), ChatReply("보냈습니다.")]

    async def chat(self, messages, **_):
        return self.replies.pop(0)


def test_a_server_that_is_not_there_or_does_not_encrypt(inbox, tmp_path):
    gone = MailConfig(sender="kim@example.kr", smtp="127.0.0.1", smtp_port=1, encrypted=False, timeout_seconds=2)
    open_ = MailConfig(sender="kim@example.kr", smtp="127.0.0.1", smtp_port=inbox.port, timeout_seconds=2)
    for config in (gone, open_):
        (tool,) = mail_tools(config)
        with pytest.raises(ToolRefusal, match="cannot be used"):
            asyncio.run(tool.function(context(tmp_path), **ARGUMENTS))
        assert asyncio.run(tool.recover(context(tmp_path), **ARGUMENTS)) is None
    assert not inbox.taken


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"to": []}, "to is empty"),
        ({"subject": "a\r\nBcc: all@example.kr"}, "line break"),
        ({"attachments": ["../secret"]}, "leads out"),
        ({"attachments": ["nothing.txt"]}, "does not exist"),
    ],
)
def test_what_no_mail_can_hold_is_neither_shown_nor_sent(inbox, tmp_path, changes, said):
    tool = sender(inbox)
    for use in (tool.preview, lambda *a, **k: asyncio.run(tool.function(*a, **k))):
        with pytest.raises(ToolRefusal, match=said):
            use(context(tmp_path), **{**ARGUMENTS, **changes})
    assert not inbox.taken


@pytest.mark.parametrize("address", ["a b@c.kr", "a@b.kr\nBcc: x@y.kr", "a", "a@", "<a@b.kr>", "a@b.kr,c@d.kr"])
def test_addresses_are_addresses(inbox, address):
    with pytest.raises(ToolRefusal, match=r"to\.0"):
        sender(inbox).checked({**ARGUMENTS, "to": [address]})


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300))
def test_any_text_comes_back_out_of_a_mail(tmp_path_factory, text):
    mail = _Mail(MailConfig(sender="a@b.kr", smtp="x"))
    folder = tmp_path_factory.getbasetemp()
    subject = " ".join(text.split()) or "x"
    if any(letter in "\r\n" for letter in subject):
        return
    made = mail._message(context(folder), ["c@d.kr"], subject, text, ())
    again = email.message_from_bytes(bytes(made), policy=email.policy.default)
    lines = [line.rstrip() for line in text.splitlines()]
    found = [line.rstrip() for line in again.get_body().get_content().splitlines()]
    assert "".join(found).split() == "".join(lines).split()


def test_contacts_of_both_forms(tmp_path):
    (tmp_path / "c.csv").write_text("name,email\n이 과장,lee@example.kr\n", encoding="utf-8")
    (tmp_path / "c.vcf").write_text(
        "BEGIN:VCARD\nVERSION:4.0\nFN:이 과장\nEMAIL;TYPE=work:lee@exam\n ple.kr\nEND:VCARD\n", encoding="utf-8"
    )
    for name in ("c.csv", "c.vcf"):
        assert read_contacts(tmp_path / name) == [{"name": "이 과장", "email": "lee@example.kr"}]
        find = {tool.name: tool for tool in mail_tools(MailConfig(), tmp_path / name)}["find_contact"]
        assert len(find.function(context(tmp_path), name="과장").content["contacts"]) == 1
    (tmp_path / "bad.csv").write_text("a,b\n")
    with pytest.raises(ToolRefusal, match="columns name and email"):
        read_contacts(tmp_path / "bad.csv")
