"""Minutes, days and months as a time zone sees them: where the one around a moment begins and ends."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from axk1.core.errors import ConfigError

PERIODS = ("minute", "day", "month")


def bounds(period: str, at: float, zone: str) -> tuple[float, float]:
    """Start and end, in seconds since 1970, of the period that a moment lies in. The end belongs to the next one.

    Args:
        period: minute, day or month.
        at: the moment, in seconds since 1970.
        zone: a name of the tz database, such as Asia/Seoul.
    """
    if period == "minute":
        return at - at % 60, at - at % 60 + 60
    midnight = datetime.fromtimestamp(at, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "day":
        return midnight.timestamp(), (midnight + timedelta(days=1)).timestamp()
    first = midnight.replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return first.timestamp(), following.timestamp()


def day_of(at: float, zone: str) -> str:
    """The date of a moment, such as 2026-11-22."""
    return datetime.fromtimestamp(at, ZoneInfo(zone)).date().isoformat()


def check_zone(zone: str) -> None:
    """Raises ConfigError unless the tz database knows this name."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"time_zone = {zone!r} is not allowed; allowed: names such as Asia/Seoul, Europe/London or UTC"
        ) from None
