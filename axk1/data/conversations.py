"""Conversations to fine-tune on: reasoning tasks asked in Korean and English, answered with and without thinking.

``axk1 data conversations recipes/nano/conversations.toml``

Every answer is checked by the grader that later examines the model. Problems that the examination may ask are left
out by their operands (``HELD_OUT_RULE``), so teaching and examination never meet, whatever their seeds.
"""

import gzip
import importlib.metadata
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axk1.core import artifact
from axk1.core.config import require, to_dict
from axk1.core.progress import console, duration, print_next, print_plan, progress
from axk1.eval.graders import grade
from axk1.eval.tasks import TASKS
from axk1.eval.tasks.task import (
    HELD_OUT_RULE,
    LANGUAGES,
    MODES,
    Language,
    Mode,
    Problem,
    Task,
    fingerprint,
    teaching_problems,
)

KIND = "conversations"
TRAIN = "train.jsonl.gz"
_MOST_MISSES = 500
"""So many problems in a row that bring nothing new mean that a task is exhausted and may start over."""

Conversation = dict[str, Any]


@dataclass(frozen=True)
class ConversationsConfig:
    """How many conversations to make, of what."""

    output: Path
    """Folder to write."""
    count: int = 24_000
    """Number of conversations."""
    seed: int = 0
    """Other seeds give other problems and other wording; the examination's problems are left out for all of them."""
    korean_share: float = 0.5
    """Share of the problems that are asked and answered in Korean; the rest are in English."""
    overlap_share: float = 0.4
    """Share of the problems that are asked twice in the same words, once with thinking and once without."""
    think_share: float = 0.5
    """Share of the remaining problems that are answered with thinking."""
    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 1.0))
    """Tasks by name and how often each comes, relative to the others; a recipe names all that shall come."""

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "a number above 0")
        require(0 <= self.seed < 1000, "seed", self.seed, "a number from 0 to 999")
        for name in ("korean_share", "overlap_share", "think_share"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a number from 0 to 1")
        for name, weight in self.weights.items():
            require(name in TASKS, "weights", name, ", ".join(TASKS))
            require(weight >= 0, f"weights.{name}", weight, "a number from 0 on")
        require(sum(self.weights.values()) > 0, "weights", self.weights, "at least one above 0")


def build_conversations(config: ConversationsConfig, *, dry_run: bool = False) -> Path:
    """Makes the conversations artifact: ``train.jsonl.gz``, one conversation per line, in random order.

    A line is ``{"id", "messages", "mode", "language", "task", "problem"}``; ``problem`` is the identity of the problem
    (its task and normalised operands).

    Returns:
        The output folder.
    """
    quotas = task_quotas(config)
    print_plan(
        "conversations",
        {
            "tasks": ", ".join(f"{name} {quota}" for name, quota in quotas.items()),
            "conversations": f"{config.count}, {config.korean_share:.0%} Korean",
            "left out": HELD_OUT_RULE,
            "output": config.output,
        },
    )
    if dry_run:
        return config.output
    inputs = {"tasks": fingerprint(TASKS[name] for name in quotas)}
    if artifact.is_current(config.output, kind=KIND, config=config, inputs=inputs):
        console.print(f"{config.output} is up to date")
    else:
        _write(config, quotas, inputs)
    print_next("axk1 tokenizer train recipes/nano/tokenizer.toml")
    return config.output


def conversations(config: ConversationsConfig, task: Task, quota: int) -> Iterator[Conversation]:
    """``quota`` conversations of one task; none comes again before (nearly) all have come. Pure in config and task."""
    for asked in itertools.islice(questions(config, task), quota):
        yield conversation(*asked)


def questions(
    config: ConversationsConfig, task: Task, *, again: bool = True
) -> Iterator[tuple[Problem, str, Language, Mode]]:
    """What is asked of one task: the problem, its words, their language, and how it is to be answered.

    Args:
        again: whether to start over when (nearly) all have come; otherwise they end there, each asked once.
    """
    rng = random.Random(f"{config.seed}:{task.name}")
    seen: set[tuple[str, Mode]] = set()
    misses = 0
    for problem in teaching_problems(task, config.seed):
        language: Language = "ko" if rng.random() < config.korean_share else "en"
        question = rng.choice(problem.phrasings(language))
        modes = [mode for mode in _modes(config, rng) if (question, mode) not in seen]
        misses = 0 if modes else misses + 1
        for mode in modes:
            seen.add((question, mode))
            yield problem, question, language, mode
        if misses > _MOST_MISSES:
            if not again:
                return
            seen.clear()
            misses = 0


def conversation(problem: Problem, question: str, language: Language, mode: Mode) -> Conversation:
    """One problem as a conversation of two turns, its answer checked by the grader."""
    answer = problem.answer(language)
    if not grade(problem.entry, answer).exact_match:
        raise ValueError(f"the grader refuses our own answer {answer!r} to {question!r}")  # a bug in a task
    reply = {"role": "assistant", "content": answer}
    if mode == "think":
        reply["reasoning_content"] = problem.reasoning(language)
    return {
        "id": f"{problem.task.name}/{problem.number}/{mode}",
        "messages": [{"role": "user", "content": question}, reply],
        "mode": mode,
        "language": language,
        "task": problem.task.name,
        "problem": problem.identity,
    }


def task_quotas(config: ConversationsConfig) -> dict[str, int]:
    """How many conversations each task contributes: in proportion to its weight, ``count`` in all."""
    total = sum(config.weights.values())
    exact = {name: config.count * weight / total for name, weight in config.weights.items() if weight}
    quotas = {name: int(amount) for name, amount in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (quotas[name] - exact[name], name))
    for name in by_remainder[: config.count - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _modes(config: ConversationsConfig, rng: random.Random) -> tuple[Mode, ...]:
    if rng.random() < config.overlap_share:
        return MODES
    return ("think",) if rng.random() < config.think_share else ("no_think",)


def _write(config: ConversationsConfig, quotas: dict[str, int], inputs: dict[str, str]) -> None:
    start = time.monotonic()
    with progress("conversations", total=config.count, unit="conversations") as meter:
        made = []
        for name, quota in quotas.items():
            for line in conversations(config, TASKS[name], quota):
                made.append(line)
                meter.advance(note=name)
    random.Random(f"{config.seed}:order").shuffle(made)
    with artifact.building(config.output) as folder:
        # mtime 0: the same conversations give the same bytes, so the same content hash
        with open(folder / TRAIN, "wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
            for line in made:
                file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
        artifact.write_manifest(
            folder,
            kind=KIND,
            config=to_dict(config),
            inputs=inputs,
            counts=_counts(made),
            licences={f"reasoning-gym {importlib.metadata.version('reasoning-gym')}": "Apache-2.0"},
        )
    console.print(f"{len(made)} conversations in {duration(time.monotonic() - start)}")


def _counts(made: list[Conversation]) -> dict[str, Any]:
    return {
        "conversations": len(made),
        "problems": len({line["problem"] for line in made}),
        "held_out_rule": HELD_OUT_RULE,
        "by_task": dict(sorted(Counter(line["task"] for line in made).items())),
        "by_language": {language: sum(line["language"] == language for line in made) for language in LANGUAGES},
        "by_mode": {mode: sum(line["mode"] == mode for line in made) for mode in MODES},
    }
