"""``axk1 search find``: a question -> passages, on the terminal or as JSON lines.

axk1 search find "하위 문서의 보존 기간은?" --index out/search/docs
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from axk1.core.config import require
from axk1.core.progress import print_plan
from axk1.search.index.index import Index
from axk1.search.passage import Hit
from axk1.search.retriever import Bounds

_SNIPPET = 300


@dataclasses.dataclass(frozen=True)
class FindConfig:
    """What is looked for, and where."""

    question: str
    """What is asked; plain text."""
    index: Path = Path("out/search/docs")
    """What axk1 search build wrote."""
    limit: int = 5
    """Most passages."""
    since: str = ""
    """First day of a document, YYYY-MM-DD."""
    until: str = ""
    """Last day of a document."""
    documents: tuple[str, ...] = ()
    """Beginnings of documents' names; none means all."""
    json: bool = False
    """A JSON object in each line, with the whole text."""

    def __post_init__(self) -> None:
        require(bool(self.question.strip()), "question", self.question, "some words")
        require(self.limit > 0, "limit", self.limit, "1 or more")


def find(config: FindConfig, *, dry_run: bool = False) -> Sequence[Hit]:
    """Prints the passages that a question finds, and returns them.

    Raises:
        AXK1Error: there is no such index.
    """
    if dry_run:
        print_plan(f"find in {config.index}", {"question": config.question, "most passages": config.limit})
        return []
    index = Index.open(config.index)
    bounds = Bounds(config.since, config.until, config.documents)
    hits = index.search(config.question, limit=config.limit, bounds=bounds)
    output = Console(highlight=False, soft_wrap=True)
    for number, hit in enumerate(hits, 1):
        if config.json:
            output.print(
                json.dumps({"score": hit.score, "ranks": hit.ranks, **vars(hit.passage)}, ensure_ascii=False),
                markup=False,
            )
        else:
            _print(output, number, hit)
    if not hits:
        output.print("nothing found")
    return hits


def _print(output: Console, number: int, hit: Hit) -> None:
    passage = hit.passage
    place = [passage.document, passage.section, f"page {passage.page}" if passage.page else "", passage.date]
    output.print(f"[bold]{number}. {escape(passage.title)}[/bold]  [dim]{passage.id}[/dim]")
    output.print(f"   [cyan]{escape(' · '.join(filter(None, place)))}[/cyan]")
    text = re.sub(r"\s+", " ", passage.text)
    output.print(f"   {escape(text[:_SNIPPET])}{'…' if len(text) > _SNIPPET else ''}\n")
