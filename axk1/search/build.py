"""``axk1 search build``: folders and files -> a hybrid index, and again whenever they have changed.

    axk1 search build recipes/search/docs.toml [--dry-run]

Files are compared by the hash of their content: those that did not change are not read again, those that are gone leave
the index. A file that cannot be read is listed with the reason and stops nothing. A build that was killed is simply
started again; readers of the index go on meanwhile.
"""

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.markup import escape

from axk1.core.config import require
from axk1.core.errors import ConfigError
from axk1.core.lock import locked
from axk1.core.progress import console, duration, human, print_next, print_plan, progress, si
from axk1.search.documents.masked import masked
from axk1.search.documents.readers import Unreadable, read
from axk1.search.documents.sources import Source
from axk1.search.encoder import Encoder
from axk1.search.encoders.open import open_encoder
from axk1.search.index.cutting import MOST, cut
from axk1.search.index.deriving import (
    encode_passages,
    forget_vectors,
    sweep,
    update_vectors,
    update_words,
    words_behind,
)
from axk1.search.index.store import FILE, Store
from axk1.search.index.words import Words


@dataclasses.dataclass(frozen=True)
class BuildConfig:
    """What is indexed, and how."""

    output: Path
    """The folder of the index; one that is there is brought up to date."""
    source: Annotated[tuple[Source, ...], tyro.conf.Suppress]
    """The folders and files, [[source]] tables in the recipe."""
    most_characters: int = MOST
    """Most characters of a passage; another number reads all files again."""
    mask_personal: bool = False
    """Put placeholders such as [PHONE_1] in the place of personal data, Korean and English, before anything is kept;
    a change of this reads all files again."""
    encoder: str = ""
    """Who makes vectors of the passages: use-multilingual, or the address of a server with /v1/embeddings; empty means
    that words alone find passages."""
    precision: Literal["f16", "i8"] = "f16"
    """How vectors are kept for the search; i8 takes half the memory."""
    threads: int = 2
    """Threads for the analysis of Korean and for the vectors."""

    def __post_init__(self) -> None:
        require(bool(self.source), "source", [], "at least one [[source]] table")
        require(200 <= self.most_characters <= 20_000, "most_characters", self.most_characters, "200 to 20000")
        require(self.threads > 0, "threads", self.threads, "1 or more")
        labels = [source.label for source in self.source]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        require(not twice, "source.name", ", ".join(twice), "each name once", repair='name = "..." in the second')


@dataclasses.dataclass(frozen=True)
class Changes:
    """What a build has to do to the documents."""

    changed: dict[str, tuple[Path, int]]
    """Files that are new or whose content is another, by name: where, and how many bytes."""
    removed: tuple[str, ...]
    """Names of files that are gone."""
    same: int
    """How many files did not change."""


def build(config: BuildConfig, *, dry_run: bool = False, encoder: Encoder | None = None) -> Path:
    """Builds or updates an index and returns its folder.

    Args:
        config: the recipe.
        dry_run: only print what would be done.
        encoder: makes vectors of the passages, in place of the one that the recipe names.

    Raises:
        SourceError: a source does not exist.
        ArtifactError: another process builds it, or it is damaged.
    """
    encoder_name = encoder.name if encoder else config.encoder
    if dry_run:
        store = Store(config.output) if (config.output / FILE).exists() else None
        changes = compare(config, store)
        _print_plan(config, changes, encoder_name)
        return config.output
    if config.output.is_dir() and any(config.output.iterdir()) and not (config.output / FILE).exists():
        problem = f"output {str(config.output)!r} holds files that are no search index"
        raise ConfigError(problem, repair="name another --output")
    started = time.monotonic()
    with locked(config.output.with_name(f".{config.output.name}.lock"), f"building {config.output}"):
        store = Store(config.output, writes=True)
        try:
            changes = compare(config, store)
            _print_plan(config, changes, encoder_name)
            opened = encoder or (open_encoder(config.encoder) if config.encoder else None)
            _bring_up_to_date(config, store, changes, opened)
            with store:
                store.remember(encoder_opened="" if encoder else config.encoder)
            _print_result(config, store, changes, time.monotonic() - started)
        finally:
            store.close()
    print_next(f'axk1 search find "..." --index {config.output}')
    return config.output


def compare(config: BuildConfig, store: Store | None) -> Changes:
    """The files of the sources against what an index holds."""
    fits = store is not None and store.fact("read_as") == _read_as(config)
    known = store.files() if store is not None else {}
    changed, seen = {}, set()
    for source in config.source:
        for name, path in source.files():
            seen.add(name)
            if not fits or name not in known or known[name][0] != _hash(path):
                changed[name] = (path, path.stat().st_size)
    return Changes(changed, tuple(sorted(set(known) - seen)), len(seen) - len(changed))


def _bring_up_to_date(config: BuildConfig, store: Store, changes: Changes, encoder: Encoder | None) -> None:
    with store:
        if store.fact("read_as") not in ("", _read_as(config)):
            store.connection.execute("UPDATE files SET hash = ''")  # so that a killed build reads them next time
            store.connection.execute("UPDATE documents SET hash = ''")
        store.remember(read_as=_read_as(config))
    if changes.changed or changes.removed:
        with progress("reading", total=sum(size for _, size in changes.changed.values()), unit="bytes") as meter:
            for name in changes.removed:
                with store:
                    store.drop_file(name)
            for name, (path, size) in changes.changed.items():
                take_in(store, name, path, config)
                meter.advance(size, note=name[-40:])
    with progress("words", total=words_behind(store), unit="passages") as meter:
        update_words(config.output, store, Words(config.threads), meter)
    if encoder is None:
        forget_vectors(store)
    else:
        total = store.counts()[1]
        with progress("vectors", total=total, unit="passages") as meter:
            encode_passages(store, encoder, meter)
        with progress("their neighbours", total=total, unit="passages") as meter:
            update_vectors(config.output, store, encoder.dimensions, config.precision, config.threads, meter)
    with store:
        store.remember(generation=int(store.fact("generation", "0")) + 1)
    sweep(config.output, store)


def _read_as(config: BuildConfig) -> str:
    """What decides, beside the files, which passages come out of them."""
    return f"most {config.most_characters} characters{', masked' if config.mask_personal else ''}"


def take_in(store: Store, name: str, path: Path, config: BuildConfig) -> None:
    """Reads one file into the store, in one transaction; documents in it that did not change stay as they are."""
    content = path.read_bytes()
    with store:
        old, problem = store.documents_of(name), ""
        try:
            for document in map(masked, read(name, content)) if config.mask_personal else read(name, content):
                number, digest = old.pop(document.name, (0, ""))
                if digest == document.content_hash:
                    continue
                if digest or number:
                    store.drop_document(number)
                store.put_document(name, document, document.content_hash, list(cut(document, config.most_characters)))
        except Unreadable as error:
            problem = str(error)
        for number, _ in old.values():
            store.drop_document(number)
        store.put_file(name, hashlib.sha256(content).hexdigest(), len(content), problem)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _print_plan(config: BuildConfig, changes: Changes, encoder: str) -> None:
    rows = {source.label: str(source.path) for source in config.source}
    size = sum(size for _, size in changes.changed.values())
    rows["to read"] = f"{len(changes.changed):,} files, {si(size, 'B')}"
    rows["unchanged"] = f"{changes.same:,} files"
    rows["gone"] = f"{len(changes.removed):,} files"
    rows["found by"] = f"words and vectors of {encoder}" if encoder else "words"
    print_plan(f"search index -> {config.output}", rows)


def _print_result(config: BuildConfig, store: Store, changes: Changes, seconds: float) -> None:
    documents, passages = store.counts()
    console.print(f"{human(documents)} documents, {human(passages)} passages, in {duration(seconds)}")
    for name, problem in _first(store.problems(), 20):
        console.print(f"[yellow]not read:[/yellow] {escape(f'{name}: {problem}')}")


def _first(problems: list[tuple[str, str]], most: int) -> Iterator[tuple[str, str]]:
    yield from problems[:most]
    if len(problems) > most:
        yield f"{len(problems) - most} more", "see Index.problems()"
