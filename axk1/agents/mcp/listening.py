"""Clients that want to hear of changes: of resources that they name, and of the lists of what there is.

Files change behind our back (runs, other programs), so what a client listens to is looked at twice a second, as that
client sees it: nobody hears of another organisation's files. Since 2026-07-28 a client holds a stream open
(``subscriptions/listen``); before, it subscribed to resources, for the life of its connection.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from axk1.agents.mcp.connection_state import at_its_end, state_of
from axk1.agents.mcp.served import Offer
from axk1.serve.caller import Caller

_LOOK_SECONDS = 0.5
_MOST_URIS = 1000
"""Resources that one client may listen to."""
_MOST_STREAMS = 1000
"""Streams that all clients together may hold open."""
_MOST_LISTED = 10_000
"""Resources whose coming and going is noticed."""
_WATCH = "axk1.watch"
_log = logging.getLogger(__name__)
Context = ServerRequestContext[Any, Any]


class Watch:
    """What one client listens to.

    Args:
        offer: what there is.
        caller: as whom the client sees it.
        uris: the resources.
        lists: whether the lists of tools, prompts and resources count, too.
    """

    def __init__(self, offer: Offer, caller: Caller, uris: Sequence[str] = (), *, lists: bool = False) -> None:
        self._offer, self._caller, self._lists = offer, caller, lists
        self._seen: dict[ServerEvent, Any] = {}
        self.uris: set[str] = set()
        for uri in uris:
            self.add(uri)
        self._seen = self._look()

    def add(self, uri: str) -> None:
        """Listens to one more. Raises MCPError where there can be no such resource, or it would be too many."""
        if self._offer.resource_at(uri) is None:
            raise no_resource(uri)
        if len(self.uris) >= _MOST_URIS:
            raise MCPError(types.INVALID_PARAMS, f"at most {_MOST_URIS} resources are listened to")
        self.uris.add(uri)
        self._seen[ResourceUpdated(uri)] = self._version(uri)

    def changes(self) -> list[ServerEvent]:
        """What is other than at the last look. It may block."""
        now = self._look()
        changed = [event for event, state in now.items() if self._seen.get(event, state) != state]
        self._seen.update(now)  # in place: what was added meanwhile stays
        return changed

    def _look(self) -> dict[ServerEvent, Any]:
        seen: dict[ServerEvent, Any] = {ResourceUpdated(uri): self._version(uri) for uri in sorted(self.uris)}
        if self._lists:
            seen[ToolsListChanged()] = list(self._offer.tools.values())
            seen[PromptsListChanged()] = list(self._offer.prompts.values())
            seen[ResourcesListChanged()] = self._listed()
        return seen

    def _listed(self) -> list[str]:
        return [one.uri for one in itertools.islice(self._offer.listed(self._caller), _MOST_LISTED)]

    def _version(self, uri: str) -> str:
        found = self._offer.resource_at(uri)
        if found is None or found[0].version is None:
            return ""
        one, values = found
        return one.version(self._caller, values)


class Listening:
    """The handlers.

    Args:
        offer: what there is.
        caller_of: as whom a request is made.
    """

    def __init__(self, offer: Offer, caller_of: Callable[[Context], Caller]) -> None:
        self._offer, self._caller_of = offer, caller_of
        self._open = 0

    async def listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """``subscriptions/listen``: one stream, until the client leaves."""
        if self._open >= _MOST_STREAMS:
            raise MCPError(types.INTERNAL_ERROR, f"{_MOST_STREAMS} streams are open; close others first")
        wanted, caller = params.notifications, self._caller_of(context)
        lists = bool(wanted.tools_list_changed or wanted.prompts_list_changed or wanted.resources_list_changed)
        uris = wanted.resource_subscriptions or ()
        watch = await asyncio.to_thread(Watch, self._offer, caller, uris, lists=lists)
        bus = InMemorySubscriptionBus()  # of this stream alone, so that it carries what this caller may know
        watching = asyncio.create_task(_carry(watch, bus))
        self._open += 1
        try:
            return await ListenHandler(bus)(context, params)
        finally:
            self._open -= 1
            watching.cancel()

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """``resources/subscribe``: until the connection ends."""
        state = state_of(context)
        if _WATCH not in state:
            state[_WATCH] = Watch(self._offer, self._caller_of(context))
            task = asyncio.create_task(_notify(state[_WATCH], context))
            at_its_end(context, task.cancel)
        await asyncio.to_thread(state[_WATCH].add, params.uri)
        return types.EmptyResult()

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """``resources/unsubscribe``; what was never subscribed to is fine, too."""
        watch = state_of(context).get(_WATCH)
        if watch is not None:
            watch.uris.discard(params.uri)
        return types.EmptyResult()


def no_resource(uri: str) -> MCPError:
    """What is said where nothing is at an address, or nothing for this caller: both are the same to them."""
    return MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})


async def _carry(watch: Watch, bus: InMemorySubscriptionBus) -> None:
    async for event in _changes(watch):
        await bus.publish(event)


async def _notify(watch: Watch, context: Context) -> None:
    async for event in _changes(watch):
        if isinstance(event, ResourceUpdated):
            with contextlib.suppress(Exception):  # nobody is at the other end just now; they read when they return
                await context.session.send_resource_updated(event.uri)


async def _changes(watch: Watch) -> AsyncIterator[ServerEvent]:
    """What changes, for ever. Where looking takes long (very many files), it is done less often."""
    pause = _LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        began = time.monotonic()
        try:
            changed = await asyncio.to_thread(watch.changes)
        except Exception:
            _log.exception("resources cannot be looked at")
            changed = []
        pause = max(_LOOK_SECONDS, 4 * (time.monotonic() - began))
        for event in changed:
            yield event
