"""A real browser for tests, driven over a pipe by the DevTools protocol; no driver package is needed."""

import fcntl
import json
import os
import shutil
import subprocess
import time

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
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._send("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]

    def open(self, url: str) -> None:
        """Opens a page and waits until its scripts have run."""
        self._send("Page.navigate", {"url": url})
        self.until("document.readyState === 'complete' && document.getElementById('model')?.textContent")

    def run(self, code: str):
        """The value of an expression, with promises waited for."""
        options = {"expression": code, "returnByValue": True, "awaitPromise": True}
        answer = self._send("Runtime.evaluate", options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition} did not come true"
            time.sleep(0.02)

    def close(self) -> None:
        """Ends the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def _send(self, method: str, params: dict) -> dict:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._held:
                part = os.read(self._answers, 1 << 16)
                assert part, "the browser has gone"
                self._held += part
            first, _, self._held = self._held.partition(b"\0")
            answer = json.loads(first)
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return answer["result"]
