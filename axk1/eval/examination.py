"""Reasoning examinations: fresh problems asked in Korean and English, with and without thinking, and graded."""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from axk1.core.errors import ArtifactError
from axk1.core.language_model import Generation, LanguageModel
from axk1.core.texts import MADE_BY, read_json_lines
from axk1.eval.graders import grade
from axk1.eval.scores import Sample
from axk1.eval.tasks import TASKS
from axk1.eval.tasks.task import LANGUAGES, Language, Mode, Problem, Task, examination_problems
from axk1.tokenizer.chat import render

_LONGEST_SEARCH = 256
"""Problems drawn in search of new ones."""


@dataclass(frozen=True)
class Question:
    """One problem in words."""

    problem: Problem
    language: Language
    text: str

    @property
    def id(self) -> str:
        """Unique within an examination, and the same for every model."""
        return f"{self.problem.task.name}/{self.problem.number}/{self.language}"


def set_questions(task: Task, count: int, languages: Sequence[Language], seed: int) -> list[Question]:
    """``count`` different questions, the languages by turns; the same for the same seed.

    Each is on another problem, as far as the task has so many; then problems come again in other words. A task that
    has not even so many wordings gives fewer questions.
    """
    fresh: list[Question] = []
    again: list[Question] = []
    problems, texts = set(), set()
    for i, problem in enumerate(itertools.islice(examination_problems(task, seed), _LONGEST_SEARCH)):
        language = languages[i % len(languages)]
        question = Question(problem, language, random.Random(problem.number).choice(problem.phrasings(language)))
        if question.text not in texts:
            (again if problem.identity in problems else fresh).append(question)
            problems.add(problem.identity)
            texts.add(question.text)
        if len(fresh) == count:
            break
    return [*fresh, *again][:count]


def refuse_taught(questions: Iterable[Question], conversations: Path) -> None:
    """Raises ArtifactError when a problem of the examination occurs in the conversations that a model was taught."""
    path = conversations / "train.jsonl.gz"
    taught = {line.get("problem") for line in read_json_lines(path, made_by=MADE_BY["conversations"])}
    both = sorted({question.problem.identity for question in questions} & taught)
    if both:
        raise ArtifactError(
            f"{len(both)} problems of the examination were taught in {str(conversations)!r}, the first is {both[0]!r}",
            repair=MADE_BY["conversations"],
        )


def examined_questions(seeds: Iterable[int]) -> set[str]:
    """The words of all questions that the examinations of these seeds may put, in lower case with single blanks."""
    longest = {"count": _LONGEST_SEARCH, "languages": LANGUAGES}
    asked = (set_questions(task, seed=seed, **longest) for seed in seeds for task in TASKS.values())
    return {plain_words(question.text) for each in asked for question in each}


def plain_words(text: str) -> str:
    """A question as it is compared with others: in lower case with single blanks."""
    return " ".join(text.casefold().split())


def examine(
    model: LanguageModel, questions: Sequence[Question], mode: Mode, *, max_tokens: int, seed: int
) -> dict[str, list[Sample]]:
    """Asks all questions in one mode, in one batch, and grades the answers.

    Returns:
        The samples of each dataset of reasoning-gym, in the form of lm-evaluation-harness.
    """
    prompts = [prompt(question.text, mode) for question in questions]
    samples: dict[str, list[Sample]] = {}
    answers = model.generate(prompts, max_tokens=max_tokens, seed=seed)
    for question, asked, answer in zip(questions, prompts, answers, strict=True):
        sample = _sample(question, mode, asked, answer, max_tokens)
        samples.setdefault(question.problem.task.name, []).append(sample)
    return samples


def prompt(text: str, mode: Mode) -> str:
    """A question as the chat template puts it to a model."""
    messages = [{"role": "user", "content": text}]
    return render(messages, enable_thinking=mode == "think", add_generation_prompt=True)


def all_tasks(names: Sequence[str]) -> list[Task]:
    """The tasks with these names, or every task."""
    return [TASKS[name] for name in names or TASKS]


def _sample(question: Question, mode: Mode, asked: str, answer: Generation, max_tokens: int) -> Sample:
    problem = question.problem
    mark = grade(problem.entry, answer.text, thinking=mode == "think")
    return {
        "doc_id": f"{question.id}/{mode}",
        "doc": {
            "problem": problem.identity,
            "task": problem.task.name,
            "language": question.language,
            "mode": mode,
            "question": question.text,
            "entry": problem.entry,
        },
        "target": problem.answer(question.language),
        "arguments": [[asked, {"max_tokens": max_tokens, "temperature": 0.0}]],
        "resps": [[answer.text]],
        "filtered_resps": [mark.answer],
        "metrics": ["exact_match"],
        "exact_match": float(mark.exact_match),
        "score": mark.score,
        "format_ok": mark.format_ok,
        "completion_tokens": answer.completion_tokens,
        "finish_reason": answer.finish_reason,
    }
