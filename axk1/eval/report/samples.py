"""Sample answers: the same prompts answered by teacher, student and control, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from axk1.eval.report.words import LANGUAGES, MODELS, MODES, Text
from axk1.eval.scores import REASONING, Sample, Scores

LONGEST, LONGEST_ANSWER = 1500, 400  # characters of a text, and of an answer, that the page shows
_THINK_START, _THINK_END = "<think>", "</think>"
_TURNS = (("think", "ko"), ("no_think", "en"), ("think", "en"), ("no_think", "ko"))


@dataclass(frozen=True)
class Excerpt:
    """A text, cut when it is long."""

    shown: str
    left_out: int = 0
    """How many characters were cut."""


@dataclass(frozen=True)
class Reply:
    """What one model answered."""

    role: str
    thought: Excerpt | None
    thought_length: int
    """Characters of the reasoning, in all."""
    answer: Excerpt
    correct: bool
    cut_off: bool
    """Whether the longest allowed answer ended before the model did."""


@dataclass(frozen=True)
class Question:
    """One prompt with its answers."""

    task: str
    tags: Sequence[Text]
    prompt: Excerpt
    target: Excerpt
    replies: Sequence[Reply]


def excerpt(text: str, limit: int = LONGEST) -> Excerpt:
    """The beginning of a text, and how much of it is left out."""
    return Excerpt(text[:limit], max(0, len(text) - limit))


def sample_answers(by_seed: Sequence[Mapping[str, Scores]], count: int) -> list[Question]:
    """The first problem of each task, thinking and language by turns, then the second, until there are ``count``.

    The choice looks at no answer. Only the first seed that has samples is shown.

    Args:
        by_seed: the opened scores of each seed, by role.
        count: how many to show at most.
    """
    scores = next((found for found in by_seed if found), {})
    by_role = {role: _by_id(scores[role]) for role in MODELS if role in scores}
    asked = _choose(by_role.get("student") or next(iter(by_role.values()), {}), count)
    return [_question(sample, {role: found.get(id) for role, found in by_role.items()}) for id, sample in asked]


def _by_id(scores: Scores) -> dict[str, Sample]:
    lines = [line for task, lines in scores.samples.items() if task.startswith(REASONING) for line in lines]
    return {str(line["doc_id"]): line for line in lines if isinstance(line.get("doc"), dict) and "doc_id" in line}


def _choose(samples: Mapping[str, Sample], count: int) -> list[tuple[str, Sample]]:
    by_task: dict[str, list[tuple[str, Sample]]] = {}
    for id, sample in samples.items():
        by_task.setdefault(str(sample["doc"].get("task")), []).append((id, sample))
    chosen: list[tuple[str, Sample]] = []
    for turn in range(count):
        for i, lines in enumerate(by_task.values()):
            mode, language = _TURNS[(i + turn) % len(_TURNS)]
            fitting = [p for p in lines if (p[1]["doc"].get("mode"), p[1]["doc"].get("language")) == (mode, language)]
            new = [pair for pair in fitting or lines if pair not in chosen]
            chosen += new[:1]
        if len(chosen) >= count or len(chosen) == len(samples):
            break
    return chosen[:count]


def _question(sample: Sample, answers: Mapping[str, Sample | None]) -> Question:
    doc = sample["doc"]
    language, mode = str(doc.get("language", "")), str(doc.get("mode", ""))
    tags = [LANGUAGES.get(language, language), MODES.get(mode, mode)]
    return Question(
        task=str(doc.get("task", "")).replace("_", " "),
        tags=[tag for tag in tags if tag],
        prompt=excerpt(str(doc.get("question", ""))),
        target=excerpt(str(sample.get("target", "")), LONGEST_ANSWER),
        replies=[_reply(role, answer) for role, answer in answers.items() if answer is not None],
    )


def _reply(role: str, sample: Sample) -> Reply:
    thought, answer = split_thought(_written(sample), thinking=sample["doc"].get("mode") == "think")
    return Reply(
        role=role,
        thought=excerpt(thought) if thought else None,
        thought_length=len(thought),
        answer=excerpt(answer, LONGEST_ANSWER),
        correct=sample.get("exact_match") == 1.0,
        cut_off=sample.get("finish_reason") == "length",
    )


def _written(sample: Sample) -> str:
    responses: Any = sample.get("resps")
    while isinstance(responses, list):
        responses = responses[0] if responses else ""
    return str(responses or "")


def split_thought(text: str, *, thinking: bool) -> tuple[str, str]:
    """Reasoning and answer of a generated text.

    Args:
        text: what the model wrote.
        thinking: whether the prompt already opened ``<think>``, so that the text begins with reasoning.

    Returns:
        Both without the tags. Reasoning that never ends leaves an empty answer.
    """
    before, end, after = text.rpartition(_THINK_END)
    if end:
        return before.replace(_THINK_START, "", 1).strip(), after.strip()
    if thinking or text.lstrip().startswith(_THINK_START):
        return text.replace(_THINK_START, "", 1).strip(), ""
    return "", text.strip()
