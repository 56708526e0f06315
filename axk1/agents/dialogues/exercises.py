"""``axk1 agents exercises``: what a small model must be able to do before it can work: write again what it has read.

``axk1 agents exercises recipes/assistant/exercises.toml``

Each exercise asks for some words that nobody can guess. On these a network of a million parameters learns to look up
what stood before (its induction heads form) within minutes; on dialogues alone, whose words can be guessed in part, it
does not, and fills in words that it knows in place of those that were said.
"""

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from axk1.agents.brief import call_text
from axk1.agents.dialogues.build import KIND, SECRET_SEEDS, Line, write_lines
from axk1.agents.dialogues.phrasings import phrasings
from axk1.agents.dialogues.words import Words
from axk1.core import artifact
from axk1.core.chat_model import ToolCall
from axk1.core.config import require, to_dict
from axk1.core.progress import console, print_next, print_plan

_MOST_WORDS = 12


@dataclass(frozen=True)
class ExercisesConfig:
    """How many exercises to make."""

    output: Path
    """Folder to write."""
    count: int = 12000
    """Number of exercises."""
    seed: int = 0
    """Other seeds give other exercises."""

    def __post_init__(self) -> None:
        require(self.count > 0, "count", self.count, "a number above 0")
        require(0 <= self.seed < SECRET_SEEDS, "seed", self.seed, f"0 to {SECRET_SEEDS - 1}")


def build_exercises(config: ExercisesConfig, *, dry_run: bool = False) -> Path:
    """Makes a conversations artifact of exercises: ``train.jsonl.gz``, one in each line."""
    print_plan("exercises", {"exercises": f"{config.count:,}", "output": config.output})
    if dry_run:
        return config.output
    if artifact.is_current(config.output, kind=KIND, config=config, inputs={}):
        console.print(f"{config.output} is up to date")
    else:
        lines = [exercise(config.seed, number) for number in range(config.count)]
        counts = {
            "conversations": len(lines),
            "by_language": dict(sorted(Counter(line["language"] for line in lines).items())),
        }
        licences = {"axk1 exercises": "Apache-2.0"}
        with artifact.building(config.output) as folder:
            write_lines(folder, lines)
            artifact.write_manifest(
                folder, kind=KIND, config=to_dict(config), inputs={}, counts=counts, licences=licences
            )
    print_next("axk1 tokenizer train recipes/assistant/tokenizer.toml")
    return config.output


def exercise(seed: int, number: int) -> Line:
    """One exercise; the same for the same seed and number."""
    rng = random.Random(f"exercise:{seed}:{number}")
    language = rng.choice(("ko", "en"))
    words = Words(rng, language)
    text = words.nonsense(_MOST_WORDS)
    if rng.random() < 0.3:
        text += f" {rng.choice((words.address, words.name, words.path, words.moment, words.url))()}"
    asked = rng.choice(phrasings("repeat", language, held_out=False)).format(text=text)
    return {
        "id": f"exercise/{seed}/{number}",
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": call_text(ToolCall("exercise", "answer", {"text": text}))},
        ],
        "mode": "no_think",
        "language": language,
        "task": "repeat",
        "problem": f"exercise/{seed}/{number}",
    }
