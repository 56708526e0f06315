"""Where the user's pip looks for packages, and the links to a package's files there.

pip cannot fetch a source distribution without running its set-up code: ``pip download --no-binary`` prepares the
metadata of what it has fetched. So we read the index ourselves, in the form of PEP 691 (JSON) or PEP 503 (HTML), with
the settings that the user gave to pip: index-url, extra-index-url, find-links, no-index, cert, client-cert, proxy,
trusted-host, timeout and retries, from its configuration files or PIP_* variables.
"""

import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from axk1.core.errors import SourceError

FileType = Literal["sdist", "wheel"]
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


@dataclasses.dataclass(frozen=True)
class Link:
    """A file that an index or a folder offers."""

    url: str
    """Where it is: http, https or file."""
    filename: str
    """Its name, for example ``django-5.2.19.tar.gz``."""
    sha256: str | None = None
    """The hash that the index states, if any."""


class PackageIndex:
    """The places where the user's pip looks for packages.

    Args:
        options: pip's options by their long names (``index-url`` ...); None asks pip.
    """

    def __init__(self, options: dict[str, str] | None = None) -> None:
        options = pip_options() if options is None else options
        self.find_links = options.get("find-links", "").split()
        self.indexes: list[str] = []
        if options.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
            first = options.get("index-url") or default_index()
            self.indexes = [url for url in (first, *options.get("extra-index-url", "").split()) if url]
        self.timeout = float(options.get("timeout") or options.get("default-timeout") or 15)
        self._trusted = options.get("trusted-host", "").split()
        self._session = _session(options)

    def links(self, name: str, version: str, file_type: FileType) -> tuple[list[Link], list[str]]:
        """The links to the file of one release, and for each place without it a reason in words."""
        found: list[Link] = []
        reasons: list[str] = []
        for place, url in self._places(name):
            try:
                links = [link for link in self._page(url) if is_release(link.filename, name, version, file_type)]
            except (requests.RequestException, OSError, ValueError) as error:
                reasons.append(f"{without_password(place)}: {explain(error)}")
                continue
            found += links
            if not links:
                reasons.append(f"{without_password(place)}: has no {file_type} of {name} {version}")
        return found, reasons

    def get(self, url: str, **options) -> requests.Response:
        """A streamed GET request with pip's certificates, proxy and time limit. Raises requests.RequestException."""
        host = urlsplit(url).netloc.rpartition("@")[2]
        if host in self._trusted or host.partition(":")[0] in self._trusted:
            options["verify"] = False
        response = self._session.get(url, stream=True, timeout=self.timeout, **options)
        response.raise_for_status()
        return response

    def _places(self, name: str) -> Iterator[tuple[str, str]]:
        for place in self.find_links:
            yield place, place if _is_url(place) else Path(place).expanduser().resolve().as_uri()
        for index in self.indexes:
            base = index if _is_url(index) else Path(index).expanduser().resolve().as_uri()
            yield index, f"{base.rstrip('/')}/{normalised(name)}/"

    def _page(self, url: str) -> list[Link]:
        if url.startswith("file:"):
            return _local_page(local_path(url))
        with self.get(url, headers={"Accept": _ACCEPT}) as response:
            text = response.content.decode("utf-8", "replace")
            if "json" in response.headers.get("Content-Type", ""):
                return _json_links(text, response.url)
            return _html_links(text, response.url)


def pip_options() -> dict[str, str]:
    """pip's options from its files and the environment, later ones winning; only the environment where pip is absent.

    Raises:
        SourceError: pip says that its configuration is unreadable.
    """
    run = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, encoding="utf-8"
    )
    if run.returncode and "No module named pip" in run.stderr:
        return {key[4:].lower().replace("_", "-"): value for key, value in os.environ.items() if key[:4] == "PIP_"}
    if run.returncode:
        problem = run.stderr.strip()
        raise SourceError(f"pip's configuration is unreadable: {problem}", repair="python -m pip config debug")
    sections: dict[str, dict[str, str]] = {"global": {}, "download": {}, ":env:": {}}
    for line in run.stdout.splitlines():
        match = re.fullmatch(r"(global|download|:env:)\.([\w-]+)=(['\"].*)", line)
        if match:
            sections[match[1]][match[2]] = ast.literal_eval(match[3])
    merged = sections["global"] | sections["download"] | sections[":env:"]
    return {key: value for key, value in merged.items() if value}


def default_index() -> str | None:
    """The index that pip uses when its configuration names none, as its help tells; None where pip is absent."""
    words = [sys.executable, "-m", "pip", "download", "--help"]
    run = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "COLUMNS": "1000"})
    match = re.search(r"--index-url <url>.*?\(default (\S+)\)", run.stdout, re.DOTALL)
    return match[1] if match else None


def is_release(filename: str, name: str, version: str, file_type: FileType) -> bool:
    """Whether a file name is that of the source distribution (or a wheel) of this release."""
    if file_type == "wheel":
        parts = filename.removesuffix(".whl").split("-")
        known = filename.endswith(".whl") and len(parts) >= 5
        return known and normalised(parts[0]) == normalised(name) and parts[1].lower() == version.lower()
    for suffix in (".tar.gz", ".zip"):
        if filename.endswith(suffix):
            stem, _, found = filename.removesuffix(suffix).rpartition("-")
            return normalised(stem) == normalised(name) and found.lower() == version.lower()
    return False


def normalised(name: str) -> str:
    """A package's name as indexes spell it: lower case, single dashes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def local_path(url: str) -> Path:
    """The path that a file: URL names."""
    return Path(url2pathname(urlsplit(url).path))


def without_password(url: str) -> str:
    """The URL without user name and password, fit for a message."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if _is_url(url) else url


def explain(error: Exception) -> str:
    """A network or file error in a few words, without the addresses of objects in memory."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code} {error.response.reason}".strip()
    if isinstance(error, requests.exceptions.RetryError):
        return "kept answering with a server error"
    if isinstance(error, requests.Timeout):
        return "did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "could not be reached"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    return f"{type(error).__name__}: {error}"


def _session(options: dict[str, str]) -> requests.Session:
    session = requests.Session()
    retry = Retry(total=int(options.get("retries") or 3), backoff_factor=0.25, status_forcelist=(500, 502, 503, 504))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    if "cert" in options:
        session.verify = options["cert"]
    if "client-cert" in options:
        session.cert = options["client-cert"]
    if "proxy" in options:
        session.proxies = {"http": options["proxy"], "https": options["proxy"]}
    return session


def _is_url(place: str) -> bool:
    return re.match(r"(https?|file):", place) is not None


def _local_page(path: Path) -> list[Link]:
    if path.is_dir() and not (path / "index.html").is_file():
        return [Link(file.as_uri(), file.name) for file in sorted(path.iterdir()) if file.is_file()]
    page = path / "index.html" if path.is_dir() else path
    return _html_links(page.read_text(encoding="utf-8", errors="replace"), page.as_uri())


def _json_links(text: str, base: str) -> list[Link]:
    try:
        files = json.loads(text)["files"]
        return [Link(urljoin(base, f["url"]), f["filename"], f.get("hashes", {}).get("sha256")) for f in files]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a package index page ({error})") from None


def _html_links(text: str, base: str) -> list[Link]:
    page = _Anchors()
    page.feed(text)
    links = []
    for href in page.hrefs:
        url, fragment = urldefrag(urljoin(urljoin(base, page.base), href))
        stated = re.search(r"sha256=([0-9a-fA-F]{64})", fragment)
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        links.append(Link(url, filename, stated[1].lower() if stated else None))
    return links


class _Anchors(HTMLParser):
    """Collects the targets of the links on a page, and its base address."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href and tag == "a":
            self.hrefs.append(href)
        elif href and tag == "base":
            self.base = href
