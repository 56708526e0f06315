"""The routes under ``/v1/agents``: runs, their events, what a person gives to them, their files."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, StreamingResponse

from axk1.agents.limits import Limits
from axk1.agents.loop import Runner
from axk1.agents.run import ENDED, PAUSED, Input, InputRefused, NoSuchRun, Run, RunBusy, Status
from axk1.agents.store import RunStore
from axk1.agents.work import Work
from axk1.core.config import from_dict
from axk1.core.errors import AXK1Error
from axk1.serve.caller import Caller, caller_of
from axk1.serve.errors import RESPONSES, ApiError

_LOOK_SECONDS = 0.2
"""How often a stream looks for what other processes wrote."""
_KEEP_ALIVE = 15.0
"""Seconds of silence after which a stream sends a comment, so that nobody between takes it for dead."""


class RunRequest(BaseModel):
    """A new run."""

    model_config = ConfigDict(extra="forbid")

    goal: str = Field(min_length=1, max_length=100_000)
    language: Literal["ko", "en"] | None = None
    tools: list[str] | None = None
    limits: dict[str, float] | None = None
    """Narrower ones than the server's, by the names of ``Limits``."""


class InputRequest(BaseModel):
    """What a person gives: words, values for slots, or a decision."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(default=None, max_length=100_000)
    slots: dict[str, Any] | None = None
    confirm: bool | None = None
    call_id: str | None = None


class UndoRequest(BaseModel):
    """Which call is to be taken back."""

    model_config = ConfigDict(extra="forbid")

    call_id: str


def router(runner_of: Callable[[Caller], Runner], store: RunStore, work: Work) -> APIRouter:
    """A router over the runs of all tenants.

    Args:
        runner_of: the runner that acts on behalf of a caller.
        store: where the runs are.
        work: where they are carried on.
    """
    routes = APIRouter(prefix="/v1/agents/runs", responses=RESPONSES)

    @routes.post("")
    async def create(asked: RunRequest, request: Request) -> dict[str, Any]:
        runner = runner_of(caller_of(request))
        limits = None if asked.limits is None else _limits(asked.limits)
        with _told():
            run = await runner.open(asked.goal, language=asked.language, tools=asked.tools, limits=limits)
        work.carry_on(runner, run.id)
        return to_wire(run)

    @routes.get("")
    async def listed(
        request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
    ) -> dict[str, Any]:
        with _told():
            runs = await asyncio.to_thread(store.runs, caller_of(request).tenant, limit=limit + 1, before=after)
        page = [to_wire(run) for run in runs[:limit]]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return {"object": "list", "data": page, **ends, "has_more": len(runs) > limit}

    @routes.get("/{run_id}")
    async def look(run_id: str, request: Request) -> dict[str, Any]:
        with _told():
            return to_wire(await runner_of(caller_of(request)).look(run_id))

    @routes.get("/{run_id}/events")
    async def events(
        run_id: str, request: Request, last_event_id: Annotated[str | None, Header()] = None
    ) -> StreamingResponse:
        runner = runner_of(caller_of(request))
        with _told():
            await runner.look(run_id)
        stream = _events(runner, run_id, _event_number(last_event_id))
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    @routes.post("/{run_id}/input")
    async def give(run_id: str, asked: InputRequest, request: Request) -> dict[str, Any]:
        caller = caller_of(request)
        runner = runner_of(caller)
        with _told():
            run = await runner.accept(run_id, Input(**asked.model_dump(), by=caller.key))
        if run.status is Status.RUNNING:
            work.carry_on(runner, run.id)
        return to_wire(run)

    @routes.post("/{run_id}/cancel")
    async def cancel(run_id: str, request: Request) -> dict[str, Any]:
        with _told():
            return to_wire(await runner_of(caller_of(request)).cancel(run_id))

    @routes.post("/{run_id}/undo")
    async def undo(run_id: str, asked: UndoRequest, request: Request) -> dict[str, Any]:
        caller = caller_of(request)
        with _told():
            return to_wire(await runner_of(caller).undo(run_id, asked.call_id, by=caller.key))

    @routes.get("/{run_id}/files/{path:path}")
    async def file(run_id: str, path: str, request: Request) -> FileResponse:
        with _told():
            run = await runner_of(caller_of(request)).look(run_id)
        return FileResponse(_file(run, path), filename=Path(path).name)

    return routes


def to_wire(run: Run) -> dict[str, Any]:
    """The run as the API shows it."""
    waiting = run.waiting if run.status is Status.CONFIRMATION_REQUIRED else None
    confirmation = None
    if waiting is not None:
        expires_at = waiting.expires_at and waiting.expires_at.isoformat()
        confirmation = {"call_id": waiting.call_id, "tool": waiting.tool}
        confirmation |= {"preview": waiting.preview, "expires_at": expires_at}
    asks = run.status is Status.INPUT_REQUIRED and run.question is not None
    return {
        "id": run.id,
        "object": "agent.run",
        "status": str(run.status),
        "goal": run.goal,
        "language": run.language,
        "question": run.question.to_wire() if asks and run.question else None,
        "confirmation": confirmation,
        "answer": run.answer,
        "steps": [step.to_wire() for step in run.steps],
        "files": [{"path": path, "bytes": size} for path in run.files if (size := _size(run, path)) is not None],
        "undoable": [call.call_id for call in run.calls if call.undo is not None],
        "usage": run.usage.to_wire(),
        "created_at": int(run.created_at.timestamp()),
    }


async def _events(runner: Runner, run_id: str, after: int) -> AsyncIterator[str]:
    """The steps behind a number, then those that come; between them ``run`` wherever it pauses or ends."""
    shown: Status | None = None
    silence = 0.0
    while True:
        status, steps = await asyncio.to_thread(runner.store.steps, runner.tenant, run_id, after=after)
        for step in steps:
            after = step.number
            yield f"id: {after}\nevent: step\ndata: {_json(step.to_wire())}\n\n"
        if status in (*PAUSED, *ENDED) and (steps or status is not shown):
            run = await runner.look(run_id)
            if run.steps[-1].number > after:
                continue  # it went on just now: its steps first
            yield f"event: run\ndata: {_json(to_wire(run))}\n\n"
        if status in ENDED:
            yield "data: [DONE]\n\n"
            return
        silence = 0.0 if steps or status is not shown else silence + _LOOK_SECONDS
        shown = status
        if silence >= _KEEP_ALIVE:
            silence = 0.0
            yield ": keep-alive\n\n"
        await asyncio.sleep(_LOOK_SECONDS)


def _event_number(given: str | None) -> int:
    if not given:
        return 0
    if not re.fullmatch(r"\d{1,9}", given):
        raise ApiError(f"Last-Event-ID = {given!r} is not allowed; allowed: a step's number", param="Last-Event-ID")
    return int(given)


def _limits(given: dict[str, float]) -> Limits:
    whole = {name: int(value) if float(value).is_integer() else value for name, value in given.items()}
    return from_dict(Limits, whole, where="limits")


def _file(run: Run, path: str) -> Path:
    """A file that the run made. No other file can be had, whatever the path says."""
    workspace = Path(run.workspace).resolve()
    there = (workspace / path).resolve()
    if path not in run.files or not there.is_relative_to(workspace) or not there.is_file():
        raise ApiError(f"the run has no file {path!r}; it has: {', '.join(run.files) or 'none'}", status=404)
    return there


def _size(run: Run, path: str) -> int | None:
    """The bytes of a file; None where it is gone."""
    with contextlib.suppress(ApiError):
        return _file(run, path).stat().st_size
    return None


@contextlib.contextmanager
def _told():
    """The errors of the room as the API's."""
    try:
        yield
    except NoSuchRun as error:
        raise ApiError(error.message, status=404, code="run_not_found", kind="not_found_error") from None
    except RunBusy as error:
        raise ApiError(error.message, status=409, code="run_busy") from None
    except InputRefused as error:
        raise ApiError(error.message, status=400, code="input_refused") from None
    except AXK1Error as error:
        raise ApiError(error.message) from None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
