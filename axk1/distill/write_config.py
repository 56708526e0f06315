"""What a teacher is to write: who answers what, how often, and which answer is kept."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axk1.core.config import require
from axk1.data.conversations import ConversationsConfig
from axk1.distill.config import ServerSource
from axk1.distill.questions import PromptFile
from axk1.eval.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class WriteConfig:
    """Who answers what, how often, and which answer is kept."""

    output: Path
    """The conversations to make; while they are being made, what is done lies beside them in ``<output>.state``."""
    teacher: Path | None = None
    """The checkpoint that answers; with ``server``, the folder of what is served, if it is known."""
    server: ServerSource = field(default_factory=ServerSource)
    """A server with ``/v1/chat/completions`` that answers instead; ``batch`` is how many requests it gets at once."""
    count: int = 2400
    """Questions from the tasks; 0 takes only those of ``files``."""
    seed: int = 0
    """Other seeds give other questions and other answers; with the seed and shares of a recipe of ``axk1 data
    conversations``, the questions are those of its conversations."""
    korean_share: float = 0.5
    """Share of the tasks' problems that are asked in Korean; the rest are in English."""
    overlap_share: float = 0.4
    """Share of the tasks' problems that are asked twice in the same words, once with thinking and once without."""
    think_share: float = 0.5
    """Share of their remaining problems that are answered with thinking."""
    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 1.0))
    """Tasks by name and how often each comes, relative to the others; a recipe names all that shall come."""
    files: tuple[PromptFile, ...] = ()
    """Files of prompts with references, [[files]] tables in the recipe."""
    samples: int = 4
    """Answers to each question."""
    choose: Literal["first", "shortest"] = "first"
    """Which of the right answers is kept: the first, or the one with the fewest tokens."""
    temperature: float = 1.0
    """What the teacher's logits are divided by when it writes; with 0 all samples of a question are the same."""
    top_p: float = 1.0
    """Writes only the most probable tokens whose probabilities add up to this."""
    think_tokens: int = 192
    """Longest answer with thinking, in tokens; one that is cut off is not kept."""
    no_think_tokens: int = 64
    """Longest answer without thinking, in tokens."""
    examination_seeds: tuple[int, ...] = (0,)
    """Prompts of ``files`` are left out where an examination of one of these seeds has the same words."""
    sandbox_seconds: float = 5.0
    """CPU time of a program that is graded."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; ``auto`` takes a GPU where there is one."""
    threads: int | None = None
    """CPU threads; left out, torch decides."""

    def __post_init__(self) -> None:
        asked = self.count > 0 or bool(self.files)
        require(asked and self.count >= 0, "count", self.count, "a number above 0, or 0 with [[files]]")
        both = self.teacher is not None or self.server.base_url is not None
        require(both, "teacher", None, "a checkpoint, or leave it out and name server.base_url and server.model")
        require(self.samples >= 1, "samples", self.samples, "1 or more")
        require(self.temperature >= 0, "temperature", self.temperature, "0 or more")
        alike = self.temperature == 0 and self.samples > 1
        require(not alike, "samples", self.samples, "1, since temperature = 0 writes the same each time")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        for name in ("think_tokens", "no_think_tokens"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        require(self.sandbox_seconds > 0, "sandbox_seconds", self.sandbox_seconds, "a number above 0")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")
        names = [file.task for file in self.files]
        require(len(set(names)) == len(names), "files.task", names, "another name for each file")
        self.tasks()

    def tasks(self) -> ConversationsConfig:
        """Which questions of the tasks come, as in ``axk1 data conversations``. Raises ConfigError for wrong shares."""
        names = ("seed", "korean_share", "overlap_share", "think_share", "weights")
        shares = {name: getattr(self, name) for name in names}
        return ConversationsConfig(output=self.output, count=self.count or 1, **shares)

    def decisive(self) -> dict[str, Any]:
        """The settings that decide what is written, beside teacher and questions."""
        names = ("seed", "samples", "choose", "temperature", "top_p", "think_tokens", "no_think_tokens")
        return {name: getattr(self, name) for name in (*names, "sandbox_seconds")}
