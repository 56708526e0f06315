"""What a recipe says about a source of documents: a ``[[source]]`` table of the documents recipe.

    [[source]]                                  [[source]]
    kind = "huggingface"                        kind = "parquet"
    name = "HuggingFaceFW/fineweb-2"            name = "court decisions"
    subset = "kor_Hang"                         path = "s3://bucket/decisions"
    version = "main"    # or a commit           include = ["*.parquet"]
    language = "ko"                             template = "{title}\\n\\n{body}"
    licence = "ODC-By 1.0"                      language = "ko"
    attribution = "Hugging Face, FineWeb2"      licence = "not protected (Korean Copyright Act, article 7)"
    limit = 1_000_000                           attribution = "Supreme Court of Korea"

Licences are the user's to check: they go into the manifest and the data card as they stand here.
"""

import dataclasses
import re
import string
from typing import Literal

from axk1.core.config import require

Kind = Literal["sdist", "text", "jsonl", "parquet", "huggingface", "warc"]
ParserName = Literal["text", "markdown", "restructuredtext", "jsonl", "assembly-bills", "pythonbible"]
Language = Literal["ko", "en", "ja", "zh", "es", "code"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One source of documents, with its licence."""

    kind: Kind
    """What it is: a package's source distribution, plain files, JSON lines, Parquet, a Hugging Face dataset or WARC."""
    name: str
    """The package, the Hugging Face dataset (owner/name), or a name of your choice for files."""
    language: Language
    """What its documents are written in."""
    licence: str
    """Its licence, for the manifest and the data card."""
    attribution: str
    """Whom to credit, as the licence asks."""
    version: str = ""
    """The version of the package, or the revision of the Hugging Face dataset."""
    sha256: str = ""
    """The pinned hash of the package's source distribution."""
    archive_bytes: int | None = None
    """The length of the source distribution, for the plan."""
    path: str = ""
    """The folder with the files (text, jsonl, parquet, warc), on disk or remote (s3://bucket/folder)."""
    subset: str = ""
    """The configuration of the Hugging Face dataset, where it has several."""
    split: str = "train"
    """The split of the Hugging Face dataset."""
    include: tuple[str, ...] = ()
    """Patterns of the files to read, below the archive's top folder; * crosses folders; none means all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the files to leave out."""
    parser: ParserName = "text"
    """How a file becomes documents (sdist and text)."""
    template: str = "{text}"
    """How the fields of a record become its text (jsonl, parquet, huggingface)."""
    id_key: str = "id"
    """The field that holds a record's id; where it is absent, file and position serve."""
    date_key: str = "date"
    """The field that holds a record's date, if any."""
    limit: int | None = None
    """Read at most so many documents, for sources too large to read whole."""
    max_bytes: int | None = None
    """Keep at most so many bytes for training: a uniform sample, drawn by the hash of each document's id."""
    heldout_fraction: float = 0.02
    """Hold out this share of the documents, drawn by the hash of each document's id."""
    heldout_from: str = ""
    """Hold out the documents of this date (YYYY-MM-DD) and later instead of a random share."""
    heldout_documents: int = 300
    """Hold out at most so many documents; the rest of those that were drawn is in neither part."""

    def __post_init__(self) -> None:
        require(bool(self.name), "name", self.name, "a name", repair='name = "..."')
        if self.kind == "sdist":
            self._check_sdist()
        elif self.kind != "huggingface":
            require(bool(self.path), "path", self.path, f"a folder (kind {self.kind!r} reads files)")
        if self.kind not in ("sdist", "text"):
            require(self.parser == "text", "parser", self.parser, f"leave it out (kind {self.kind!r} has records)")
        for name in ("limit", "max_bytes", "heldout_documents"):
            value = getattr(self, name)
            require(value is None or value >= 0, name, value, "0 or more")
        require(0 <= self.heldout_fraction < 1, "heldout_fraction", self.heldout_fraction, "at least 0 and below 1")
        valid_date = not self.heldout_from or re.fullmatch(r"\d{4}-\d\d-\d\d", self.heldout_from) is not None
        require(valid_date, "heldout_from", self.heldout_from, "a date such as 2026-01-01, in quotes")
        require(template_fields(self.template) is not None, "template", self.template, "text with plain {field} names")

    def _check_sdist(self) -> None:
        require(bool(self.version), "version", self.version, "the pinned version of the package")
        valid = re.fullmatch(r"[0-9a-f]{64}", self.sha256) is not None
        require(valid, "sha256", self.sha256, "the 64 hexadecimal digits of the source distribution's hash")

    @property
    def label(self) -> str:
        """What its documents call it."""
        return f"{self.name}/{self.subset}" if self.subset else self.name

    @property
    def key(self) -> str:
        """What tells this source from the others of its recipe."""
        return f"{self.label} ({self.language})"


def template_fields(template: str) -> list[str] | None:
    """The fields that a template names; None when it is malformed or reaches into a field's attributes."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return None
    fields = [name for _, name, spec, conversion in parts if name is not None and not spec and not conversion]
    plain = all(re.fullmatch(r"\w+", name) for name in fields)
    return fields if plain and len(fields) == sum(name is not None for _, name, _, _ in parts) and fields else None
