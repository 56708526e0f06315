"""A piece of work from its goal to its end: what is missing is asked for, what leaves the house is confirmed, a kill in
between loses nothing, a mail arrives once, and the documents open. Every command is a process of its own.

The model is a few rules behind a real server, so that the work is the same every time; all else is what people use.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pypdf
import pytest
import typst
from hwpx import HwpxDocument
from mail_server import Mails, mail_server, mail_settings
from model_server import results, said, serving, turns

GOAL = "이 과장님께 회의 안내 메일을 보내고, 안내문을 한글 문서와 PDF로 만들어줘."
SECTIONS = [{"heading": "안건", "text": "2027년 예산을 정한다."}]
HANGUL = any("Nanum" in family or "KR" in family for family in typst.Fonts().families())


class Rules:
    """The model: what it does next follows from what the tools have said. At one place it may be slow."""

    def __init__(self) -> None:
        self.slow, self.asked = threading.Event(), threading.Event()

    def __call__(self, messages, _):
        done = " ".join(results(messages))
        if "lee@example.kr" not in done:
            return [("find_contact", {"name": "이 과장"})]
        if '"added"' not in done:
            return [("add_event", {"title": "회의"})]  # nobody has said when
        if "안내문.hwpx" not in done:
            return [("write_document", self._document("hwpx"))]
        if self.slow.is_set():
            self.asked.set()
            deadline = time.monotonic() + 20
            while self.slow.is_set() and time.monotonic() < deadline:  # whoever asks is killed meanwhile
                time.sleep(0.05)
        if "안내문.pdf" not in done:
            return [("write_document", self._document("pdf"))]
        if '"sent"' not in done:
            mail = {"to": ["lee@example.kr"], "subject": "회의 안내", "body": "회의 안내문을 보냅니다."}
            return [("send_mail", {**mail, "attachments": ["안내문.pdf"]})]
        assert said(messages)[0] == GOAL and turns(messages) > 4
        return "메일을 보냈고 안내문을 두 가지로 만들었습니다."

    def _document(self, format):
        return {"path": f"안내문.{format}", "format": format, "title": "회의 안내", "sections": SECTIONS}


@pytest.fixture
def mails():
    handler = Mails()
    with mail_server(handler) as handler.port:
        yield handler


class Desk:
    """The command line of a person, in a folder of their own."""

    def __init__(self, folder: Path, model: str, smtp_port: int) -> None:
        self.folder, self.work = folder, folder / "work"
        (folder / "contacts.csv").write_text("name,email\n이 과장,lee@example.kr\n", encoding="utf-8")
        (folder / "tools.toml").write_text(
            f'contacts = "{folder}/contacts.csv"\n{mail_settings(smtp_port)}', encoding="utf-8"
        )
        self._options = ["--model", model, "--workspace", str(self.work), "--tools", str(folder / "tools.toml")]
        self._options += ["--database", f"sqlite:///{folder}/axk1.db"]

    def start(self, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "axk1", "agent", *words, *self._options]
        environment = {**os.environ, "COLUMNS": "200"}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment
        )

    def run(self, *words: str) -> str:
        process = self.start(*words)
        said, _ = process.communicate(timeout=100)
        assert process.returncode == 0, said
        return said


@pytest.mark.skipif(not HANGUL, reason="no font with Hangul is installed (fonts-nanum)")
def test_a_meeting_is_announced(tmp_path, mails):
    rules = Rules()
    with serving(rules) as model:
        desk = Desk(tmp_path, model, mails.port)
        first = desk.run(GOAL)
        assert "언제 시작하나요?" in first and not mails.taken
        (run,) = re.findall(r"--resume (run_\w+)", first)

        rules.slow.set()
        killed = desk.start("--resume", run, "--say", "내일 오후 3시요")
        assert rules.asked.wait(60)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        rules.slow.clear()
        assert (tmp_path / "work" / "안내문.hwpx").exists() and not (tmp_path / "work" / "안내문.pdf").exists()

        asked = desk.run("--resume", run)
        for part in ("lee@example.kr", "회의 안내", "회의 안내문을 보냅니다.", "안내문.pdf"):
            assert part in asked, "the confirmation shows exactly what goes out"
        assert not mails.taken
        ended = desk.run("--resume", run, "--say", "네")
        assert "두 가지로 만들었습니다" in ended
        assert "두 가지로 만들었습니다" in desk.run("--resume", run), "it has ended, and stays so"

    (mail,) = mails.taken
    assert (mail["To"], mail["Subject"]) == ("lee@example.kr", "회의 안내")
    (attached,) = mail.iter_attachments()
    assert attached.get_content() == (desk.work / "안내문.pdf").read_bytes()
    pdf = "".join(page.extract_text() for page in pypdf.PdfReader(desk.work / "안내문.pdf").pages)
    hwpx = HwpxDocument.open(str(desk.work / "안내문.hwpx")).text.plain()
    for found in (pdf, hwpx):
        assert "회의 안내" in found and "2027년 예산을 정한다." in found
    assert "T150000" in (desk.work / "calendar.ics").read_text()
