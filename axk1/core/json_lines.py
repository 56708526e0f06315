"""Files of JSON lines, plain or gzipped: the form in which documents and conversations pass between stages."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from axk1.core.errors import ArtifactError


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
            for number, line in enumerate(file, 1):
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not a JSON object")
                yield record
    except FileNotFoundError:
        raise ArtifactError(f"{str(path)!r} does not exist", repair=made_by) from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ArtifactError(f"{str(path)!r} is corrupt at line {number}: {error}", repair=made_by) from None
