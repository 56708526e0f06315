"""Pages of the web: only of hosts that are allowed by name, and never of machines inside this network.

A host's address is looked up once, checked, and connected to; so no second look-up can lead elsewhere. Redirections
are followed by hand, each under the same rules.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import trafilatura

from axk1.agents.tool import Effect, Outcome, Slot, Tool, ToolContext, ToolRefusal, tool
from axk1.core.config import require

_MOST_REDIRECTS = 5
_LONGEST = 40_000
"""Characters of a page's text."""


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """Which pages may be fetched."""

    hosts: tuple[str, ...] = ()
    """Hosts that are allowed, such as law.go.kr; ``.go.kr`` stands for all below it. None: no page is fetched."""
    private: bool = False
    """Allow machines of this network and this machine itself, for an intranet's pages."""
    largest_bytes: int = 5 << 20
    """The most that is read of a page."""
    timeout_seconds: float = 20
    """Silence after which a server is given up."""

    def __post_init__(self) -> None:
        require(self.largest_bytes > 0, "web.largest_bytes", self.largest_bytes, "a number above 0")


def web_tools(config: WebConfig) -> list[Tool]:
    """The tools of this file; none where no host is allowed."""

    @tool(effect=Effect.READ, untrusted=True)
    def fetch_page(
        context: ToolContext,
        url: Annotated[str, Slot(ko="어느 주소를 읽을까요?", en="Which address shall be read?")],
    ) -> Outcome:
        """Reads the text of a page of the web."""
        del context
        return Outcome(fetch(url, config))

    return [fetch_page] if config.hosts else []


def fetch(url: str, config: WebConfig) -> dict[str, Any]:
    """A page's title and text. Raises ToolRefusal for what is not allowed, or cannot be had."""
    for _ in range(_MOST_REDIRECTS + 1):
        answer, content = _get(url, config)
        if answer.status_code not in (301, 302, 303, 307, 308):
            break
        url = str(httpx.URL(url).join(answer.headers.get("Location", "")))
    else:
        raise ToolRefusal(f"url = {url!r} is redirected more than {_MOST_REDIRECTS} times")
    if answer.status_code != 200:
        raise ToolRefusal(f"url = {url!r} answered with status {answer.status_code}")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml", ""):
        found = trafilatura.bare_extraction(content, url=url, with_metadata=True)
        text, title, day = (getattr(found, name, None) or "" for name in ("text", "title", "date"))
    elif kind.startswith("text/") or kind == "application/json":
        text, title, day = content.decode(answer.encoding or "utf-8", errors="replace"), "", ""
    else:
        raise ToolRefusal(f"url = {url!r} is {kind}; allowed: pages and text")
    return {"url": url, "title": title, "date": day, "text": text[:_LONGEST]}


def _get(url: str, config: WebConfig) -> tuple[httpx.Response, bytes]:
    try:
        place = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ToolRefusal(f"url = {url!r} is no address: {error}") from None
    if place.scheme not in ("http", "https") or not place.host:
        raise ToolRefusal(f"url = {url!r} is not allowed; allowed: addresses with https:// or http://")
    if not _allowed(place.host, config.hosts):
        raise ToolRefusal(f"url = {url!r}: the host {place.host} is not allowed; allowed: {', '.join(config.hosts)}")
    address = _address(place.host, place.port or (443 if place.scheme == "https" else 80), private=config.private)
    # Connected to by its number; the name goes along for the certificate and for the server.
    target = place.copy_with(host=address)
    name = f"{place.host}:{place.port}" if place.port else place.host
    headers = {"Host": name, "User-Agent": "axk1", "Accept": "text/html, text/plain"}
    extensions = {"sni_hostname": place.host}
    try:
        with (
            httpx.Client(timeout=config.timeout_seconds, trust_env=False) as client,
            client.stream("GET", target, headers=headers, extensions=extensions) as answer,
        ):
            content = b""
            for part in answer.iter_bytes():
                content += part
                if len(content) > config.largest_bytes:
                    raise ToolRefusal(f"url = {url!r} is larger than {config.largest_bytes:,} bytes")
            return answer, content
    except httpx.HTTPError as error:
        raise ToolRefusal(f"url = {url!r} cannot be had: {error!r}") from None


def _allowed(host: str, hosts: Sequence[str]) -> bool:
    host = host.lower().rstrip(".")
    return any(host == one.lower() or (one.startswith(".") and host.endswith(one.lower())) for one in hosts)


def _address(host: str, port: int, *, private: bool) -> str:
    """One address of a host; every one of them must be allowed."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise ToolRefusal(f"the host {host} is not known: {error}") from None
    for one in found:
        address = ipaddress.ip_address(one.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if not address.is_global and not private:
            raise ToolRefusal(f"the host {host} is a machine of this network ({one}); web.private allows that")
    return min(found, key=lambda one: (":" in one, one))
