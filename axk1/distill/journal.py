"""A journal: JSON lines that are only ever added, each numbered, so that a kill loses at most what is being added.

``plan.json`` beside the lines says which work they belong to. A run that starts again reads the whole lines, cuts off
a half one at the end, and goes on with the next number; nothing is done twice or lost.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from axk1.core.artifact import write_text_atomic
from axk1.core.errors import ArtifactError

_PLAN, _LINES = "plan.json", "lines.jsonl"


class Journal:
    """The journal in a folder.

    Args:
        folder: made when it is missing.
        plan: which work this is, as plain values; lines that belong to another plan go.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        self._plan = json.dumps(plan, sort_keys=True, indent=2, ensure_ascii=False) + "\n"

    @property
    def resumable(self) -> bool:
        """Whether the folder holds lines of this very plan."""
        plan = self.folder / _PLAN
        return plan.is_file() and plan.read_bytes() == self._plan.encode()

    def open(self) -> list[dict[str, Any]]:
        """Prepares the folder and returns the lines that are whole.

        Raises:
            ArtifactError: a line but the last is damaged.
        """
        if not self.resumable:
            (self.folder / _LINES).unlink(missing_ok=True)
            write_text_atomic(self.folder / _PLAN, self._plan)
        path = self.folder / _LINES
        path.touch()
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with open(path, "r+b") as file:
                file.truncate(len(whole))
                os.fsync(file.fileno())
        return self._parsed(whole)

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines, which are on the disk when this returns."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        with open(self.folder / _LINES, "ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def discard(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _parsed(self, content: bytes) -> list[dict[str, Any]]:
        lines = []
        for number, text in enumerate(content.decode("utf-8", "replace").split("\n")[:-1]):
            try:
                line = json.loads(text)
                if line["number"] != number:
                    raise ValueError(f"it has the number {line['number']}")
            except (ValueError, KeyError, TypeError) as error:
                what = f"line {number + 1} of {str(self.folder / _LINES)!r} is damaged: {error}"
                raise ArtifactError(what, repair=f"rm -r {self.folder}   (to start again)") from None
            lines.append(line)
        return lines
