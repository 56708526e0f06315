"""``Pool``: some upstreams, who of them answers a request, and how one that was lost is found again."""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

from axk1.serve.errors import ApiError, no_such_model
from axk1.serve.upstream.failures import in_trouble
from axk1.serve.upstream.server import Upstream

_CHECK_SECONDS = 10.0
_BACK_OFF_SECONDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses between the checks of an upstream that is in trouble; the last one is repeated."""


class Pool:
    """Upstreams that are asked in the background whether they are well.

    Attributes:
        upstreams: all of them.
    """

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.upstreams = list(upstreams)
        self._watchers: list[asyncio.Task[None]] = []
        self._turn = 0

    async def start(self) -> None:
        """Asks all once, then goes on in the background. An upstream may come later than this server."""
        await asyncio.gather(*(upstream.check() for upstream in self.upstreams))
        self._watchers = [asyncio.create_task(_watch(upstream)) for upstream in self.upstreams]

    async def stop(self) -> None:
        """Ends the background's work and closes all connections."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        await asyncio.gather(*(upstream.close() for upstream in self.upstreams))

    def cards(self) -> list[dict[str, Any]]:
        """The models of all, each once, with the shortest context that it has anywhere."""
        found: dict[str, dict[str, Any]] = {}
        for card in itertools.chain.from_iterable(upstream.cards for upstream in self.upstreams):
            known = found.setdefault(card["id"], dict(card))
            lengths = [each["max_model_len"] for each in (known, card) if each.get("max_model_len") is not None]
            if lengths:
                known["max_model_len"] = min(lengths)
        return list(found.values())

    def model(self, asked: str | None) -> str:
        """The model that a request means; one that names none means the only one.

        Raises:
            ApiError: there is no such model (404), several and none was named (400), or nobody knows (503).
        """
        known = {name for upstream in self.upstreams for name in upstream.names}
        if asked is None and len(known) == 1:
            return next(iter(known))
        if asked in known:
            return str(asked)
        unseen = [upstream for upstream in self.upstreams if not upstream.names]
        if unseen:
            raise in_trouble(str(unseen[0].trouble))
        if asked is None:
            message = f"model is missing; there is {', '.join(map(repr, sorted(known)))}"
            raise ApiError(message, param="model", code="model_missing")
        raise no_such_model(asked, sorted(known))

    def candidates(self, model: str) -> list[Upstream]:
        """The upstreams that have a model, least busy first and in turn; those in trouble only where all are."""
        self._turn += 1
        turn = self._turn % len(self.upstreams)
        having = [each for each in self.upstreams[turn:] + self.upstreams[:turn] if model in each.names]
        well = [upstream for upstream in having if upstream.trouble is None]
        return sorted(well or having, key=lambda upstream: upstream.in_flight)


async def _watch(upstream: Upstream) -> None:
    while True:
        if upstream.trouble is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(upstream.lost.wait(), _CHECK_SECONDS)
        upstream.lost.clear()
        await upstream.check()
        for pause in itertools.chain(_BACK_OFF_SECONDS, itertools.repeat(_BACK_OFF_SECONDS[-1])):
            if upstream.trouble is None:
                break
            await asyncio.sleep(pause)
            await upstream.check()
