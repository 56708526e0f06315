"""A task: one generator of reasoning-gym with short questions in two languages and reasoning that leads to the answer.

The same tasks make the conversations that a model is taught with, its examination and its rewards, so what is asked
and how it is graded is written once. The entry that reasoning-gym made is kept as it is, so its own scorer grades.

Which problems may be taught and which are kept for the examination is a property of the problem itself: ``held_out``
hashes its operands. No seed can therefore bring an examination problem into the teaching.
"""

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import reasoning_gym

from axk1.eval.tasks.phrasing import fill

Language = Literal["ko", "en"]
Mode = Literal["think", "no_think"]
Entry = dict[str, Any]
"""What reasoning-gym makes: question, answer, metadata."""

Options = dict[str, Any]
Questions = dict[Language, tuple[str, ...]]

LANGUAGES: tuple[Language, ...] = ("ko", "en")
MODES: tuple[Mode, ...] = ("think", "no_think")

HELD_OUT_ONE_IN = 8
HELD_OUT_RULE = (
    f"a problem whose BLAKE2b hash of '<task>:<normalised operands>' is divisible by {HELD_OUT_ONE_IN} "
    "is only examined, never taught"
)
_FINGERPRINTED = 16
TEACHING_START, EXAMINATION_START, NUMBERS_PER_SEED = 0, 2**31, 2**20


class Task(ABC):
    """One generator of reasoning-gym, made easy, with questions and reasoning in Korean and English."""

    name: ClassVar[str]
    """The name of the dataset in reasoning-gym."""
    options: ClassVar[Options]
    """The options of the dataset that keep it within reach of a model of a few million parameters."""
    questions: ClassVar[Questions]
    """Templates of the question by language; ``{question}`` is reasoning-gym's own English text."""

    @abstractmethod
    def operands(self, entry: Entry) -> str:
        """What determines the answer, in one normal form: order and names that do not matter are gone."""

    @abstractmethod
    def fields(self, entry: Entry, language: Language) -> dict[str, Any]:
        """The values that the question templates need."""

    @abstractmethod
    def reasoning(self, entry: Entry, language: Language) -> str:
        """Short steps that lead to the answer, in the language of the question."""

    def answer(self, entry: Entry, language: Language) -> str:
        """The answer as a model should write it."""
        return entry["answer"]

    def to_gym(self, answer: str) -> str:
        """An answer in words that reasoning-gym's scorer knows; Korean words become its English ones."""
        return answer

    def templates(self, entry: Entry, language: Language) -> tuple[str, ...]:
        """The question templates that fit this entry."""
        return self.questions[language]

    @cached_property
    def dataset(self) -> Any:
        """The generator; entry ``i`` depends on ``i`` alone."""
        return reasoning_gym.create_dataset(self.name, seed=0, size=2**62, **self.options)

    def problem(self, number: int) -> "Problem":
        """The problem with this number, always the same one."""
        entry = self.dataset[number]
        return Problem(task=self, number=number, entry=entry, identity=f"{self.name}:{self.operands(entry)}")


@dataclass(frozen=True)
class Problem:
    """One problem of a task, before it is put into words."""

    task: Task
    number: int
    """Its number in the task's generator."""
    entry: Entry
    identity: str
    """Task and normalised operands: two problems with the same identity have the same answer."""

    @property
    def held_out(self) -> bool:
        """Whether this problem is only examined, never taught (see ``HELD_OUT_RULE``)."""
        digest = hashlib.blake2b(self.identity.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0

    def phrasings(self, language: Language) -> tuple[str, ...]:
        """The ways to ask it."""
        fields = self.task.fields(self.entry, language)
        templates = self.task.templates(self.entry, language)
        return tuple(fill(template, question=self.entry["question"].strip(), **fields) for template in templates)

    def reasoning(self, language: Language) -> str:
        """Short steps that lead to the answer."""
        return self.task.reasoning(self.entry, language)

    def answer(self, language: Language) -> str:
        """The answer as a model should write it."""
        return self.task.answer(self.entry, language)


def teaching_problems(task: Task, seed: int) -> Iterator[Problem]:
    """Problems that may be taught, one after another without end, for a seed."""
    return (p for p in _numbered(task, TEACHING_START + seed * NUMBERS_PER_SEED) if not p.held_out)


def examination_problems(task: Task, seed: int) -> Iterator[Problem]:
    """Problems that are only examined, fresh for each seed, one after another without end."""
    return (p for p in _numbered(task, EXAMINATION_START + seed * NUMBERS_PER_SEED) if p.held_out)


def fingerprint(tasks: Iterable[Task]) -> str:
    """A hash that changes when the tasks do: of some problems of each, in words, with reasoning and answers."""
    digest = hashlib.sha256(HELD_OUT_RULE.encode())
    for task in tasks:
        for problem in itertools.islice(_numbered(task, TEACHING_START), _FINGERPRINTED):
            words = [(problem.phrasings(x), problem.reasoning(x), problem.answer(x)) for x in LANGUAGES]
            digest.update(repr((task.name, task.options, problem.identity, words)).encode())
    return digest.hexdigest()


def _numbered(task: Task, start: int) -> Iterator[Problem]:
    number = start
    while True:
        yield task.problem(number)
        number += 1
