"""A real browser for tests, driven over a pipe by the DevTools protocol; no driver package is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page of a headless Chromium. ``run`` evaluates JavaScript in it."""

    def __init__(self, folder: str, *options: str) -> None:
        """Args: folder: for the browser's profile; options: further options of its command line."""
        # The browser reads commands from descriptor 3 and writes answers to 4, whatever our own numbers are.
        commands_in, self._commands = os.pipe()
        self._answers, answers_out = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (commands_in, answers_out)]
        self._process = subprocess.Popen(
            [str(PROGRAM), *flags, *options],
            preexec_fn=lambda: (os.dup2(high[0], 3), os.dup2(high[1], 4)),
            pass_fds=(3, 4),
            stderr=subprocess.DEVNULL,
        )
        for end in (commands_in, answers_out, *high):
            os.close(end)
        self._count, self._held = 0, b""
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]

    def open(self, url: str) -> None:
        """Opens a page and waits until its scripts have run."""
        self.send("Page.navigate", {"url": url})
        self.until("document.readyState === 'complete' && document.getElementById('message')?.placeholder")

    def run(self, code: str):
        """The value of an expression, with promises waited for."""
        options = {"expression": code, "returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition} did not come true"
            time.sleep(0.02)

    def press(self, key: str, *, shift: bool = False, composing: bool = False) -> None:
        """Presses a key where the cursor is; composing: an input method takes it, so that it writes nothing."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32, "Process": 229}[key]
        text = "" if composing else {"Enter": "\r", " ": " "}.get(key, "")
        pressed = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        self.send("Input.dispatchKeyEvent", {"type": "keyDown", "text": text, **pressed})
        self.send("Input.dispatchKeyEvent", {"type": "keyUp", **pressed})

    def type(self, text: str) -> None:
        """Writes where the cursor is."""
        self.send("Input.insertText", {"text": text})

    def resize(self, width: int, height: int, *, scale: float = 1, phone: bool = False) -> None:
        """Shows the page at a size in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
        self.send("Emulation.setDeviceMetricsOverride", size)

    def picture(self, path: Path, *, clear: bool = False) -> None:
        """Writes what the page looks like as a PNG; clear: without ground."""
        ground = {"color": {"r": 0, "g": 0, "b": 0, "a": 0}} if clear else {}
        self.send("Emulation.setDefaultBackgroundColorOverride", ground)
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", {"format": "png"})["data"]))

    def close(self) -> None:
        """Ends the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def send(self, method: str, params: dict | None = None) -> dict:
        """One command of the DevTools protocol and its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params or {}}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._held:
                assert select.select([self._answers], [], [], 60)[0], f"no answer to {method} {params}"
                part = os.read(self._answers, 1 << 16)
                assert part, "the browser has gone"
                self._held += part
            first, _, self._held = self._held.partition(b"\0")
            answer = json.loads(first)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return answer["result"]
