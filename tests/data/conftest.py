"""A package index of our own, served by a real HTTP server in a second thread."""

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class HttpIndex:
    """Pages and files that a test serves, what was asked for, and how the server misbehaves.

    ``pages`` maps a path to (content type, text), ``files`` a path to bytes. ``cut_after`` breaks the connection after
    so many bytes, ``cuts`` times; ``hold_after`` stops sending files after so many until ``release``;
    ``ignore_range`` sends whole files whatever was asked for.
    """

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, str]] = {}
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.cut_after = 0
        self.cuts = 0
        self.hold_after = 0
        self.ignore_range = False
        self.url = ""
        self._released = threading.Event()

    def add(self, project: str, filename: str, content: bytes, *, stated_hash: str | None = None) -> str:
        """Offers a file with its hash on the project's page; returns the hash of the content."""
        found = hashlib.sha256(content).hexdigest()
        self.files[f"/files/{filename}"] = content
        page = f'<a href="/files/{filename}#sha256={stated_hash or found}">{filename}</a>'
        kind, before = self.pages.get(f"/simple/{project}/", ("text/html", ""))
        self.pages[f"/simple/{project}/"] = (kind, before + page)
        return found

    def hold(self) -> None:
        """Waits for ``release``."""
        self._released.wait(30)

    def release(self) -> None:
        """Lets held files go on, and holds no more."""
        self.hold_after = 0
        self._released.set()

    def file_requests(self) -> list[str | None]:
        """The Range headers of the requests for files, in order."""
        return [wanted for path, wanted in self.requests if path.startswith("/files/")]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        index: HttpIndex = self.server.index
        index.requests.append((self.path, self.headers["Range"]))
        if self.path in index.pages:
            kind, text = index.pages[self.path]
            self._send(200, text.encode(), {"Content-Type": kind})
        elif self.path in index.files:
            self._send_file(index, index.files[self.path])
        else:
            self._send(404, b"", {})

    def _send_file(self, index: HttpIndex, content: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if asked and not index.ignore_range:
            start = int(asked[1])
            if start >= len(content):
                self._send(416, b"", {})
            else:
                span = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self._send(206, content[start:], {"Content-Range": span})
        else:
            self._send(200, content, {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        index: HttpIndex = self.server.index
        if self.path in index.files and index.cuts:
            index.cuts -= 1
            body = body[: index.cut_after]
        if self.path in index.files and index.hold_after:
            self.wfile.write(body[: index.hold_after])
            self.wfile.flush()
            body = body[index.hold_after :]
            index.hold()
        with contextlib.suppress(ConnectionError):  # the client may have been killed
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def http_index() -> Iterator[HttpIndex]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.index = HttpIndex()
    server.index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.index
    server.shutdown()
    server.server_close()
    thread.join()
