"""What a scope may take in a period, what is left of it, and how a client is told."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from axk1.core.config import require
from axk1.serve.errors import ApiError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of an organisation or a key; nothing means none. A request has to meet those of both."""

    requests_per_minute: int | None = None
    """Most requests in a minute."""
    tokens_per_minute: int | None = None
    """Most tokens in a minute, prompts and answers together."""
    tokens_per_day: int | None = None
    """Most tokens in a day of the organisation's time zone."""
    tokens_per_month: int | None = None
    """Most tokens in a month of the organisation's time zone."""

    def __post_init__(self) -> None:
        for name in LIMIT_NAMES:
            value = getattr(self, name)
            require(value is None or 0 <= value < 2**53, name, value, "0 or more")


LIMIT_NAMES = tuple(field.name for field in fields(Limits))


@dataclass(frozen=True)
class Room:
    """What is left of one limit."""

    owner: str
    """organisation or key."""
    scope: str
    """Its id."""
    kind: str
    """requests or tokens."""
    period: str
    """minute, day or month."""
    limit: int
    used: int
    start: float
    """When the period began."""
    seconds: float
    """Until it ends."""

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


def headers(rooms: Iterable[Room]) -> dict[str, str]:
    """OpenAI's ``x-ratelimit-*``, of the limit of requests and of that of tokens which leave least."""
    found: dict[str, str] = {}
    for kind in ("requests", "tokens"):
        tightest = min((room for room in rooms if room.kind == kind), key=lambda room: room.remaining, default=None)
        if tightest is not None:
            found[f"x-ratelimit-limit-{kind}"] = str(tightest.limit)
            found[f"x-ratelimit-remaining-{kind}"] = str(tightest.remaining)
            found[f"x-ratelimit-reset-{kind}"] = _duration(tightest.seconds)
    return found


def refusal(room: Room, wanted: int, held: int, rooms: Iterable[Room]) -> ApiError:
    """What a client is told whose request does not fit a limit.

    Args:
        room: the limit.
        wanted: requests or tokens that were asked for.
        held: how much of what is used is only held, by requests that are still being answered.
        rooms: all limits that the request has to meet.
    """
    limit = f"the {room.owner}'s limit is {room.limit:,} {room.kind} a {room.period}"
    if wanted > room.limit > 0:
        return ApiError(
            f"the request may take {wanted:,} tokens and {limit}; send a shorter prompt or a smaller max_tokens",
            param="max_tokens",
            code="request_too_large",
            headers=headers(rooms),
        )
    told: dict[str, Any] = headers(rooms)
    waits = room.used - held + wanted <= room.limit
    seconds = 1 if waits else max(1, math.ceil(room.seconds))
    told |= {"retry-after": str(seconds), "x-should-retry": "true" if waits or room.period == "minute" else "false"}
    used = f"{room.used - held:,} are used, {held:,} held by requests that are being answered"
    return ApiError(
        f"{limit}, of which {used}; this request may take {wanted:,}. Come again in {seconds:,} s",
        status=429,
        code="rate_limit_exceeded" if room.period == "minute" else "insufficient_quota",
        headers=told,
    )


def _duration(seconds: float) -> str:
    """Seconds as OpenAI writes them: 1s, 6m0s, 24h0m0s."""
    whole = max(0, math.ceil(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
