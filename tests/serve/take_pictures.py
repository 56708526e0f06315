"""Takes the pictures that lie in the repository: ``docs/chat.png``, and the icons of the page from ``icon.svg``.

    python tests/serve/take_pictures.py out/nano/student

The first picture is a window in English in light colours and a telephone in Korean in dark ones, with what the model
of the folder answers at that moment.
"""

import base64
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from chromium import Browser

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "axk1/channels/web"
PORT = 8931
URL = f"http://127.0.0.1:{PORT}"
QUESTIONS = {"en": "Count the legs of 2 bees.", "ko": "소 5마리의 다리는 모두 몇 개인가요?"}
SIZES = {"en": (900, 520), "ko": (330, 560)}


def main(model: str) -> None:
    """Args: model: folder of the checkpoint that answers."""
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(f"{folder}/profile")
        try:
            draw_icons(browser)
            command = [sys.executable, "-m", "axk1", "serve", model, "--port", str(PORT)]
            server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
            try:
                wait_for_server(server)
                parts = [talk(browser, Path(folder), *each) for each in (("en", "light"), ("ko", "dark"))]
            finally:
                server.terminate()
                server.wait()
            join(browser, parts)
        finally:
            browser.close()


def draw_icons(browser: Browser) -> None:
    """PNG of the icon for systems that do not read SVG; on the maskable one the ground reaches into the corners."""
    drawing = (WEB / "icon.svg").read_text(encoding="utf-8")
    for name, size, source in (
        ("icon-192", 192, drawing),
        ("icon-512", 512, drawing),
        ("icon-maskable", 512, drawing.replace(' rx="15"', "")),
    ):
        show(browser, f"<style>body{{margin:0}}svg{{width:{size}px;display:block}}</style>{source}")
        browser.resize(size, size)
        browser.picture(WEB / f"{name}.png", clear=True)


def wait_for_server(server: subprocess.Popen) -> None:
    """Waits until the model is there."""
    while server.poll() is None:
        try:
            httpx.get(f"{URL}/v1/models")
            return
        except httpx.ConnectError:
            time.sleep(0.2)
    raise SystemExit("the server has ended; its words stand above")


def talk(browser: Browser, folder: Path, language: str, theme: str) -> Path:
    """A question in one language and what the model answers."""
    browser.open(URL)
    settings = f"localStorage['setting.language'] = {language!r}, localStorage['setting.theme'] = {theme!r}"
    browser.run(f"localStorage.clear(), sessionStorage.clear(), {settings}, localStorage['setting.think'] = 'yes'")
    browser.open(URL)
    width, height = SIZES[language]
    browser.resize(width, height, scale=1.5, phone=width < 600)
    browser.send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]})
    browser.until("document.getElementById('model').textContent")
    browser.run("document.getElementById('message').focus()")
    browser.type(QUESTIONS[language])
    browser.run("document.getElementById('send').click()")
    browser.until("!document.body.classList.contains('busy') && document.querySelector('article')")
    browser.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    browser.run("document.activeElement.blur()")
    browser.picture(folder / f"{language}.png")
    return folder / f"{language}.png"


def join(browser: Browser, parts: list[Path]) -> None:
    """Both pictures side by side on a calm ground."""
    browser.send("Page.navigate", {"url": "about:blank"})
    images = ""
    for path in parts:
        data = base64.b64encode(path.read_bytes()).decode()
        images += f'<img width="{SIZES[path.stem][0]}" src="data:image/png;base64,{data}">'
    style = """body { margin: 0; height: 100vh; display: flex; gap: 36px; align-items: center; justify-content: center;
      background: #d9d5cb } img { border-radius: 18px; box-shadow: 0 10px 40px rgb(40 34 20 / 25%) }"""
    show(browser, f"<style>{style}</style>{images}")
    browser.resize(1360, 640, scale=1.2)
    browser.picture(ROOT / "docs/chat.png")


def show(browser: Browser, html: str) -> None:
    """Puts HTML on an empty page and waits for its pictures."""
    browser.run(f"document.documentElement.innerHTML = {html!r}")
    browser.run("Promise.all([...document.images].map((image) => image.decode())).then(() => true)")


if __name__ == "__main__":
    main(sys.argv[1])
