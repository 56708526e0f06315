"""``axk1 ask "..." --index DIR``: an answer whose every sentence cites a passage that was checked, or a refusal."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.markup import escape

from axk1.core.chat_model import OpenChatModel
from axk1.core.config import require
from axk1.core.progress import console
from axk1.search.answers.answer import Answer
from axk1.search.answers.answerer import Answerer, Options
from axk1.search.connectors.searxng import SearXNG
from axk1.search.index.index import Index
from axk1.search.retriever import Bounds


@dataclass(frozen=True)
class AskConfig:
    """A question, and where its answer may come from."""

    question: str
    """What is asked, in Korean or English."""
    index: Path = Path("out/search/docs")
    """The folder of an index (axk1 search build)."""
    web: str | None = None
    """Search the live web instead, through the SearXNG at this address. Off unless an address is given."""
    model: str | None = None
    """Who writes the sentences: a checkpoint folder, or the address of a server of OpenAI's API. Without one, sentences
    of the documents are quoted word for word."""
    earlier: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A question that was asked before, so that this one may point back to it; repeated for several."""
    limit: int = 10
    """Most passages that are looked at."""
    since: str = ""
    """First day of a document that may be cited, YYYY-MM-DD."""
    until: str = ""
    """Last day of a document that may be cited."""
    documents: tuple[str, ...] = ()
    """Beginnings of the names of documents that may be cited: a folder, a site; none means all."""
    max_sources: int = 5
    """Most passages that the answer cites."""
    language: Literal["ko", "en"] | None = None
    """Of the answer; nothing means the question's."""
    rerank: bool = False
    """Let the model put the passages in order before they are read."""
    json: bool = field(default=False)
    """Print the whole answer as JSON, with every check."""

    def __post_init__(self) -> None:
        require(bool(self.question.strip()), "question", self.question, "a question")
        _ = self.options  # its checks

    @property
    def options(self) -> Options:
        """As the answerer takes them."""
        bounds = Bounds(self.since, self.until, self.documents)
        return Options(self.limit, bounds, self.max_sources, self.language, self.rerank)


def ask(open_model: OpenChatModel, config: AskConfig, *, dry_run: bool = False) -> Answer | None:
    """Answers one question: the steps on standard error, the answer and its sources on standard output.

    Args:
        open_model: opens the model that the config names.
        config: the question.
        dry_run: only say what would be done.

    Raises:
        AXK1Error: there is no such index, or the web search or the model cannot be reached.
    """
    source = f"the web, through {config.web}" if config.web else str(config.index)
    writer = config.model or "nobody: sentences are quoted (--model PATH or URL to have them written)"
    console.print(f"searched: [bold]{escape(source)}[/bold], {config.limit} passages   written by: {escape(writer)}")
    if dry_run:
        return None
    answer = asyncio.run(_answer(open_model, config))
    print(json.dumps(answer.wire(), ensure_ascii=False, indent=2) if config.json else as_text(answer))
    return answer


async def _answer(open_model: OpenChatModel, config: AskConfig) -> Answer:
    messages = [{"role": "user", "content": said} for said in (*config.earlier, config.question)]
    async with _answerer(open_model, config) as answerer:
        async for step in answerer.steps(messages, config.options):
            console.print(f"[cyan]{step.step:>8}[/cyan]  {escape(step.detail)}")
            if step.answer is not None:
                return step.answer
    raise AssertionError("the last step has an answer")


@contextlib.asynccontextmanager
async def _answerer(open_model: OpenChatModel, config: AskConfig) -> AsyncIterator[Answerer]:
    library = SearXNG(config.web) if config.web else Index.open(config.index)
    with contextlib.closing(library):
        if config.model is None:
            yield Answerer(library, document_text=library.document_text)
            return
        async with open_model(config.model) as model:
            yield Answerer(library, model, document_text=library.document_text)


def as_text(answer: Answer) -> str:
    """The answer for a terminal: its sentences, the sources with the place of what they are cited for, what was
    struck."""
    lines = [answer.text]
    if answer.reason:
        lines.append(f"({answer.reason})")
    for source in answer.sources:
        passage = source.passage
        page = f", page {passage.page}" if passage.page is not None else ""
        titled = passage.section.startswith(passage.title)  # a document is often called as its first heading
        place = " > ".join(part for part in ("" if titled else passage.title, passage.section) if part)
        dated = f", {passage.date}" if passage.date else ""
        spans = [one for sentence in answer.sentences for one in sentence.evidence if one.source == source.number]
        characters = ", ".join(f"{one.start}-{one.end}" for one in spans)
        lines.append(f"[{source.number}] {place}{page}{dated}\n    {passage.document}, characters {characters}")
    lines += [f"struck: {struck.text}\n    {struck.reason}" for struck in answer.struck]
    return "\n".join(lines)
