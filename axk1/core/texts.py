"""The artifacts that hold texts, documents and conversations: what their folders are called and how lines are read."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from axk1.core.artifact import Manifest, read_manifest
from axk1.core.errors import ArtifactError

MADE_BY = {
    "documents": "axk1 data build recipes/nano/documents.toml",
    "conversations": "axk1 data conversations recipes/nano/conversations.toml",
}
"""The kinds of artifacts that hold texts, and the commands that make them."""


def read_text_manifest(folder: Path) -> Manifest:
    """The manifest of a documents or conversations artifact. Raises ArtifactError for anything else."""
    manifest = read_manifest(folder, made_by=MADE_BY.get(folder.name))
    if manifest.kind not in MADE_BY:
        raise ArtifactError(
            f"{str(folder)!r} holds {manifest.kind}, but documents or conversations are needed here",
            repair="name folders of documents or conversations in inputs",
        )
    return manifest


def read_json_lines(path: str | Path, *, made_by: str | None = None) -> Iterator[dict[str, Any]]:
    """Reads one JSON object per line, one line at a time; a name that ends in ``.gz`` is decompressed.

    Args:
        path: the file.
        made_by: the command that makes such a file, named in the error.

    Raises:
        ArtifactError: the file is missing, cut short, or not JSON objects on lines of their own.
    """
    path = Path(path)
    opened = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):  # noqa: B007 - the error names it
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not a JSON object")
                yield record
    except FileNotFoundError:
        raise ArtifactError(f"{str(path)!r} does not exist", repair=made_by) from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ArtifactError(f"{str(path)!r} is corrupt at line {max(number, 1)}: {error}", repair=made_by) from None
