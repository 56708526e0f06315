"""Sources -> documents, whatever they are: source distributions, plain files, JSON lines, Parquet, the Hub, WARC.

Parquet, Hugging Face datasets and WARC are read by datatrove, remote folders (``s3://`` ...) by fsspec through it.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datatrove.data
from datatrove.io import get_datafolder
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import HuggingFaceDatasetReader, ParquetReader, WarcReader
from datatrove.utils.logging import logger

from axk1.core.errors import AXK1Error, SourceError
from axk1.data.archives import archive_members, folder_members, matches
from axk1.data.document import Document
from axk1.data.parsers import document_of, document_of_record, parse
from axk1.data.sources import Source

_INSTALL = {
    "parquet": "pip install pyarrow",
    "huggingface": "pip install datasets",
    "warc": "pip install warcio trafilatura faust-cchardet python-magic",
}
_REPAIR = {
    "parquet": "check that path and include name Parquet files",
    "huggingface": "check name, subset, split, version and the network; a gated dataset needs HF_TOKEN",
    "warc": "check that path and include name WARC files",
}


def read_source(source: Source, archive: Path | None = None) -> Iterator[Document]:
    """The documents of a source, in its own order.

    Args:
        source: what to read.
        archive: its source distribution, fetched and verified; for ``kind = "sdist"`` only.

    Raises:
        SourceError: it cannot be read, or a library that this kind needs is not installed.
    """
    if source.kind == "sdist":
        if archive is None:
            raise SourceError(f"{source.name} {source.version} has not been fetched")
        documents = parse(archive_members(archive, source.include, source.exclude), source)
    elif source.kind in ("text", "jsonl"):
        documents = parse(folder_members(source.path, source.include, source.exclude), source)
    else:
        documents = _read_with_datatrove(source)
    return itertools.islice(documents, source.limit)


def files_of(source: Source) -> list[str]:
    """The names of the files of a source on disk or in a remote folder, below its path; empty for other kinds."""
    if source.kind in ("sdist", "huggingface"):
        return []
    names = get_datafolder(source.path).list_files(recursive=True)
    return sorted(name for name in names if matches(name, source.include, source.exclude))


def _read_with_datatrove(source: Source) -> Iterator[Document]:
    logger.disable("datatrove")  # its log lines would break the progress display
    try:
        for item in _items(source):
            yield document_of(source, item.id, item.text, item.metadata.get("date"))
    except AXK1Error:
        raise
    except ImportError as error:
        raise SourceError(f"{source.name}: {error}", repair=_INSTALL[source.kind]) from None
    except Exception as error:  # readers and the hub raise what they like; say which source it was
        problem = f"{source.name} cannot be read: {type(error).__name__}: {error}"
        raise SourceError(problem, repair=_REPAIR[source.kind]) from error


def _items(source: Source) -> Iterable[datatrove.data.Document]:
    """What datatrove's reader of this kind yields: id, text and the date among the metadata."""

    def adapt(_reader: PipelineStep, record: dict[str, Any], path: str, number: int | str) -> dict[str, Any]:
        if source.kind == "warc":
            return {"text": record["text"], "id": record["url"], "metadata": {"date": record["date"]}}
        document = document_of_record(source, record, f"{path}#{number}")
        place = document.id.removeprefix(f"{source.label}/")
        return {"text": document.text, "id": place, "metadata": {"date": document.date}}

    if source.kind == "huggingface":
        options = {"name": source.subset or None, "split": source.split, "revision": source.version or None}
        return HuggingFaceDatasetReader(source.name, dataset_options=options, streaming=True, adapter=adapt).run()
    if source.kind == "parquet":
        return ParquetReader(source.path, adapter=adapt).read_files_shard(files_of(source))
    return Trafilatura(timeout=10).run(WarcReader(source.path, adapter=adapt).read_files_shard(files_of(source)))
