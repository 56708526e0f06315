"""Tables of a page of the docs, made from the results: between ``<!-- name -->`` and ``<!-- end of name -->``."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def results(name: str) -> list[dict[str, Any]]:
    """The rows of a benchmark, of every machine that ran it."""
    paths = sorted((ROOT / "benchmarks/results").glob(f"{name}-*.json"))
    return [row for path in paths for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def fill(page: str, tables: Mapping[str, str]) -> None:
    """Writes the tables into a page; with ``--check`` on the command line, exits with an error where they differ.

    Args:
        page: its path in the repository.
        tables: Markdown by the name of its place.
    """
    path = ROOT / page
    before = text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.S)
        if not place.search(text):
            sys.exit(f"{page} has no place for {name}")
        text = place.sub(lambda match, made=table: match[1] + made + match[2], text)
    if "--check" in sys.argv:
        sys.exit(before != text and f"{page} has tables that {Path(sys.argv[0]).name} does not make")
    path.write_text(text, encoding="utf-8")
