"""``axk1 guard check``: a file, or standard input -> what in it is personal, unsafe, or an instruction in disguise.

axk1 guard check mail.txt
axk1 guard check < mail.txt
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from axk1.core.errors import ConfigError
from axk1.guard.find_personal import find_personal
from axk1.guard.finding import Finding
from axk1.guard.hidden import hidden_instructions
from axk1.guard.unsafe import unsafe_request


@dataclass(frozen=True)
class CheckConfig:
    """What to check."""

    file: str = "-"
    """A text file in UTF-8; nothing, or ``-``, is standard input."""
    source: str = "document"
    """Where the text came from: page, mail, document, passage, tool or person."""
    least: float = 0.5
    """Findings of less confidence are left out."""
    json: bool = False
    """Print JSON instead of lines."""


def check(config: CheckConfig, *, dry_run: bool = False) -> None:
    """Prints one line for each finding: place, kind, confidence, and what stands there.

    Raises:
        ConfigError: the file cannot be read as text.
    """
    output = Console(highlight=False, soft_wrap=True, markup=False)
    if dry_run:
        output.print(f"would look for personal data, unsafe requests and hidden instructions in {config.file}")
        return
    text = _read(config.file)
    found = find_personal(text, least=config.least) + hidden_instructions(text, config.source, least=config.least)
    verdict = unsafe_request(text)
    if config.json:
        output.print(json.dumps({"findings": [asdict(one) for one in sorted(found)], "request": asdict(verdict)}))
        return
    for one in sorted(found):
        output.print(_line(text, one))
    if verdict.unsafe:
        output.print(f"the whole: unsafe request, {verdict.category} {verdict.score:.2f}: {verdict.reason}")
    output.print(f"{len(found)} findings{'' if verdict.unsafe else ', no unsafe request'}")


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"file = {file!r}: {error}; allowed: a text file in UTF-8, or nothing for standard input",
            repair="axk1 guard check FILE",
        ) from None


def _line(text: str, one: Finding) -> str:
    line = text.count("\n", 0, one.start) + 1
    column = one.start - (text.rfind("\n", 0, one.start) + 1) + 1
    said = " ".join(text[one.start : one.end].split())
    return f"{line}:{column} {one.kind} {one.confidence:.2f}: {said if len(said) <= 80 else said[:79] + '…'}"
