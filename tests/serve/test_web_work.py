"""The page's *ask* and *do*, in a real browser against ``axk1 serve`` as a process, with documents and a mail server.

The model is a few rules behind a server of OpenAI's API, so ``--upstream`` has it.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from chromium import Browser
from mail_server import Mails, mail_server, mail_settings
from model_server import results, serving
from programs import free_port, listening_program

DOCUMENT = """# 휴가 규정

## 연차

연차 휴가는 1년에 15일이다. 입사한 첫해에는 한 달에 하루씩 생긴다.

## 경조

결혼 휴가는 5일이다. 휴가는 팀장에게 이틀 전까지 신청한다.
"""
IDLE = "!document.body.classList.contains('busy')"


def rules(messages, request):
    """Asked to judge or to write, it has nothing to say; with tools it writes a file and a mail."""
    if not request.get("tools"):
        return "{}"
    done = " ".join(results(messages))
    if "memo.txt" not in done:
        return [("write_file", {"path": "memo.txt", "text": "휴가는 금요일"})]
    if '"sent"' in done:
        return "메일을 보냈습니다."
    if "did not agree" in done:
        return "보내지 않았습니다."
    goal = next(message["content"] for message in messages if message["role"] == "user")
    to = re.findall(r"\S+@\S+", goal) or ["nobody@example.kr"]
    return [("send_mail", {"to": to, "subject": "휴가", "body": "금요일에 쉽니다."})]


@pytest.fixture(scope="module")
def mails():
    handler = Mails()
    with mail_server(handler) as handler.port:
        yield handler


@pytest.fixture(scope="module")
def site(tmp_path_factory, mails):
    """The address of a server with an index and tools, and its folder."""
    folder: Path = tmp_path_factory.mktemp("site")
    (folder / "documents").mkdir()
    (folder / "documents" / "휴가.md").write_text(DOCUMENT, encoding="utf-8")
    (folder / "index.toml").write_text(f'output = "{folder}/index"\n[[source]]\npath = "{folder}/documents"\n')
    (folder / "tools.toml").write_text(mail_settings(mails.port))
    axk1 = [sys.executable, "-m", "axk1"]
    subprocess.run([*axk1, "search", "build", str(folder / "index.toml")], check=True, capture_output=True)
    with serving(rules) as model:
        port = free_port()
        words = ["serve", "--upstream", model, "--port", str(port), "--search", str(folder / "index")]
        words += ["--agent-tools", str(folder / "tools.toml"), "--workspace", str(folder / "work")]
        words += ["--database", f"sqlite:///{folder}/axk1.db"]
        with listening_program([*axk1, *words], port, log=folder / "log"):
            yield f"http://127.0.0.1:{port}", folder


def send(browser: Browser, mode: str, text: str) -> None:
    browser.until("!document.getElementById('modes').hidden")
    browser.run(f"document.querySelector('input[name=mode][value={mode}]').click()")
    browser.run("document.getElementById('message').focus()")
    browser.type(text)
    browser.press("Enter")


def texts(browser: Browser, selector: str) -> list[str]:
    return browser.run(f"[...document.querySelectorAll({selector!r})].map((one) => one.innerText.trim())")


def test_an_answer_opens_its_source_at_the_passage(site, visit):
    browser = visit(site[0])
    send(browser, "ask", "연차 휴가는 1년에 며칠인가요?")
    browser.until(f"{IDLE} && document.querySelector('.citation')")
    assert "15일" in texts(browser, ".answer")[0] and texts(browser, ".sources li")
    assert browser.run("document.querySelectorAll('.steps li').length") >= 3
    browser.run("document.querySelector('.citation').click()")
    browser.until("document.getElementById('source-menu').open")
    assert "연차 휴가는 1년에 15일이다." in texts(browser, "#source-text mark")[0]
    assert "휴가.md" in texts(browser, "#source-place")[0] and "연차" in texts(browser, "#source-place")[0]
    browser.press("Escape")
    browser.until("!document.getElementById('source-menu').open")


def test_what_no_document_says_is_refused(site, visit):
    browser = visit(site[0])
    send(browser, "ask", "화성의 위성은 몇 개인가요?")
    browser.until(f"{IDLE} && document.querySelector('.answer p')")
    assert not texts(browser, ".citation") and not texts(browser, ".sources li")
    assert "근거가 없" in texts(browser, ".answer")[0]


def test_work_asks_confirms_and_hands_over_its_files(site, visit, mails):
    browser, before = visit(site[0]), len(mails.taken)
    send(browser, "do", "휴가 메일을 보내줘")
    browser.until(f"{IDLE} && document.querySelector('.card form input')")
    assert "To whom" in texts(browser, ".card label")[0]
    browser.run("document.querySelector('.card form input').focus()")
    browser.type("lee@example.kr")
    browser.press("Enter")
    browser.until(f"{IDLE} && document.querySelector('article:last-child .card .main')")
    shown = texts(browser, "article:last-child .card")[0]
    assert all(part in shown for part in ("lee@example.kr", "휴가", "금요일에 쉽니다.")) and len(mails.taken) == before
    assert browser.run("document.querySelectorAll('article:not(:last-child) .card form').length") == 1
    browser.run("document.querySelector('article:last-child .card .main').click()")
    browser.until(f"{IDLE} && document.querySelector('article:last-child .files li')")
    assert "메일을 보냈습니다." in texts(browser, "article:last-child .text")[0]
    assert [mail["To"] for mail in mails.taken[before:]] == ["lee@example.kr"]
    browser.run("""window.saved = new Promise((resolve) => {
      URL.createObjectURL = (blob) => { blob.text().then(resolve); return "#"; };
      document.querySelector("article:last-child .files button").click();
    })""")
    assert browser.run("window.saved") == "휴가는 금요일"


def test_a_no_is_a_no_and_a_reload_shows_how_it_stands(site, visit, mails):
    browser, before = visit(site[0]), len(mails.taken)
    send(browser, "do", "휴가 메일을 lee@example.kr 로 보내줘")
    browser.until(f"{IDLE} && document.querySelector('.card .ends')")
    browser.open(site[0])
    browser.until(f"{IDLE} && document.querySelector('.card .ends .quiet')")
    browser.run("document.querySelector('.card .ends .quiet').click()")
    browser.until(f"{IDLE} && document.querySelectorAll('article').length === 4")
    assert "보내지 않았습니다." in texts(browser, "article:last-child .text")[0] and len(mails.taken) == before


def test_a_server_with_neither_shows_no_modes(visit, server):
    browser = visit(server.url)
    browser.until("document.getElementById('model').textContent")
    time.sleep(0.3)
    assert browser.run("document.getElementById('modes').hidden")


def test_the_routes_of_the_page_are_those_of_the_server(site):
    paths = httpx.get(f"{site[0]}/openapi.json", timeout=100).json()["paths"]
    assert {"/v1/answers", "/v1/passages/{id}", "/v1/agents/runs", "/v1/agents/runs/{run_id}/input"} <= set(paths)
    assert json.dumps(sorted(paths))
