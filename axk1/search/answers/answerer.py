"""``Answerer``: a conversation -> an answer, step by step: rewrite, search, read, write, check."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from axk1.core.chat_model import ChatModel, ChatReply
from axk1.core.config import require
from axk1.core.errors import AXK1Error
from axk1.guard import hidden_instructions, refusal_of
from axk1.search.answers.answer import Answer, Check, Reference, Sentence, Source, Step, Struck
from axk1.search.answers.checks import DocumentText, Verdict, Window, check_sentence, find_support
from axk1.search.answers.evidence import ENOUGH, Evidence, find_evidence
from axk1.search.answers.extract import extract
from axk1.search.answers.fusion import fused
from axk1.search.answers.question import Question
from axk1.search.answers.rewrite import Asked, read_conversation, rewrite
from axk1.search.answers.words import has_hangul
from axk1.search.answers.write import Draft, judge, rerank, write
from axk1.search.passage import Hit, Passage
from axk1.search.retriever import Bounds, Retriever

_ASKS = re.compile(r"(?:[?？]|[나까]요\.?|는가\.?)$")
_REFUSALS = {
    "ko": "찾은 문서에는 이 질문에 답할 근거가 없습니다.",
    "en": "Nothing that was found supports an answer to this question.",
}


@dataclass(frozen=True)
class Options:
    """How one question is answered."""

    limit: int = 10
    """Most passages that are looked at."""
    bounds: Bounds = field(default_factory=Bounds)
    """Which documents may be cited: days, names, sites."""
    max_sources: int = 5
    """Most passages that an answer cites."""
    language: str | None = None
    """``ko`` or ``en``; None is the question's."""
    rerank: bool = False
    """Let the model put the passages in order before they are read: one more call, for a model that can judge."""

    def __post_init__(self) -> None:
        require(1 <= self.limit <= 100, "limit", self.limit, "1 to 100")
        require(1 <= self.max_sources <= 20, "max_sources", self.max_sources, "1 to 20")
        require(self.language in (None, "ko", "en"), "language", self.language, "'ko', 'en', or null for the asker's")


class Answerer:
    """Answers from what a retriever finds, and from nothing else.

    Args:
        retriever: who finds passages.
        model: who writes sentences and judges them; None quotes sentences of the passages word for word.
        document_text: the text of a document by its name, to see that what is cited stands there.
    """

    def __init__(
        self, retriever: Retriever, model: ChatModel | None = None, *, document_text: DocumentText | None = None
    ) -> None:
        self.retriever, self.model, self.document_text = retriever, model, document_text

    async def answer(self, messages: Sequence[Mapping[str, Any]], options: Options = Options()) -> Answer:
        """The answer to the last question of a conversation; as ``steps``, without the steps."""
        async for step in self.steps(messages, options):
            if step.answer is not None:
                return step.answer
        raise AssertionError("the last step has an answer")

    async def steps(self, messages: Sequence[Mapping[str, Any]], options: Options = Options()) -> AsyncIterator[Step]:
        """What is done for the last question of a conversation, as it is done.

        Args:
            messages: OpenAI's; the last of the person's is the question.
            options: how it is answered.

        Raises:
            AXK1Error: nothing is asked, or the retriever failed. A model that fails is told of, and sources are quoted.
        """
        asked = await asyncio.to_thread(read_conversation, messages)
        work = _Work(self, messages, asked, options)
        if refusal := refusal_of(asked.question, work.language):
            yield Step("answer", "refused", Answer(work.language, reason="the request is unsafe", refusal=refusal))
            return
        yield Step("rewrite", await work.rewrite())
        yield Step("search", await work.search())
        if self.model is not None and options.rerank and len(work.hits) > 1:
            yield Step("rerank", await work.rerank())
        yield Step("read", await asyncio.to_thread(work.read))
        if self.model is not None and work.may_answer:
            yield Step("write", await work.write())
            yield Step("check", await work.check())
        if not work.sentences and work.may_answer:
            yield Step("write", await asyncio.to_thread(work.quote))
        answer = work.answer()
        yield Step("answer", "refused" if answer.refused else f"{len(answer.sentences)} sentences", answer)


class _Work:
    """One question on its way to an answer."""

    def __init__(
        self, answerer: Answerer, messages: Sequence[Mapping[str, Any]], asked: Asked, options: Options
    ) -> None:
        self.answerer, self.messages, self.asked, self.options = answerer, messages, asked, options
        self.language = options.language or Question.read(asked.question).language
        self.queries = list(asked.queries)
        self.hits: list[Hit] = []
        self.evidence: list[list[Evidence]] = []
        self.drafts: list[Draft] = []
        self.passages: list[Passage] = []
        self.sentences: list[Sentence] = []
        self.cited: list[Passage] = []
        self.struck: list[Struck] = []
        self.reason = ""
        self.usage = {"prompt_tokens": 0, "completion_tokens": 0}

    async def rewrite(self) -> str:
        """Queries; a model's are added to those made by rule."""
        note = ""
        if self.answerer.model is not None:
            try:
                added, reply = await rewrite(self.answerer.model, self.messages)
                self._count(reply)
                self.queries = list(dict.fromkeys(self.queries + added))
            except AXK1Error as error:
                note = f" (none from the model: {error.message})"
        return " | ".join(self.queries) + note

    async def search(self) -> str:
        """Always, whatever a model may think: passages of every query, in one order."""
        options = self.options
        found = await asyncio.gather(
            *(
                asyncio.to_thread(self.answerer.retriever.search, query, limit=options.limit, bounds=options.bounds)
                for query in self.queries
            )
        )
        self.hits = fused(found)[: options.limit]
        documents = len({hit.passage.document for hit in self.hits})
        return f"{len(self.hits)} passages of {documents} documents"

    async def rerank(self) -> str:
        """The model's order of the passages."""
        try:
            order, reply = await rerank(self.answerer.model, self.asked.resolved, [hit.passage for hit in self.hits])
        except AXK1Error as error:
            return f"as found; the model failed: {error.message}"
        self._count(reply)
        self.hits = [self.hits[place] for place in order]
        return f"first is what was found at place {order[0] + 1}"

    def read(self) -> str:
        """How probably each sentence answers each part of the question."""
        self.evidence = [find_evidence(Question.read(part), self.hits) for part in self.asked.parts]
        return f"the likeliest sentence answers with probability {self.best:.2f}, {ENOUGH} is enough"

    @property
    def best(self) -> float:
        """The probability of the likeliest sentence."""
        return max((part[0].probability for part in self.evidence if part), default=0.0)

    @property
    def may_answer(self) -> bool:
        """Whether there is evidence: probable enough, or in another language, where words cannot tell."""
        return self.best >= ENOUGH or (self.answerer.model is not None and any(map(self._is_foreign, self.hits)))

    async def write(self) -> str:
        """The model's sentences."""
        self.passages = self._best_passages()
        try:
            reply = await self._written()
        except AXK1Error:
            self.passages = self.passages[:1]  # a small context may hold one
            try:
                reply = await self._written()
            except AXK1Error as error:
                self.reason = f"the model failed: {error.message}"
                return self.reason
        self._count(reply)
        return f"{len(self.drafts)} sentences from {len(self.passages)} passages"

    async def _written(self) -> ChatReply:
        question = self.asked.resolved
        self.drafts, reply = await write(self.answerer.model, question, self.passages, language=self.language)
        return reply

    async def check(self) -> str:
        """Keeps the sentences that stand, strikes the others."""
        verdicts = await asyncio.gather(*(self._verdict(draft) for draft in self.drafts))
        for draft, verdict in zip(self.drafts, verdicts, strict=True):
            if verdict.passed:
                self._keep(draft.text, verdict)
            else:
                self.struck.append(Struck(draft.text, verdict.reason))
        self._strike_what_answers_nothing()
        if not self.sentences and not self.reason:
            self.reason = "no sentence of the model's passed the checks" if self.drafts else "the model wrote nothing"
        return f"{len(self.sentences)} of {len(self.drafts)} sentences stand"

    def quote(self) -> str:
        """Sentences of the passages themselves."""
        for part in self.asked.parts:
            quotes = extract(Question.read(part), self.hits, most=2 if len(self.asked.parts) == 1 else 1)
            if not quotes:
                self.reason = f"no passage answers {part!r}"
            for one in quotes:
                if one.passage in self.cited or len(self.cited) < self.options.max_sources:
                    self._quote(one)
        return f"{len(self.sentences)} sentences quoted"

    def answer(self) -> Answer:
        """What came of it."""
        if not self.sentences and not self.may_answer:
            self.reason = (
                f"no passage is likely to answer: {self.best:.2f}, {ENOUGH} is needed"
                if self.hits
                else "nothing was found"
            )
        sources = tuple(Source(number, passage) for number, passage in enumerate(self.cited, 1))
        refusal = "" if self.sentences else _REFUSALS[self.language]
        return Answer(
            self.language, tuple(self.sentences), sources, tuple(self.struck), tuple(self.queries), self.reason,
            refusal, self.usage,
        )  # fmt: skip

    def _quote(self, one: Evidence) -> None:
        """Keeps a quotation, whose evidence is itself, or strikes it where it no longer stands in its document."""
        text = " ".join(one.text.split())
        verdict = check_sentence(one.text, [one.passage], self.answerer.document_text)
        if not verdict.passed:
            self.struck.append(Struck(text, verdict.reason))
            return
        answers = Check("answers", True, f"with probability {one.probability:.2f}")
        window = Window(one.passage, one.start, one.end, one.text)
        self._keep(text, Verdict((window,), (*verdict.checks, answers)))

    async def _verdict(self, draft: Draft) -> Verdict:
        """The checks of one sentence, the model's judgement last."""
        if has_hangul(draft.text) != (self.language == "ko"):
            return Verdict((), (Check("language", False, f"not written in {self.language}"),))
        if _ASKS.search(draft.text):
            return Verdict((), (Check("statement", False, "it asks instead of saying something"),))
        if hidden_instructions(draft.text, "passage"):
            return Verdict((), (Check("instruction", False, "it tells somebody what to do"),))
        cited = [self.passages[number - 1] for number in draft.sources]
        verdict = await asyncio.to_thread(find_support, draft.text, cited, self.passages, self.answerer.document_text)
        if not verdict.passed:
            return verdict
        shown = [self._shown(draft.text, window) for window in verdict.windows]
        try:
            supported, reply = await judge(self.answerer.model, draft.text, shown)
        except AXK1Error as error:
            return dataclasses.replace(verdict, checks=(*verdict.checks, Check("judge", False, error.message)))
        self._count(reply)
        judged = Check("judge", supported, f"the model {'finds' if supported else 'does not find'} it in the passage")
        return dataclasses.replace(verdict, checks=(*verdict.checks, judged))

    def _shown(self, text: str, window: Window) -> Passage:
        """What the judge reads: the nearest sentences; all of a passage in another language, where none is nearest."""
        if has_hangul(text) != has_hangul(window.passage.text):
            return window.passage
        return dataclasses.replace(window.passage, text=window.text)

    def _keep(self, text: str, verdict: Verdict) -> None:
        numbers, references = [], []
        if any(text == other.text for other in self.sentences):
            return
        for window in verdict.windows:
            if window.passage not in self.cited:
                self.cited.append(window.passage)
            numbers.append(self.cited.index(window.passage) + 1)
            references.append(Reference(numbers[-1], window.start, window.end))
        self.sentences.append(Sentence(text, tuple(numbers), verdict.checks, tuple(references)))

    def _strike_what_answers_nothing(self) -> None:
        """Where a time is asked for and no sentence has one, the sentences may be true, but are no answer."""
        questions = [Question.read(part) for part in self.asked.parts]
        if not any(question.has_candidate(one.text) for question in questions for one in self.sentences):
            self.struck += [Struck(one.text, f"answers: no {questions[0].kind} in it") for one in self.sentences]
            self.sentences, self.cited = [], []

    def _best_passages(self) -> list[Passage]:
        """What the model gets to read: those with the likeliest sentences first, then as they were found; only those in
        another language where that is why it may answer."""
        likeliest = sorted((one for part in self.evidence for one in part), key=lambda one: -one.probability)
        first = [one.passage for one in likeliest if one.probability > ENOUGH / 3]
        found = [hit.passage for hit in self.hits if self.best >= ENOUGH or self._is_foreign(hit)]
        ordered = dict.fromkeys(first + found) if self.best >= ENOUGH else dict.fromkeys(found)
        return list(ordered)[: self.options.max_sources]

    def _is_foreign(self, hit: Hit) -> bool:
        return has_hangul(hit.passage.text) != has_hangul(self.asked.question)

    def _count(self, reply: ChatReply) -> None:
        self.usage["prompt_tokens"] += reply.prompt_tokens
        self.usage["completion_tokens"] += reply.completion_tokens
