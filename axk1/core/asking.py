"""``Asking``: when to ask a server of OpenAI's API again, and what it said; for clients that wait in either way."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx

from axk1.core.errors import AXK1Error

_ATTEMPTS = 5
_BUSY = (429, 502, 503)
"""Statuses that pass."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Seconds between attempts: doubled each time, or what the server's Retry-After says."""


class Asking:
    """The attempts to have one answer.

    Args:
        server: what is asked, for the error: ``"the model's server at http://host:8000/v1"``.
    """

    def __init__(self, server: str) -> None:
        self._server, self._wait, self._said = server, _FIRST_WAIT, ""

    def pauses(self) -> Iterator[float]:
        """Seconds to wait before each attempt; ends when there shall be no more."""
        yield 0.0
        for _ in range(_ATTEMPTS - 1):
            yield min(self._wait, _LONGEST_WAIT)
            self._wait *= 2

    def failed(self, error: httpx.HTTPError) -> None:
        """Notes that an attempt had no answer."""
        self._said = repr(error)

    def is_busy(self, answer: httpx.Response) -> bool:
        """Whether the server says that it can answer later; notes when."""
        if answer.status_code not in _BUSY:
            return False
        self._said = f"status {answer.status_code}"
        with contextlib.suppress(KeyError, ValueError):
            self._wait = float(answer.headers["Retry-After"])
        return True

    @property
    def error(self) -> AXK1Error:
        """What to raise after the last attempt."""
        return AXK1Error(
            f"{self._server} did not answer in {_ATTEMPTS} attempts: {self._said}",
            repair="axk1 serve PATH, or the address of a server that runs",
        )


def read_object(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises AXK1Error where there is none, or the server refuses and says why."""
    try:
        read = answer.json()
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise AXK1Error(f"{answer.url} answered with status {answer.status_code} and no JSON object")
    if answer.is_error:
        error = read.get("error")
        said = error.get("message") if isinstance(error, dict) else read
        raise AXK1Error(f"{answer.url} refused with status {answer.status_code}: {said}")
    return read
