"""What an answer is: sentences, what they cite, what was checked, what was struck; and the steps towards it."""

import dataclasses
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

from axk1.search.passage import Passage

StepName = Literal["rewrite", "search", "rerank", "read", "write", "check", "answer"]


@dataclass(frozen=True)
class Check:
    """One thing that was checked of a sentence."""

    name: str
    """``span``, ``words``, ``names``, ``numbers``, ``polarity``, ``judge``, or ``answers``: whether it answers."""
    passed: bool
    detail: str = ""
    """What was found, in words."""


@dataclass(frozen=True)
class Reference:
    """The stretch of a source that carries a sentence."""

    source: int
    """The source's number."""
    start: int
    end: int
    """Its place in the document's text."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of an answer."""

    text: str
    citations: tuple[int, ...]
    """Numbers of the sources that carry it; never empty."""
    checks: tuple[Check, ...] = ()
    evidence: tuple[Reference, ...] = ()
    """Where in the sources it stands."""


@dataclass(frozen=True)
class Source:
    """A passage that an answer cites."""

    number: int
    passage: Passage


@dataclass(frozen=True)
class Struck:
    """A sentence that was written and failed a check."""

    text: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """The answer to one question, or its refusal."""

    language: str
    """``ko`` or ``en``: the asker's."""
    sentences: tuple[Sentence, ...] = ()
    sources: tuple[Source, ...] = ()
    struck: tuple[Struck, ...] = ()
    queries: tuple[str, ...] = ()
    """What was searched for."""
    reason: str = ""
    """Why it refuses, or why sources are quoted where a model should have written."""
    refusal: str = ""
    """What is said instead of an answer; empty where there is one."""
    usage: dict[str, int] = field(default_factory=lambda: {"prompt_tokens": 0, "completion_tokens": 0})
    id: str = field(default_factory=lambda: f"ans_{uuid.uuid4().hex}")

    @property
    def refused(self) -> bool:
        """Whether nothing is answered."""
        return not self.sentences

    @property
    def text(self) -> str:
        """The answer with the numbers of its sources: ``... 15일이다. [1]``; or the refusal."""
        marked = (f"{one.text} {''.join(f'[{number}]' for number in one.citations)}" for one in self.sentences)
        return " ".join(marked) or self.refusal

    def wire(self) -> dict[str, Any]:
        """The JSON of ``/v1/answers``."""
        return {
            "id": self.id,
            "object": "answer",
            "language": self.language,
            "answer": self.text,
            "sentences": [dataclasses.asdict(one) for one in self.sentences],
            "sources": [{"number": one.number, **dataclasses.asdict(one.passage)} for one in self.sources],
            "struck": [dataclasses.asdict(one) for one in self.struck],
            "refused": self.refused,
            "reason": self.reason,
            "queries": list(self.queries),
            "usage": {**self.usage, "total_tokens": sum(self.usage.values())},
        }


@dataclass(frozen=True)
class Step:
    """Something that was done on the way to an answer."""

    step: StepName
    detail: str
    """What came of it, in words."""
    answer: Answer | None = None
    """The whole, with the last step only."""
