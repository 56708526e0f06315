"""Search and cited answers over an index, as tools."""

from typing import get_args

from axk1.agents.tool import Effect, Outcome, Report, Tool, ToolContext, tool
from axk1.core.chat_model import ChatModel
from axk1.search.answers.answer import Answer, StepName
from axk1.search.answers.answerer import Answerer, Options
from axk1.search.router import Library

_MOST = 20
_STEPS = get_args(StepName)


def library_tools(library: Library, model: ChatModel | None = None) -> list[Tool]:
    """The tools of this file.

    Args:
        library: an opened index.
        model: who writes answers; None quotes sentences of the passages.
    """

    @tool(effect=Effect.READ, untrusted=True)
    def search_documents(context: ToolContext, query: str, limit: int = 5) -> Outcome:
        """Finds passages in the documents."""
        del context
        hits = library.search(query, limit=min(max(limit, 1), _MOST))
        found = [
            {
                "document": hit.passage.document,
                "section": hit.passage.section,
                "page": hit.passage.page,
                "text": hit.passage.text,
            }
            for hit in hits
        ]
        return Outcome({"passages": found})

    @tool(effect=Effect.READ, untrusted=True)
    async def answer_question(context: ToolContext, question: str) -> Outcome:
        """Answers a question from the documents, with sources; says so where they hold no answer."""
        answerer = Answerer(library, model, document_text=library.document_text)
        answer = await answered(answerer, question, Options(), context.report)
        sources = [f"[{one.number}] {one.passage.document} {one.passage.section}".strip() for one in answer.sources]
        return Outcome({"answer": answer.text, "sources": sources})

    return [search_documents, answer_question]


async def answered(answerer: Answerer, question: str, options: Options, report: Report) -> Answer:
    """An answer, whose steps are reported on the way.

    Args:
        answerer: who answers.
        question: what is asked.
        options: how.
        report: who waits for it.
    """
    answer = None
    async for step in answerer.steps([{"role": "user", "content": question}], options):
        answer = step.answer
        report(f"{step.step}: {step.detail}", done=_STEPS.index(step.step) + 1, total=len(_STEPS))
    assert answer is not None  # the last step has it
    return answer
