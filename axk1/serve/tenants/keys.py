"""The text of an API key: ``axk1_<id>_<secret>``. Only its hash is kept; the secret has 256 random bits, so a plain
SHA-256 of it cannot be turned back."""

import hashlib
import hmac
import re
import secrets

_KEY = re.compile(rb"axk1_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


def new_key() -> tuple[str, str]:
    """A fresh key: its id and its text."""
    name = secrets.token_hex(8)
    return name, f"axk1_{name}_{secrets.token_urlsafe(32)}"


def sha256(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def id_of(key: bytes) -> str | None:
    """The id in a key's text; None for anything that is not written exactly as a key is."""
    found = _KEY.fullmatch(key)
    return found[1].decode() if found else None


def matches(key: bytes, kept: str) -> bool:
    """Whether this is the key of a hash; takes as long for a near miss as for any other."""
    return hmac.compare_digest(hashlib.sha256(key).hexdigest(), kept)
