"""``SearXNG``: the live web as a ``Retriever``, through a SearXNG that somebody runs.

A query goes to ``/search?format=json``; the pages of its results are fetched, their text taken without menus, and cut
into passages. Nothing is asked of the web unless a person gave an address (``axk1 ask --web URL``).
"""

import hashlib
import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import trafilatura

from axk1.core.errors import AXK1Error
from axk1.search.answers.evidence import find_evidence
from axk1.search.answers.question import Question
from axk1.search.answers.words import sentences
from axk1.search.passage import Hit, Passage
from axk1.search.retriever import Bounds

_PASSAGE = 800
"""Characters of a passage at most, where its sentences allow that."""
_LARGEST = 5_000_000
"""Bytes of a page that are read."""


class SearXNG:
    """Searches the web.

    Args:
        url: where SearXNG is, such as ``http://localhost:8888``; its settings must allow the format json.
        pages: most pages that are fetched for one query.
        timeout_seconds: of one page.
        allow_private: also fetch pages of this machine and its network, which a public search must not reach.
    """

    def __init__(self, url: str, *, pages: int = 5, timeout_seconds: float = 10, allow_private: bool = False) -> None:
        if not re.match(r"https?://[^/]", url):
            raise AXK1Error(f"web = {url!r} is not allowed; allowed: an http or https address of a SearXNG")
        self.url, self.pages, self.allow_private = url.rstrip("/"), pages, allow_private
        self._http = httpx.Client(timeout=timeout_seconds, headers={"User-Agent": "axk1"}, max_redirects=3)
        self._texts: dict[str, tuple[str, str]] = {}

    def search(self, question: str, *, limit: int = 10, bounds: Bounds = Bounds()) -> Sequence[Hit]:
        """As ``Retriever.search``: passages of the pages that SearXNG found, those with the likeliest sentences
        first. A page that cannot be fetched is left out."""
        results = [result for result in self._results(question) if _is_within(result, bounds)][: self.pages]
        with ThreadPoolExecutor(max_workers=max(1, len(results))) as pool:
            pages = list(pool.map(self._passages, results))
        found = [Hit(passage, 0.0, (("web", rank),)) for rank, page in enumerate(pages, 1) for passage in page]
        likeliest = dict.fromkeys(one.passage for one in find_evidence(Question.read(question), found))
        rest = (hit.passage for hit in found)
        ranks = {hit.passage: hit.ranks for hit in found}
        ordered = list(dict.fromkeys((*likeliest, *rest)))[:limit]
        return [Hit(passage, 1 / place, ranks[passage]) for place, passage in enumerate(ordered, 1)]

    def document_text(self, document: str) -> str:
        """The text of a page as it was fetched. Raises AXK1Error for a page that was not."""
        if document not in self._texts:
            raise AXK1Error(f"{document} was not fetched")
        return self._texts[document][1]

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()

    def _results(self, question: str) -> list[dict[str, Any]]:
        try:
            answer = self._http.get(f"{self.url}/search", params={"q": question, "format": "json"})
            answer.raise_for_status()
            results = answer.json()["results"]
            return [result for result in results if isinstance(result.get("url"), str)]
        except httpx.HTTPStatusError as error:
            repair = (
                "add json to search.formats in SearXNG's settings.yml" if error.response.status_code == 403 else None
            )
            raise AXK1Error(f"{self.url} refused with status {error.response.status_code}", repair=repair) from None
        except httpx.HTTPError as error:
            raise AXK1Error(f"{self.url} does not answer: {error!r}", repair=f"curl {self.url}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AXK1Error(f"{self.url} answered in another form than SearXNG's JSON ({error!r})") from None

    def _passages(self, result: dict[str, Any]) -> list[Passage]:
        url, date = result["url"], _day(result)
        if url not in self._texts:
            page = self._fetch(url)
            text = trafilatura.extract(page, url=url, include_comments=False) if page else None
            self._texts[url] = (str(result.get("title") or url), text or "")
        title, text = self._texts[url]
        return [_passage(url, title, text, start, end, date) for start, end in cut(text)]

    def _fetch(self, url: str) -> str | None:
        """The page, or None where it cannot be had; redirects are followed one by one, each looked at first."""
        try:
            for _ in range(4):
                if not (self.allow_private or _is_public(url)):
                    return None
                with self._http.stream("GET", url) as answer:
                    if answer.is_redirect:
                        url = str(answer.next_request.url)
                        continue
                    kind = answer.headers.get("Content-Type", "")
                    if answer.is_error or not re.match(r"text/|application/xhtml", kind):
                        return None
                    return _read(answer)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            return None
        return None


def cut(text: str) -> list[tuple[int, int]]:
    """Where the passages of a text begin and end: whole sentences, together at most 800 characters."""
    spans: list[tuple[int, int]] = []
    for start, end in sentences(text):
        if spans and end - spans[-1][0] <= _PASSAGE:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _read(answer: httpx.Response) -> str:
    content = b""
    for chunk in answer.iter_bytes():
        content += chunk
        if len(content) > _LARGEST:
            break
    return content.decode(answer.charset_encoding or "utf-8", "replace")


def _passage(url: str, title: str, text: str, start: int, end: int, date: str) -> Passage:
    name = hashlib.sha256(f"{url}\n{start}\n{text[start:end]}".encode()).hexdigest()[:24]
    return Passage(f"web_{name}", url, title, "", None, start, end, text[start:end], date)


def _day(result: dict[str, Any]) -> str:
    found = re.match(r"\d{4}-\d{2}-\d{2}", str(result.get("publishedDate") or ""))
    return found[0] if found else ""


def _is_within(result: dict[str, Any], bounds: Bounds) -> bool:
    day = _day(result)
    if (bounds.since or bounds.until) and not day:
        return False
    if (bounds.since and day < bounds.since) or (bounds.until and day > bounds.until):
        return False
    return not bounds.documents or result["url"].startswith(bounds.documents)


def _is_public(url: str) -> bool:
    """Whether an address is http and of the open network, not of this machine or its neighbours."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    found = socket.getaddrinfo(parts.hostname, parts.port or 80, proto=socket.IPPROTO_TCP)
    return all(ipaddress.ip_address(entry[4][0]).is_global for entry in found)
