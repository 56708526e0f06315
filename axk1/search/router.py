"""The routes ``/v1/search``, ``/v1/passages/{id}`` and ``/v1/answers``."""

import asyncio
import dataclasses
import datetime
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from axk1.core.chat_model import ChatModel
from axk1.core.errors import AXK1Error
from axk1.search.answers.answerer import Answerer, Options
from axk1.search.passage import DocumentFacts, Hit, Passage
from axk1.search.retriever import Bounds, Retriever

_AROUND = 1000
"""Characters before and after a passage that are shown with it."""


class Library(Retriever, Protocol):
    """A retriever that keeps its documents."""

    def passage(self, id: str) -> Passage | None:
        """The passage of that id, if there is one."""
        ...

    def document_text(self, document: str) -> str:
        """The text of a document by its name. Raises AXK1Error where there is none."""
        ...

    def documents(self) -> Iterator[DocumentFacts]:
        """Name, title, date and length of each document, by name."""
        ...


def _checked_day(day: str) -> str:
    if day:
        datetime.date.fromisoformat(day)
    return day


Day = Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$"), AfterValidator(_checked_day)]
"""YYYY-MM-DD, or nothing."""


class _Bounded(BaseModel):
    """What both requests may say of the documents."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 10
    since: Day = ""
    until: Day = ""
    documents: Annotated[list[str], Field(max_length=100)] = []

    @property
    def bounds(self) -> Bounds:
        """As retrievers take them."""
        return Bounds(self.since, self.until, tuple(self.documents))


class SearchRequest(_Bounded):
    """The body of ``/v1/search``."""

    query: Annotated[str, Field(min_length=1, max_length=2000)]


class Message(BaseModel):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=20_000)]


class AnswerRequest(_Bounded):
    """The body of ``/v1/answers``: a question, or a conversation that ends with one."""

    question: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=100)] | None = None
    max_sources: Annotated[int, Field(ge=1, le=20)] = 5
    language: Literal["ko", "en"] | None = None
    rerank: bool = False
    stream: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> "AnswerRequest":
        if (self.question is None) == (self.messages is None):
            raise ValueError("question or messages, one of the two")
        if self.messages is not None and self.messages[-1].role != "user":
            raise ValueError("messages ends with the question of a user")
        return self

    @property
    def conversation(self) -> list[dict[str, str]]:
        """OpenAI's messages."""
        if self.messages is None:
            return [{"role": "user", "content": self.question or ""}]
        return [message.model_dump() for message in self.messages]

    @property
    def options(self) -> Options:
        """As the answerer takes them."""
        return Options(self.limit, self.bounds, self.max_sources, self.language, self.rerank)


def router(get_library: Callable[[], Library], open_chat: Callable[[Request], ChatModel | None]) -> APIRouter:
    """A router over an index.

    Args:
        get_library: the index as it is now.
        open_chat: who writes the answers of a request, on behalf of who asks; None quotes the passages.
    """
    routes = APIRouter(prefix="/v1")

    @routes.post("/search")
    async def search(asked: SearchRequest) -> dict[str, Any]:
        hits = await asyncio.to_thread(get_library().search, asked.query, limit=asked.limit, bounds=asked.bounds)
        return {"object": "list", "data": [_hit(hit) for hit in hits]}

    @routes.get("/passages/{id}")
    async def passage(id: str) -> dict[str, Any]:
        return await asyncio.to_thread(_in_its_place, get_library(), id)

    @routes.post("/answers")
    async def answers(asked: AnswerRequest, request: Request) -> Response:
        library = get_library()
        answerer = Answerer(library, open_chat(request), document_text=library.document_text)
        if asked.stream:
            events = _events(answerer, asked)
            return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        return JSONResponse((await answerer.answer(asked.conversation, asked.options)).wire())

    return routes


async def _events(answerer: Answerer, asked: AnswerRequest) -> AsyncIterator[str]:
    """The steps as server-sent events, then the answer; an error after the first of them is an event, too."""
    try:
        async for step in answerer.steps(asked.conversation, asked.options):
            if step.answer is None:
                yield _event("step", {"step": step.step, "detail": step.detail})
            else:
                yield _event("answer", step.answer.wire())
    except AXK1Error as error:
        kind = {"message": error.message, "type": "invalid_request_error", "param": None, "code": None}
        yield _event("error", {"error": kind})
    yield "data: [DONE]\n\n"


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _hit(hit: Hit) -> dict[str, Any]:
    return {**dataclasses.asdict(hit.passage), "score": hit.score, "ranks": dict(hit.ranks)}


def _in_its_place(library: Library, id: str) -> dict[str, Any]:
    """A passage with the text around it. Raises HTTPException 404."""
    found = library.passage(id)
    if found is None:
        raise HTTPException(404, f"the passage {id!r} does not exist")
    text = library.document_text(found.document)
    before, after = text[max(0, found.start - _AROUND) : found.start], text[found.end : found.end + _AROUND]
    return {**dataclasses.asdict(found), "before": before, "after": after}
