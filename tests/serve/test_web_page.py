"""The chat page in a real browser, against the real server; and what it may load."""

import re
from pathlib import Path

import httpx
import pytest
from chromium import PROGRAM, Browser
from running_server import until

from axk1.channels.web import page

FOLDER = Path(page.__file__).parent


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip("no Chromium on this machine")
    opened = Browser(str(tmp_path_factory.mktemp("profile")), "--lang=en-US")
    yield opened
    opened.close()


@pytest.fixture
def browser(chromium, server):
    """The page as a new visitor sees it."""
    chromium.open(server.url)
    chromium.run("localStorage.clear(), delete document.documentElement.dataset.theme")
    chromium.open(server.url)
    return chromium


def write(browser, text):
    browser.run(f"document.getElementById('message').value = {text!r}, document.getElementById('send').click()")


def shown(browser, selector):
    return browser.run(f"[...document.querySelectorAll({selector!r})].map((e) => e.textContent)")


ANSWERED = "document.getElementById('stop').hidden && document.querySelectorAll('article.assistant').length"
ENDLESS = """(() => {
  const real = window.fetch, more = { ignore_eos: true, max_tokens: 60 };
  window.fetch = (path, options) =>
    real(path, options && { ...options, body: JSON.stringify({ ...JSON.parse(options.body), ...more }) });
})()"""
"""Makes the random model go on for 60 tokens."""
STOP_AT_FIRST_TEXT = """new Promise((resolve) => {
  const seen = () => [...document.querySelectorAll("article.assistant")].some((e) => e.textContent.length > 0);
  const press = () => { document.getElementById("stop").click(); resolve(true); };
  const watch = new MutationObserver(() => { if (seen()) { watch.disconnect(); press(); } });
  watch.observe(document.getElementById("conversation"), { childList: true, subtree: true, characterData: true });
  if (seen()) press();
})"""


def test_a_conversation_in_a_browser(server, browser):
    assert shown(browser, "#model") == ["tiny"] and shown(browser, "#send") == ["Send"]
    browser.run(ENDLESS)
    for press in ("send", "again"):
        if press == "send":
            browser.run("document.getElementById('message').value = '예산은 <b>14</b>일에?'")
        browser.run(f"document.getElementById({press!r}).click(), {STOP_AT_FIRST_TEXT}")
        browser.until(ANSWERED)
        assert shown(browser, "article.user") == ["예산은 <b>14</b>일에?"] and shown(browser, "article b") == []
        assert shown(browser, ".note") == ["Stopped."]
        assert len(shown(browser, "article.assistant")) == 1
    until(server.idle)
    browser.run("document.getElementById('new').click()")
    assert shown(browser, "article") == []


@pytest.mark.parametrize("think", [False, True])
def test_thinking_stands_in_a_fold_and_only_when_asked_for(browser, think):
    browser.run(ENDLESS)
    browser.run(f"document.getElementById('think').checked = {str(think).lower()}")
    write(browser, "a")
    browser.until(ANSWERED)
    assert browser.run("document.querySelector('details').hidden") is not think
    assert shown(browser, "#status")[0].endswith("a second")
    assert "Cut off" in shown(browser, ".note")[0]


def test_languages_and_colours_change_and_are_kept(server, browser):
    browser.run("document.getElementById('language').click()")
    assert shown(browser, "#send") == ["보내기"] and browser.run("document.documentElement.lang") == "ko"
    colour = "getComputedStyle(document.body).backgroundColor"
    before = browser.run(colour)
    browser.run("document.getElementById('theme').click()")
    assert browser.run(colour) != before
    browser.open(server.url)
    assert shown(browser, "#send") == ["보내기"] and browser.run(colour) != before


def test_the_page_loads_nothing_from_elsewhere(server):
    for path in re.findall(r'"(/web/[^"]+)"', (FOLDER / "index.html").read_text() + (FOLDER / "chat.js").read_text()):
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
    assert not any("http" in path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.is_file())


def test_both_languages_have_every_word():
    text = (FOLDER / "words.js").read_text(encoding="utf-8")
    english, korean = (set(re.findall(r"(\w+): [\"(]", part)) for part in text.split("  ko: {"))
    used = set(re.findall(r'data-(?:word|placeholder)="(\w+)"', (FOLDER / "index.html").read_text(encoding="utf-8")))
    used |= set(re.findall(r"words\.(\w+)", (FOLDER / "chat.js").read_text(encoding="utf-8"))) - {"js"}
    assert english == korean == used
