"""``Source``: which files of a folder are indexed, and their names."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from axk1.core.config import require
from axk1.core.errors import SourceError
from axk1.data.archives import matches
from axk1.search.documents.readers import READERS, suffix


@dataclasses.dataclass(frozen=True)
class Source:
    """A folder or a file to index."""

    path: Path
    """The folder (with all folders below it), or one file."""
    include: tuple[str, ...] = ()
    """Patterns of names below it, such as ``*.pdf``; ``*`` also crosses folders. None means every kind that is read."""
    exclude: tuple[str, ...] = ()
    """Patterns of names to leave out."""
    name: str = ""
    """What stands before the documents' names; empty means the folder's own name."""

    def __post_init__(self) -> None:
        require("#" not in self.name, "source.name", self.name, 'a name without "#"')

    @property
    def label(self) -> str:
        """The first part of its documents' names."""
        return self.name or self.path.resolve().name

    def files(self) -> Iterator[tuple[str, Path]]:
        """Names and places of its files in the order of the names; hidden ones are passed over, links to folders too.

        Raises:
            SourceError: there is no such folder or file.
        """
        if self.path.is_file():
            yield self.label, self.path
            return
        if not self.path.is_dir():
            raise SourceError(f"source {str(self.path)!r} does not exist", repair="correct path in the recipe")
        places = {path.relative_to(self.path).as_posix(): path for path in self.path.rglob("*") if path.is_file()}
        for name in sorted(places):
            hidden = any(part.startswith(".") for part in name.split("/"))
            wanted = matches(name, self.include, self.exclude) and (bool(self.include) or suffix(name) in READERS)
            if wanted and not hidden and not name.endswith(("heldout.jsonl.gz", "removed.jsonl.gz")):
                yield f"{self.label}/{name}", places[name]
