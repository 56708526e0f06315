"""The one grader: a generated text and the problem it answers -> a grade, by reasoning-gym's own scorer.

It grades examinations, checks synthetic conversations and is the reward of reinforcement learning, so it is a pure
function that takes any text and never raises on one. An answer counts as an exact match when reasoning-gym's scorer
gives it 1.0; scorers that give part of a point for being close give less than that.
"""

import math
from dataclasses import dataclass

from axk1.core.errors import ConfigError
from axk1.eval.tasks import TASKS
from axk1.eval.tasks.task import Entry, Task

THINK_START, THINK_END = "<think>", "</think>"
_ANSWER_START, _ANSWER_END = "<answer>", "</answer>"
_TURN_ENDS = ("<|im_end|>", "<|endoftext|>")
LONGEST_ANSWER = 4096
"""Characters; a longer answer is wrong unread, so that no text can keep a scorer busy."""


@dataclass(frozen=True)
class Grade:
    """What a generated text is worth."""

    score: float
    """What reasoning-gym's scorer gives the answer, from 0 to 1."""
    answer: str
    """The answer that was graded: the text after the reasoning; empty when there is none."""
    format_ok: bool
    """Whether the reasoning, where there is any, was opened and closed once and an answer follows."""

    @property
    def exact_match(self) -> bool:
        """Whether the answer has full marks."""
        return self.score == 1.0


def grade(entry: Entry, text: str, *, thinking: bool = False) -> Grade:
    """Grades a generated text.

    Args:
        entry: the problem, as reasoning-gym made it, of one of ``axk1.eval.tasks.TASKS``. (Other datasets are not
            graded: some of their scorers evaluate the answer as an expression, which a model's text must not reach.)
        text: what the model wrote after the prompt. ``<answer>`` tags are honoured where the model wrote them.
        thinking: whether the prompt ended with an open ``<think>``, so that the answer begins after ``</think>``.

    Raises:
        ConfigError: the entry is of another dataset; no text raises.
    """
    answer, format_ok = split_answer(text, thinking=thinking)
    task = _task(entry)
    if not answer or len(answer) > LONGEST_ANSWER:
        return Grade(0.0, answer, False)
    return Grade(_score(task, answer, entry), answer, format_ok)


def split_answer(text: str, *, thinking: bool = False) -> tuple[str, bool]:
    """The final answer in a generated text, and whether its form is right.

    Args:
        text, thinking: as in ``grade``. Reasoning that never ends has no answer.
    """
    for end in _TURN_ENDS:
        text = text.split(end, 1)[0]
    opened = text.count(THINK_START) + int(thinking)
    closed = text.count(THINK_END)
    if opened > 0 and closed == 0:
        return "", False
    answer = text.rpartition(THINK_END)[2].strip() if closed else text.strip()
    if _ANSWER_START in answer and _ANSWER_END in answer:
        answer = answer.rpartition(_ANSWER_END)[0].rpartition(_ANSWER_START)[2].strip()
    return answer, bool(answer) and opened <= 1 and closed <= 1


def _score(task: Task, answer: str, entry: Entry) -> float:
    try:
        score = float(task.dataset.score_answer(task.to_gym(answer), entry))
    except Exception:  # reasoning-gym's scorers raise many things on strange text; all of them mean a wrong answer
        return 0.0
    return min(1.0, max(0.0, score)) if math.isfinite(score) else 0.0


def _task(entry: Entry) -> Task:
    metadata = entry.get("metadata")
    name = metadata.get("source_dataset") if isinstance(metadata, dict) else None
    if name not in TASKS:
        raise ConfigError(f"the entry's metadata.source_dataset is {name!r}; allowed: {', '.join(TASKS)}")
    return TASKS[name]
