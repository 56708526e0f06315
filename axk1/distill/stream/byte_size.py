"""Sizes as people write them: ``16GiB``, ``500 MB``, ``1.5e9``."""

import re

from axk1.core.errors import ConfigError

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate(("K", "M", "G", "T"), 1)}
_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate(("K", "M", "G", "T"), 1)}
_FORM = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(text: str, field: str) -> int:
    """Bytes that a text such as ``16GiB`` (1024 based) or ``16GB`` (1000 based) stands for.

    Raises:
        ConfigError: it is no size above 0; names the field.
    """
    found = _FORM.fullmatch(text)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found and found[2].upper() in _UNITS else 0
    if size <= 0:
        raise ConfigError(f"{field} = {text!r} is not allowed; allowed: a size such as 16GiB or 500MB")
    return size


def format_bytes(size: float) -> str:
    """A size for people, 1024 based: ``512 B``, ``1.50 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TiB"
