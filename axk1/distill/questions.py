"""What a teacher is asked when it writes answers, and how each answer is verified.

Questions come from the reasoning tasks that ``axk1 data conversations`` teaches, with the same words from the same
seed, and from files of prompts with references. What an examination asks is left out of both: of tasks by the rule
that keeps problems for it, of files by comparing words.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from axk1.core.config import require
from axk1.core.errors import ArtifactError
from axk1.core.texts import read_json_lines
from axk1.data.conversations import ConversationsConfig, questions, task_quotas
from axk1.eval.examination import plain_words
from axk1.eval.graders import grade, split_answer
from axk1.eval.references import Grader, Verdict, verdict
from axk1.eval.sandbox import Sandbox
from axk1.eval.tasks import TASKS
from axk1.eval.tasks.task import MODES, Entry, Language, Mode

TASK_GRADER = "reasoning-gym"


@dataclass(frozen=True)
class PromptFile:
    """A JSONL file of prompts with references: ``{"prompt": ..., "answer": ...}``, or ``"tests"`` for programs."""

    path: Path
    """The file; a name that ends in ``.gz`` is decompressed."""
    task: str
    """What its prompts are called in the conversations and the figures."""
    grader: Grader = "exact"
    """``exact`` compares text, ``math`` expressions, ``code`` runs the answer's program against ``tests``."""
    modes: tuple[Mode, ...] = MODES
    """Ways to ask each prompt: with thinking, without, or both."""
    language: Language = "en"
    """The language of its prompts."""
    licence: str = ""
    """The licence of its prompts."""
    max_prompts: int | None = None
    """Take only so many of its first prompts."""

    def __post_init__(self) -> None:
        require(bool(self.task) and self.task not in TASKS, "files.task", self.task, "a name that no task of ours has")
        require(len(self.modes) > 0, "files.modes", self.modes, "at least one of think, no_think")
        require(self.max_prompts is None or self.max_prompts > 0, "files.max_prompts", self.max_prompts, "1 or more")


@dataclass(frozen=True)
class Question:
    """One question to the teacher."""

    id: str
    task: str
    problem: str
    """The identity of the problem."""
    text: str
    language: Language
    mode: Mode
    grader: Literal["reasoning-gym", "exact", "math", "code"]
    reference: str = ""
    """The right answer, or tests; empty for tasks of reasoning-gym, whose entry says it."""
    entry: Entry | None = None
    """What reasoning-gym made."""

    @property
    def thinking(self) -> bool:
        """Whether the teacher thinks first."""
        return self.mode == "think"

    def verify(self, text: str, *, sandbox: Sandbox | None = None) -> Verdict:
        """Whether a text that the teacher wrote is right, and well formed."""
        answer, format_ok = split_answer(text, thinking=self.thinking)
        if not format_ok:
            return Verdict(False, "no answer behind the reasoning" if self.thinking else "no answer")
        if self.entry is not None:
            right = grade(self.entry, text, thinking=self.thinking).exact_match
            return Verdict(right, "" if right else "wrong answer")
        return verdict(self.grader, answer, self.reference, sandbox=sandbox)


def task_questions(config: ConversationsConfig) -> Iterator[Question]:
    """Questions of the tasks, each once; of a task with fewer than its quota, all."""
    for name, quota in task_quotas(config).items():
        for place, (problem, words, language, mode) in enumerate(questions(config, TASKS[name], again=False)):
            if place == quota:
                break
            if problem.held_out:
                raise ValueError(f"{problem.identity} is kept for the examination")  # a bug in the tasks
            id_ = f"{name}/{problem.number}/{mode}"
            yield Question(id_, name, problem.identity, words, language, mode, TASK_GRADER, entry=problem.entry)


def file_questions(file: PromptFile, examined: set[str]) -> Iterator[Question]:
    """Questions of a file; prompts whose words an examination uses are left out.

    Args:
        examined: such words, as ``examination.plain_words`` gives them.

    Raises:
        ArtifactError: the file is missing, or a line is not a prompt with its reference.
    """
    field = "tests" if file.grader == "code" else "answer"
    for number, line in enumerate(read_json_lines(file.path)):
        if number == file.max_prompts:
            return
        prompt, reference = line.get("prompt"), line.get(field)
        if not (isinstance(prompt, str) and isinstance(reference, str) and prompt.strip() and reference.strip()):
            what = f"line {number + 1} of {str(file.path)!r} needs {'prompt'!r} and {field!r}, two texts"
            raise ArtifactError(what, repair=f"correct the line, or name another grader than {file.grader!r}")
        if plain_words(prompt) in examined:
            continue
        problem = f"{file.task}:{hashlib.blake2b(plain_words(prompt).encode(), digest_size=12).hexdigest()}"
        for mode in file.modes:
            id_ = f"{file.task}/{number}/{mode}"
            yield Question(id_, file.task, problem, prompt, file.language, mode, file.grader, reference)


def ordered(sources: Sequence[Iterator[Question]], seed: int) -> list[Question]:
    """All questions in an order of their own; of those with the same words and mode the first stays."""
    seen: dict[tuple[str, Mode], Question] = {}
    for source in sources:
        for question in source:
            seen.setdefault((plain_words(question.text), question.mode), question)
    chosen = list(seen.values())
    random.Random(f"{seed}:order").shuffle(chosen)
    return chosen


def fingerprint(chosen: Sequence[Question]) -> str:
    """A hash that changes when what is asked, its order, or how it is graded does."""
    digest = hashlib.sha256()
    for one in chosen:
        parts: list[Any] = [one.id, one.problem, one.text, one.mode, one.grader, one.reference, one.entry]
        digest.update(json.dumps(parts, sort_keys=True, default=str).encode())
    return digest.hexdigest()
