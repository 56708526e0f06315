"""A document, and files of documents: gzipped JSON lines without time stamps, so that equal input gives equal bytes."""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from axk1.core.errors import ArtifactError


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One text with what must be known about it to use it."""

    id: str
    """Unique within an artifact: the source's name and where in it the text lies."""
    text: str
    """Unicode in NFC, lines ended by ``\\n``, no markup but plain Markdown."""
    source: str
    """The name of the source in the recipe."""
    licence: str
    """The licence of the source."""
    language: str
    """``ko``, ``en``, another ISO 639-1 code, or ``code``."""
    date: str | None = None
    """When it was published, as YYYY-MM-DD, where the source says so."""

    @property
    def bytes(self) -> int:
        """The length of the text in UTF-8."""
        return len(self.text.encode("utf-8"))


def write_documents(path: Path, documents: Iterable[Document], reasons: Iterable[str] | None = None) -> None:
    """Writes documents as gzipped JSON lines; equal documents give equal bytes, whenever they are written.

    Args:
        path: the file to write.
        documents: what to write, in this order.
        reasons: for removed documents, why each was removed; a further field ``reason``.
    """
    with open(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as file:
        extra = iter(reasons) if reasons is not None else None
        for document in documents:
            record = {field: getattr(document, field) for field in Document.__dataclass_fields__}
            if extra is not None:
                record["reason"] = next(extra)
            file.write(json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n")


def read_documents(path: str | Path) -> Iterator[Document]:
    """Reads a file that ``write_documents`` wrote, one document at a time; a ``reason`` is left out.

    Raises:
        ArtifactError: the file is missing or is not whole gzipped JSON lines of documents.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                record = json.loads(line)
                record.pop("reason", None)
                yield Document(**record)
                number += 1
    except FileNotFoundError:
        raise ArtifactError(f"{str(path)!r} does not exist") from None
    except (OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{str(path)!r} is corrupt after line {number}: {error}") from None
