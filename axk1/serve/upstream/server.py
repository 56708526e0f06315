"""``Upstream``: one server of OpenAI's API, what it serves, and whether it answers."""

import asyncio
import json
import logging
from typing import Any

import httpx

from axk1.core.config import require
from axk1.serve.errors import ApiError
from axk1.serve.request_id import HEADER
from axk1.serve.upstream.failures import NotBegun, bad_answer, from_answer, from_transport

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 5.0
_CHECK_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 3.0
"""Idle connections are dropped before uvicorn, under vLLM and here, drops them after 5 s."""
_NO_SUCH_ROUTE = (404, 405)


class Upstream:
    """A server under an address.

    Attributes:
        url: its address, which ends in ``/v1``.
        names: what requests call its models -> what it calls them itself; empty until it has answered once.
        cards: OpenAI's cards of its models, under the names of requests.
        in_flight: requests that it is answering for this process.
        trouble: why it takes no requests, or None.
        lost: set as soon as a request finds that it does not answer.
    """

    def __init__(self, url: str, *, key: str = "", served_name: str | None = None, timeout: float = 600) -> None:
        """
        Args:
            url: its address.
            key: what it asks for as a bearer token.
            served_name: what requests call its only model; None keeps its own names.
            timeout: seconds of silence after which an answer is given up.
        """
        self.url = checked_url(url)
        self._served_name = served_name
        self.names: dict[str, str] = {}
        self.cards: list[dict[str, Any]] = []
        self.in_flight = 0
        self.trouble: str | None = f"the upstream {self.url} has not been asked yet"
        self._asked = False
        self.lost = asyncio.Event()
        self._closing: set[asyncio.Future[None]] = set()
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout, connect=_CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=_KEEP_ALIVE_SECONDS),
        )

    async def check(self) -> None:
        """Asks whether it is well and what it serves. Raises nothing; ``trouble`` says what was found."""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                health = await self._client.get(f"{self.root}/health")
                if health.status_code != 200 and health.status_code not in _NO_SUCH_ROUTE:
                    raise from_answer(self.url, health.status_code, health.headers, health.content)
                answer = await self._client.get(f"{self.url}/models")
            if answer.status_code != 200:
                raise from_answer(self.url, answer.status_code, answer.headers, answer.content)
            self._take_cards(answer.json()["data"])
            trouble = None
        except ApiError as error:
            trouble = error.message
        except TimeoutError:
            trouble = f"the upstream {self.url} did not say within {_CHECK_SECONDS:.0f} s whether it is well"
        except httpx.HTTPError as error:
            trouble = from_transport(self.url, error, begun=False).message
        except (ValueError, KeyError, TypeError):
            trouble = f"the upstream {self.url} does not list its models as OpenAI's API does"
        if self._asked and trouble != self.trouble:
            _log.warning(trouble or f"the upstream {self.url} answers again")
        self._asked, self.trouble = True, trouble

    async def send(self, path: str, body: dict[str, Any], request_id: str) -> httpx.Response:
        """Posts to ``/v1`` (or beside it, for a path that starts with a slash) and waits for the status.

        Raises:
            ApiError: the answer is an error, or none came; NotBegun where another upstream may be asked.
        """
        url = self.root + path if path.startswith("/") else f"{self.url}/{path}"
        headers = {"Content-Type": "application/json"} | ({HEADER: request_id} if request_id else {})
        request = self._client.build_request("POST", url, content=json.dumps(body).encode(), headers=headers)
        try:
            response = await self._client.send(request, stream=True)
            if response.status_code != 200:
                await response.aread()
        except httpx.HTTPError as error:
            raise self._note(from_transport(self.url, error, begun=False)) from error
        if response.status_code >= 400:
            raise self._note(from_answer(self.url, response.status_code, response.headers, response.content))
        if response.status_code != 200:
            raise bad_answer(self.url, f"answered {response.status_code}, where OpenAI's API answers 200")
        self.trouble = None
        return response

    def close_soon(self, response: httpx.Response) -> None:
        """Closes a response that may be half read, which ends the upstream's work on it."""
        closing = asyncio.ensure_future(response.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Closes all connections."""
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._client.aclose()

    @property
    def root(self) -> str:
        """The address without ``/v1``, where vLLM and SGLang have ``/tokenize`` and ``/health``."""
        return self.url.removesuffix("/v1")

    def _note(self, error: ApiError) -> ApiError:
        """Remembers an error that says that the server is in trouble."""
        if error.status in (502, 503) and (isinstance(error, NotBegun) or error.code == "upstream_disconnected"):
            self.trouble = error.message
            self.lost.set()
        return error

    def _take_cards(self, cards: list[dict[str, Any]]) -> None:
        own = [card["id"] for card in cards if not card.get("parent")]  # vLLM lists adapters with their parent
        if self._served_name is None:
            self.names = {card["id"]: card["id"] for card in cards}
        elif len(own) == 1:
            self.names = {self._served_name: own[0]}
        else:
            names = ", ".join(map(repr, own))
            message = f"serves {names or 'no model'}, but served_model_name = {self._served_name!r} needs just one"
            raise ApiError(f"the upstream {self.url} {message}", status=503)
        back = {theirs: ours for ours, theirs in self.names.items()}
        self.cards = [{**card, "id": back[card["id"]]} for card in cards if card["id"] in back]


def checked_url(url: str) -> str:
    """An upstream's address. Raises ConfigError for what is none, with the address that was probably meant."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    require(parsed.scheme in ("http", "https") and parsed.host != "", "upstream", url, "http://host:port/v1")
    allowed = "no password in the address; a key is taken from the environment"
    require(not parsed.userinfo, "upstream", str(parsed.copy_with(password="...")), allowed)
    path = parsed.path.rstrip("/")
    better = f"--upstream {str(parsed).rstrip('/')}/v1"
    require(path.endswith("/v1") and not parsed.query, "upstream", url, "an address that ends in /v1", repair=better)
    return str(parsed).rstrip("/")
