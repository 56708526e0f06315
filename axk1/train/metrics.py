"""``metrics.jsonl``: one line per logged step, that a killed and resumed run neither loses nor doubles."""

import json
import os
from pathlib import Path
from typing import Any

from axk1.core.artifact import write_text_atomic

METRICS = "metrics.jsonl"


class MetricsFile:
    """Appends a run's figures to a file of JSON lines.

    Args:
        path: the file; it goes on where it ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, step: int) -> None:
        """Takes away the lines after ``step``, which the run is about to write again, and a half-written last line."""
        kept = [line for line in self._lines() if (step_of := _step(line)) is not None and step_of <= step]
        write_text_atomic(self.path, "".join(f"{line}\n" for line in kept))

    def append(self, line: dict[str, Any]) -> None:
        """Writes one line."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def sync(self) -> None:
        """Makes sure that what was written outlives a loss of power."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []


def _step(line: str) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None
