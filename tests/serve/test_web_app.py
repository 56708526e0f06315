"""The chat page as an application: its files, languages, colours, installation, and life without a server."""

import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest
from running_server import start

from axk1.channels.web import page

FOLDER = Path(page.__file__).parent
ROUTES = {route.path for route in page.router().routes}


def test_the_policy_lets_nothing_from_elsewhere_run_and_no_html_be_made(server, browser):
    policy = httpx.get(server.url).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    made = "(() => { try { document.body.innerHTML = 'x'; return true; } catch { return false; } })()"
    assert browser.run(made) is False
    loaded = browser.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(loaded) > 5 and all(name.startswith(server.url) for name in loaded)


def test_every_file_is_served_as_what_it_is(server):
    for path in ROUTES:
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
    texts = [FOLDER.joinpath("index.html").read_text(encoding="utf-8")]
    texts += [file.read_text(encoding="utf-8") for file in FOLDER.glob("*.js")]
    named = {path for text in texts for path in re.findall(r'"(/web/[^"]+)"', text)}
    assert named <= ROUTES and len(named) > 10


def test_the_worker_keeps_every_file_but_itself():
    kept = re.search(r"FILES = \[(.*?)\]", (FOLDER / "worker.js").read_text(encoding="utf-8"), re.S)[1]
    assert set(re.findall(r'"([^"]+)"', kept)) == ROUTES - {"/web/worker.js"}


def test_the_library_is_the_one_that_was_published():
    text = (FOLDER / "marked/README.md").read_text(encoding="utf-8")
    assert hashlib.sha256((FOLDER / "marked/marked.esm.js").read_bytes()).hexdigest() in text
    assert "MIT" in (FOLDER / "marked/LICENSE").read_text(encoding="utf-8")


def test_both_languages_have_every_word(browser):
    words = browser.run("""import("/web/words.js").then(({ LANGUAGES, WORDS }) =>
      LANGUAGES.map((language) => Object.keys(WORDS[language]).sort()))""")
    assert len(words) == 2 and words[0] == words[1]
    text = "".join(file.read_text(encoding="utf-8") for file in [*FOLDER.glob("*.js"), FOLDER / "index.html"])
    assert all(len(re.findall(rf"\b{name}\b", text)) > 2 for name in words[0]), "every word is used"


@pytest.mark.parametrize(
    ("tags", "language", "welcome"),
    [
        ("ko-KR,en", "ko", "무엇이 궁금하신가요?"),
        ("de,ko", "ko", "무엇이 궁금하신가요?"),
        ("de", "en", "What is on your mind?"),
    ],
)
def test_the_browser_says_the_language_and_the_reader_changes_it(visit, server, tags, language, welcome):
    browser = visit(server.url)
    agent = browser.run("navigator.userAgent")
    browser.send("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": tags})
    try:
        browser.open(server.url)
        assert browser.run("document.documentElement.lang") == language
        assert browser.run("document.querySelector('.greeting').textContent") == welcome
        other = "ko" if language == "en" else "en"
        browser.run(f"document.getElementById('settings').click(), document.querySelector('[value={other}]').click()")
        browser.open(server.url)
        assert browser.run("document.documentElement.lang") == other
    finally:
        browser.send("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": "en-US"})


CONTRASTS = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const probe = document.body.appendChild(document.createElement("i"));
  const value = (name) => { probe.style.color = `var(--${name})`; return light(getComputedStyle(probe).color); };
  const pairs = [["ink", "paper"], ["ink", "soft"], ["ink", "card"], ["faint", "paper"], ["faint", "card"],
    ["faint", "soft"], ["accent", "paper"], ["on-accent", "accent"]];
  return pairs.map(([one, other]) => {
    const [dim, bright] = [value(one), value(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dim + 0.05);
  });
})()"""
"""WCAG's contrast of text with its ground; 4.5 is what its level AA asks for."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_system_says_the_colours_and_the_reader_changes_them(visit, server, scheme):
    browser = visit(server.url)
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    before = browser.run(ground)
    assert (before < "rgb(1") is (scheme == "light") or before == (
        "rgb(250, 249, 246)" if scheme == "light" else "rgb(23, 25, 28)"
    )
    assert min(browser.run(CONTRASTS)) >= 4.5
    other = "dark" if scheme == "light" else "light"
    browser.run(f"document.getElementById('settings').click(), document.querySelector('[value={other}]').click()")
    assert browser.run(ground) != before
    browser.open(server.url)
    assert browser.run(ground) != before
    browser.send("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", [320, 768, 1920])
def test_nothing_sticks_out_at_any_width(server, browser, width):
    long = (
        "a" * 300
        + "\n\n| "
        + " | ".join("wide" * 5 for _ in range(9))
        + " |"
        + "\n|"
        + "--|" * 9
        + "\n\n```\n"
        + "b" * 300
    )
    messages = [{"role": "user", "content": "c" * 300}, {"role": "assistant", "content": long, "reasoning": "d" * 300}]
    chat = json.dumps(json.dumps({"id": "kept", "time": 1, "messages": messages}))
    browser.run(f"localStorage.setItem('chat.kept', {chat}), sessionStorage.setItem('chat', 'kept')")
    browser.resize(width, 600)
    browser.open(server.url)
    browser.run("document.querySelector('.thought').open = true")
    try:
        assert browser.run("document.querySelectorAll('article').length") == 2
        assert browser.run(
            "[document.documentElement, document.getElementById('page')].every((e) => e.scrollWidth <= e.clientWidth)"
        )
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


def test_it_can_be_installed(server, browser):
    browser.run("navigator.serviceWorker.ready.then(() => true)")
    found = browser.send("Page.getAppManifest")
    assert found["url"].endswith("/web/manifest.webmanifest") and found["errors"] == []
    manifest = json.loads(found["data"])
    assert manifest["display"] == "standalone" and manifest["start_url"] == manifest["scope"] == "/"
    problems = [error["errorId"] for error in browser.send("Page.getInstallabilityErrors")["installabilityErrors"]]
    assert problems == []
    for icon in manifest["icons"]:
        body = httpx.get(server.url + icon["src"])
        assert body.headers["content-type"] == icon["type"]
        if icon["type"] == "image/png":
            assert "x".join(str(int.from_bytes(body.content[at : at + 4])) for at in (16, 20)) == icon["sizes"]


def test_it_opens_without_its_server_and_keeps_no_answer_of_the_api(network, tokenizer, visit):
    for server in start(network, tokenizer):
        browser = visit(server.url)
        browser.until("document.getElementById('model').textContent === 'tiny'")
        browser.run("navigator.serviceWorker.ready.then(() => true)")
        browser.until("navigator.serviceWorker.controller")
        browser.open(server.url)  # through the worker now
        browser.until("document.getElementById('model').textContent === 'tiny'")
        kept = browser.run(
            "caches.open('page').then((c) => c.keys()).then((k) => k.map((r) => new URL(r.url).pathname))"
        )
        assert set(kept) == ROUTES - {"/web/worker.js"}
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "**b**", "reasoning": ""}]
        chat = json.dumps(json.dumps({"id": "kept", "time": 1, "messages": messages}))
        browser.run(f"localStorage.setItem('chat.kept', {chat}), sessionStorage.setItem('chat', 'kept')")
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)
    browser.open(server.url)
    assert browser.run("document.querySelector('article strong').textContent") == "b"
    assert (
        browser.run("document.fonts.ready.then(() => getComputedStyle(document.getElementById('form')).position)")
        == "relative"
    )
