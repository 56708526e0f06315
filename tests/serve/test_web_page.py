"""A conversation on the chat page, in a real browser against the real server."""

import json

import pytest
from chromium import Browser
from programs import until
from running_server import start
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

ANSWERED = "!document.body.classList.contains('busy') && document.querySelectorAll('article.assistant').length"
WATCHED = """(() => {
  const real = window.fetch;
  window.asked = [];
  window.fetch = (path, options) => {
    if (!options?.body) return real(path, options);
    window.asked.push(JSON.parse(options.body));
    return real(path, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), ...%s }) });
  };
})()"""
"""Notes what the page asks for, and asks the random model to go on."""
ENDLESS = WATCHED % "{ ignore_eos: true, max_tokens: 60 }"
LONG = WATCHED % "{ ignore_eos: true, max_tokens: 400 }"
"""Long enough that a crowded machine stops it before its end."""
STOP_AT_FIRST_TEXT = """new Promise((resolve) => {
  const look = () => {
    const text = document.querySelector("article.assistant:last-child .text")?.textContent;
    if (text) document.getElementById("stop").click();
    if (text || !document.body.classList.contains("busy")) resolve(); else requestAnimationFrame(look);
  };
  look();
})"""


def write(browser: Browser, text: str) -> None:
    browser.run("document.getElementById('message').focus()")
    browser.type(text)
    browser.press("Enter")


def click(browser: Browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).click()")


def shown(browser: Browser, selector: str) -> list[str]:
    return browser.run(f"[...document.querySelectorAll({selector!r})].map((e) => e.textContent)")


def asked(browser: Browser) -> list[list[str]]:
    """The texts of every request so far."""
    return [[message["content"] for message in body["messages"]] for body in browser.run("window.asked")]


def test_stop_frees_the_place_and_regenerate_asks_the_same(server, browser):
    browser.until("document.getElementById('model').textContent === 'tiny'")
    browser.run(LONG)
    write(browser, "예산은 <b>14</b>일에?")
    for _ in range(2):
        browser.run(STOP_AT_FIRST_TEXT)
        browser.until(ANSWERED)
        assert shown(browser, "article.user .text") == ["예산은 <b>14</b>일에?"] and shown(browser, "article b") == []
        assert shown(browser, ".note") == ["Stopped."] and len(shown(browser, "article.assistant")) == 1
        until(server.idle)
        click(browser, ".again")
    browser.until(ANSWERED)
    assert asked(browser) == [["예산은 <b>14</b>일에?"]] * 3


@pytest.mark.parametrize("think", [False, True])
def test_an_answer_grows_and_its_thoughts_are_folded(browser, think):
    browser.run(ENDLESS)
    browser.run(f"document.getElementById('think').checked = {str(think).lower()}")
    browser.run("""window.sizes = new Set(), new MutationObserver(() =>
      window.sizes.add(document.querySelector("article.assistant")?.textContent.length)
    ).observe(document.getElementById("conversation"), { childList: true, subtree: true, characterData: true })""")
    write(browser, "a")
    browser.until(ANSWERED)
    assert browser.run("window.sizes.size") > 3
    assert browser.run("document.querySelector('.thought').hidden") is not think
    assert browser.run("document.querySelector('.thought').open") is False
    assert "Cut off" in shown(browser, ".note")[0] and shown(browser, ".note")[0].endswith("a second")
    said = browser.run("document.getElementById('announce').textContent")
    assert "Cut off" in said, "a screen reader is told of the answer once, when it is whole"


def test_the_last_question_is_edited_and_sent_again(browser):
    browser.run(ENDLESS)
    for text in ("one", "two"):
        write(browser, text)
        browser.until(ANSWERED)
    first = browser.run("window.asked[1].messages[1].content")
    visible = "[...document.querySelectorAll('.edit')].map((e) => getComputedStyle(e).display !== 'none')"
    assert browser.run(visible) == [False, True]
    click(browser, "article.user:nth-of-type(3) .edit")
    browser.press("Escape")
    assert browser.run("document.activeElement.className").endswith("edit")
    click(browser, "article.user:nth-of-type(3) .edit")
    browser.run("document.activeElement.select()")
    browser.type("three")
    browser.press("Enter")
    browser.until(ANSWERED)
    assert asked(browser)[2] == ["one", first, "three"]
    assert shown(browser, "article.user .text") == ["one", "three"] and len(shown(browser, "article")) == 4


def test_chats_are_kept_over_reloads_and_listed_and_deleted(server, browser):
    browser.run(ENDLESS)
    write(browser, "first")
    browser.run(STOP_AT_FIRST_TEXT)
    browser.until(ANSWERED)
    before = shown(browser, "article")
    browser.open(server.url)
    assert shown(browser, "article") == before
    click(browser, "#new")
    browser.open(server.url)
    assert shown(browser, "article") == [], "a window comes back with the chat that it showed"
    write(browser, "second")
    browser.until(ANSWERED)
    click(browser, "#chats")
    assert shown(browser, "#chats-list .title") == ["second", "first"]
    click(browser, "#chats-list li:last-child .title")
    assert shown(browser, "article") == before
    click(browser, "#chats")
    click(browser, "#chats-list li:last-child .quiet")
    assert shown(browser, "#chats-list .title") == ["second"] and shown(browser, "article") == []
    browser.open(server.url)
    assert shown(browser, "article") == [] and browser.run("Object.keys(localStorage).length") == 2


def test_a_reload_amid_an_answer_keeps_what_came(server, browser):
    browser.run(LONG)
    write(browser, "a")
    browser.until("document.querySelector('.assistant .text')?.textContent.length > 5")
    browser.open(server.url)
    assert len(shown(browser, ".assistant .text")[0]) > 5
    assert shown(browser, ".note")[0] in ("Stopped.", "The connection ended before the answer did.")
    until(server.idle)


def test_copy_takes_the_markdown_or_one_block_of_code(server, browser):
    origin = {"origin": server.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.send("Browser.grantPermissions", origin)
    text = "Do **this**:\n\n```sh\naxk1 chat <x>\n```"
    show_chat(browser, server.url, text)
    for selector, wanted in ((".code .copy", "axk1 chat <x>"), (".assistant > .tools .copy", text)):
        click(browser, selector)
        browser.until(f"document.querySelector({selector!r}).textContent === 'Copied'")
        assert browser.run("navigator.clipboard.readText()") == wanted
        browser.until(f"document.querySelector({selector!r}).textContent === 'Copy'")


def show_chat(browser: Browser, url: str, answer: str) -> None:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer, "reasoning": ""}]
    chat = json.dumps(json.dumps({"id": "kept", "time": 1, "messages": messages}))
    browser.run(f"localStorage.setItem('chat.kept', {chat}), sessionStorage.setItem('chat', 'kept')")
    browser.open(url)


def test_enter_leaves_a_syllable_to_the_input_method(browser):
    browser.run(ENDLESS)
    browser.run("document.getElementById('message').focus()")
    browser.send("Input.imeSetComposition", {"text": "한", "selectionStart": 1, "selectionEnd": 1})
    browser.press("Enter", composing=True)
    browser.press("Escape", composing=True)
    assert shown(browser, "article") == [] and browser.run("document.getElementById('message').value") == "한"
    browser.type("한")  # the input method is done
    browser.press("Process")  # how Safari tells of the Enter that has ended a composition
    assert shown(browser, "article") == []
    browser.press("Enter", shift=True)
    browser.type("글")
    browser.press("Enter")
    browser.until(ANSWERED)
    assert asked(browser) == [["한\n글"]]


def test_everything_is_within_reach_of_the_keyboard(server, browser):
    browser.run(LONG)
    browser.run("document.querySelector('.skip').focus()")
    order = []
    for _ in range(6):
        browser.press("Tab")
        order.append(browser.run("document.activeElement.id || document.activeElement.className"))
        outline = "getComputedStyle(document.activeElement.id === 'message' ? document.getElementById('form') : "
        assert browser.run(outline + "document.activeElement).outlineStyle") == "solid", order
    assert order == ["chats", "new", "settings", "message", "think", "send"]
    browser.run("document.getElementById('message').focus()")
    browser.press("Tab")
    browser.press(" ")
    assert browser.run("document.getElementById('think').checked")
    write(browser, "a")
    browser.until("document.querySelector('article.assistant')")
    browser.press("Escape")
    browser.until(ANSWERED)
    assert shown(browser, ".note") == ["Stopped."]
    until(server.idle)
    browser.run("document.getElementById('settings').focus()")
    browser.press("Enter")
    assert browser.run("document.getElementById('settings-menu').open")
    browser.press("Escape")
    browser.until("!document.getElementById('settings-menu').open")
    assert browser.run("document.activeElement.id") == "settings"


def test_a_chat_that_is_too_long_says_so(browser):
    write(browser, "예산 " * 2000)
    browser.until(ANSWERED)
    assert shown(browser, ".note") == ["This chat has grown longer than the model can read. Start a new one."]


def test_other_errors_are_told_in_the_words_of_the_server(browser):
    browser.run(WATCHED % "{ temperature: -1 }")
    write(browser, "a")
    browser.until(ANSWERED)
    assert shown(browser, ".note")[0].startswith("That did not work: temperature = -1")


def test_a_busy_server_is_asked_again_when_it_said(narrow, visit):
    browser = visit(narrow.url)
    browser.run(ENDLESS)
    requests = {
        "model": "tiny",
        "prompt": "예산",
        "max_tokens": 400,
        "stream": True,
        "extra_body": {"ignore_eos": True},
    }
    busy = [narrow.client.completions.create(**requests) for _ in range(2)]
    write(browser, "a")
    browser.until("document.querySelector('.note')?.textContent.startsWith('The server is busy. Trying again in ')")
    for stream in busy:
        stream.close()
    browser.until(ANSWERED)
    assert "Cut off" in shown(browser, ".note")[0] and len(browser.run("window.asked")) == 2


class Gate:
    """In front of a server: lets in who brings the key, as a proxy does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wants_key = scope["type"] == "http" and scope["path"].startswith("/v1")
        if wants_key and (b"authorization", b"Bearer open-sesame") not in scope["headers"]:
            body = {"error": {"message": "no key", "type": "invalid_request_error", "param": None, "code": None}}
            await JSONResponse(body, 401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def test_a_key_is_asked_for_and_kept_and_sent(network, tokenizer, visit):
    for server in start(network, tokenizer, gate=Gate):
        browser = visit(server.url)
        for key in ("wrong", "open-sesame"):
            browser.until("document.getElementById('settings-menu').open")
            assert shown(browser, "#key-hint")[0].startswith("This server asks for an API key.")
            assert browser.run("document.activeElement.id") == "key"
            browser.run("document.activeElement.select()")
            browser.type(key)
            browser.press("Enter")
        browser.until("document.getElementById('model').textContent === 'tiny'")
        browser.run("localStorage.removeItem('setting.key')")
        browser.run(ENDLESS)
        write(browser, "a")
        browser.until("document.getElementById('settings-menu').open")
        browser.type("open-sesame")
        browser.press("Enter")
        browser.until(f"document.querySelector('.note').textContent.startsWith('Cut off') && {ANSWERED}")
        assert asked(browser) == [["a"]] * 2, "the question was sent again"
        browser.open(server.url)
        browser.until("document.getElementById('model').textContent === 'tiny'")


def test_a_server_that_is_gone_is_said_to_be(network, tokenizer, visit):
    for server in start(network, tokenizer):
        browser = visit(server.url)
    write(browser, "a")
    browser.until(ANSWERED)
    assert shown(browser, ".note") == ["The server cannot be reached. Check that it runs and that you are online."]
