"""Errors in OpenAI's form, ``{"error": {"message", "type", "param", "code"}}`` with the status.

400  the request is wrong or asks for what is not supported   invalid_request_error
401  no API key, or one that is not known here                invalid_request_error
403  the API key is not for this path                         invalid_request_error
404  no such model or path                                    not_found_error
429  the queue is full or a limit is reached; Retry-After     rate_limit_error
     says when to come again
500  a bug here                                               server_error
503  the engine has stopped, or usage cannot be written       server_error
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from axk1.core.errors import AXK1Error
from axk1.engine.errors import EngineStopped, QueueFull

_log = logging.getLogger(__name__)
_TYPES = {400: "invalid_request_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorInfo(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """The JSON of every answer that is an error."""

    error: ErrorInfo


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request is wrong (400, 404), or too many wait already (429)"},
    "5XX": {"model": ErrorAnswer, "description": "A bug here (500), or the engine has stopped (503)"},
}
"""The errors, for the page that describes the routes."""


class ApiError(Exception):
    """An answer that is an error.

    Args:
        message: what is wrong, which value, what is allowed.
        status: the HTTP status.
        param: the field that is wrong.
        code: a short name for programs.
        kind: the type of the error, where it is not that of the status.
        headers: headers of the answer.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | int | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code, self.kind = message, status, param, code, kind
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        kind = self.kind or _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The answer; in ASCII, since a message may quote text that has no UTF-8 form."""
        return Response(json.dumps(self.body()), self.status, self.headers, "application/json")


class UnsupportedField(ApiError):
    """A request asks for something that is not done here. Args: field: its name; allowed: what is."""

    def __init__(self, field: str, allowed: str) -> None:
        message = f"{field} is not supported here; allowed: {allowed}"
        super().__init__(message, param=field, code="unsupported_parameter")


def as_api_error(error: Exception) -> ApiError:
    """How an exception is told to a client. What is no fault of the client's is logged, and told without details."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFull):
        headers = {"Retry-After": str(error.retry_after)}
        return ApiError(error.message, status=429, code="queue_full", headers=headers)
    if isinstance(error, EngineStopped):
        return ApiError(error.message, status=503, code="engine_stopped")
    if isinstance(error, AXK1Error):
        code = "context_length_exceeded" if "more than fit" in error.message else None
        field = re.match(r"(\w+)\S* = ", error.message)
        return ApiError(error.message, param=field and field[1], code=code)
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        return ApiError(str(error.detail), status=error.status_code, headers=error.headers)
    _log.error("a request failed", exc_info=error)
    return ApiError("the server failed; its log says why", status=500)


def no_such_model(name: str, known: Iterable[str]) -> ApiError:
    """The answer to a request that names a model which is not here."""
    there = ", ".join(map(repr, known))
    return ApiError(
        f"the model {name!r} does not exist; there is {there}", status=404, param="model", code="model_not_found"
    )


async def refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request or a WebSocket's handshake with an error, before any route sees it."""
    if scope["type"] == "http":
        await error.response()(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await error.response()(scope, receive, send)  # starlette sends it as the handshake's answer
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": error.message[:100]})


def install(app: FastAPI) -> None:
    """Makes every error of an application leave in OpenAI's form."""

    async def answer(_: Request, error: Exception) -> Response:
        return as_api_error(error).response()

    for kind in (ApiError, AXK1Error, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _from_validation(error: RequestValidationError) -> ApiError:
    """The first thing that is wrong, with the place where it stands."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"][1:] if not str(part).startswith(("function-", "list[", "constrained-"))]
    if first["type"] == "json_invalid":
        return ApiError(f"the body is not JSON: {first['ctx']['error']}", code="invalid_json")
    if not place and first["type"] in ("model_attributes_type", "missing"):
        return ApiError("the body is not a JSON object sent as Content-Type: application/json", code="invalid_json")
    param = ".".join(place) or None
    return ApiError(f"{param or 'the body'}: {first['msg']}", param=param, code=first["type"])
