"""What goes wrong at an upstream -> an error in OpenAI's form that says where.

as the upstream says it   a status of its own; its message, type, param, code and Retry-After are kept
502  upstream_refused_key    the upstream does not take this server's key
502  upstream_bad_answer     what came is not what OpenAI's API says
502  upstream_disconnected   the answer broke off
503  upstream_unreachable    nobody answers at the address
504  upstream_timeout        nothing came for too long
"""

import json
from typing import Any

import httpx

from axk1.serve.errors import ApiError

KEY_VARIABLE = "AXK1_UPSTREAM_API_KEY"
"""Environment variable with the key that upstreams ask of this server."""
_KEPT_HEADERS = ("retry-after", "retry-after-ms")
_RETRY_SECONDS = "2"


class NotBegun(ApiError):
    """An ApiError of an upstream that has not begun to work on the request, so that another one may."""


def in_trouble(message: str) -> NotBegun:
    """An upstream takes no requests now."""
    return NotBegun(message, status=503, code="upstream_unreachable", headers={"Retry-After": _RETRY_SECONDS})


def bad_answer(where: str, why: str) -> ApiError:
    """An upstream sent what OpenAI's API does not know."""
    return ApiError(f"the upstream {where} {why}", status=502, code="upstream_bad_answer")


def broke_off(where: str) -> ApiError:
    """An answer ended before its end."""
    return ApiError(
        f"the upstream {where} broke off in the middle of the answer", status=502, code="upstream_disconnected"
    )


def from_transport(where: str, error: httpx.HTTPError, *, begun: bool) -> ApiError:
    """What a failed connection means.

    Args:
        where: the upstream's address.
        error: what httpx says.
        begun: whether a part of the answer has come already.
    """
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return in_trouble(f"the upstream {where} cannot be reached{f': {error}' if str(error) else ''}")
    if isinstance(error, httpx.TimeoutException):
        return ApiError(f"the upstream {where} sent nothing for too long", status=504, code="upstream_timeout")
    if begun:
        return broke_off(where)
    message = f"the upstream {where} closed the connection before it answered"
    return ApiError(message, status=502, code="upstream_disconnected")


def from_answer(where: str, status: int, headers: httpx.Headers, body: bytes) -> ApiError:
    """The error that an upstream answered, in its words."""
    if status in (401, 403):
        message = f"the upstream {where} does not take this server's key; set {KEY_VARIABLE} where the server starts"
        return ApiError(message, status=502, code="upstream_refused_key")
    kind = NotBegun if status in (429, 503) else ApiError
    kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
    told = told_error(body)
    if told is None:
        text = body[:200].decode("utf-8", "replace").strip()
        return kind(f"the upstream {where} answered {status}: {text or 'nothing'}", status=status, headers=kept)
    return kind(
        told["message"],
        status=status,
        param=told.get("param"),
        code=told.get("code"),
        kind=told.get("type"),
        headers=kept,
    )


def told_error(body: bytes | dict[str, Any]) -> dict[str, Any] | None:
    """OpenAI's error object of a body, from the forms that servers give it, or None."""
    try:
        value = json.loads(body) if isinstance(body, bytes) else body
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    error = value.get("error", value if value.get("object") == "error" else None)
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return error
    if isinstance(error, str):
        return {"message": error}
    detail = value.get("detail")
    return {"message": detail if isinstance(detail, str) else json.dumps(detail)} if detail else None
