"""Building a knowledge cache so that a kill at any moment loses at most one chunk and doubles nothing.

What is to be stored is decided first: samples in the order of their keys, cut into chunks. While the work goes on,
``<output>.state/`` holds ``plan.json``, the finished ``chunks/`` and, for each, its piece of the index in ``parts/``.
Both are written under another name and renamed, the piece of the index last, so that a chunk whose piece exists is
whole. A run that starts again checks these and makes the others. At the end the artifact is put together from links
to the chunks and appears under its name at once.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from axk1.core.artifact import MANIFEST, building, sha256_file, write_manifest, write_text_atomic
from axk1.core.errors import ArtifactError
from axk1.distill.cache import CHUNKS, FORMAT, HEADER, INDEX, INDEX_DTYPE, KEY_BYTES, KIND, SEAL, seal_of
from axk1.distill.records import Records

_PLAN, _PARTS = "plan.json", "parts"


@dataclass(frozen=True)
class CachePlan:
    """What a cache will hold. Two runs with equal plans write equal files."""

    records: Records
    """The kind, and the format of its rows."""
    teacher_hash: str
    """Content hash of the teacher's checkpoint."""
    tokenizer_hash: str
    """Hash of its tokenizer."""
    temperature: float
    """What the teacher's logits are divided by."""
    keys: np.ndarray
    """The samples [n, 16], uint8, sorted, each once."""
    rows: np.ndarray
    """Rows of each sample [n]."""
    chunk_rows: int
    """A chunk ends with the sample that brings it to this many rows."""

    def __post_init__(self) -> None:
        whole = np.ascontiguousarray(self.keys).view(f"V{KEY_BYTES}").reshape(-1).tolist()
        if any(first >= second for first, second in itertools.pairwise(whole)):
            raise ValueError("the keys of a cache must be sorted, each once")

    @functools.cached_property
    def chunks(self) -> list[slice]:
        """The samples of each chunk."""
        before = np.cumsum(self.rows, dtype=np.int64) - self.rows
        starts = np.flatnonzero(np.diff(before // self.chunk_rows, prepend=-1)).tolist()
        return [slice(first, last) for first, last in itertools.pairwise([*starts, len(self.rows)])]

    @property
    def header(self) -> dict[str, Any]:
        """What ``cache.json`` says, but for the chunks."""
        return {
            "format": FORMAT,
            **self.records.describe(),
            "temperature": self.temperature,
            "teacher": self.teacher_hash,
            "tokenizer": self.tokenizer_hash,
            "samples": len(self.keys),
            "rows": int(self.rows.sum()),
        }

    @property
    def bytes(self) -> int:
        """Size of the finished cache, about."""
        return int(self.rows.sum() * self.records.expected_bytes) + len(self.keys) * INDEX_DTYPE.itemsize

    def identity(self) -> dict[str, Any]:
        """What a resumed run compares."""
        parts = (self.keys, np.ascontiguousarray(self.rows, "<i8"), *self.records.files().values())
        content = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
        return {**self.header, "chunk_rows": self.chunk_rows, "content": content}


class CacheBuilder:
    """Writes the chunks of a plan and puts the cache together."""

    def __init__(self, output: Path, plan: CachePlan) -> None:
        self.output, self.plan = output, plan
        self.state = output.with_name(f"{output.name}.state")
        self._chunks, self._parts = self.state / CHUNKS, self.state / _PARTS
        self._identity = json.dumps(plan.identity(), indent=2) + "\n"

    @property
    def resumable(self) -> bool:
        """Whether the state folder holds work on this very plan."""
        plan_file = self.state / _PLAN
        return plan_file.is_file() and plan_file.read_bytes() == self._identity.encode()

    def resume(self) -> list[int]:
        """Prepares the state folder; what lies there from another plan goes. Returns the chunks that are whole."""
        if not self.resumable:
            self.discard()
            write_text_atomic(self.state / _PLAN, self._identity)
        self._chunks.mkdir(exist_ok=True)
        self._parts.mkdir(exist_ok=True)
        return [number for number in range(len(self.plan.chunks)) if self._whole(number)]

    def write(self, number: int, rows: Any) -> None:
        """Stores one chunk: the rows of its samples, in the order of the plan."""
        expected = self.plan.rows[self.plan.chunks[number]]
        if (given := len(getattr(rows, fields(rows)[0].name))) != expected.sum():
            raise ValueError(f"chunk {number} needs {expected.sum()} rows, not {given}")
        head, samples = self.plan.records.pack(rows, np.concatenate(([0], np.cumsum(expected))))
        entries = self._entries(number)
        entries["bytes"], entries["crc32"] = [len(one) for one in samples], [zlib.crc32(one) for one in samples]
        entries["start"] = len(head) + np.cumsum(entries["bytes"], dtype=np.int64) - entries["bytes"]
        piece = io.BytesIO()
        np.save(piece, entries)
        _write_atomic(self._chunks / _chunk_name(number), b"".join((head, *samples)))
        _write_atomic(self._parts / f"{number:05d}.npy", piece.getvalue())

    def finish(
        self, *, config: Mapping[str, Any], inputs: Mapping[str, str], counts: Mapping[str, Any],
        licences: Mapping[str, str], tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> None:  # fmt: skip
        """Makes the artifact from the chunks, all of which must have been written, and deletes the state.

        Args:
            config: for the manifest, as ``inputs``, ``counts`` and ``licences``.
            tensors: what the cache holds once, by the name of its file.
        """
        numbers = range(len(self.plan.chunks))
        pieces = [np.load(self._parts / f"{number:05d}.npy") for number in numbers]
        index = np.concatenate(pieces) if pieces else np.empty(0, INDEX_DTYPE)
        with building(self.output) as folder:
            (folder / CHUNKS).mkdir()
            for number in numbers:
                _link(self._chunks / _chunk_name(number), folder / CHUNKS / _chunk_name(number))
            described = [self._describe(number, piece) for number, piece in enumerate(pieces)]
            write_text_atomic(folder / HEADER, json.dumps({**self.plan.header, "chunks": described}, indent=2) + "\n")
            np.save(folder / INDEX, index)
            for name, array in self.plan.records.files().items():
                array.tofile(folder / name)
            for name, tensor in (tensors or {}).items():
                safetensors.torch.save_file({"weight": tensor}, folder / name)
            checksums = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            counts = {**counts, "bytes": size, "sha256": checksums}
            write_manifest(folder, kind=KIND, config=config, inputs=inputs, counts=counts, licences=licences)
            write_text_atomic(folder / SEAL, seal_of(folder / MANIFEST).decode())
        self.discard()

    def discard(self) -> None:
        """Deletes the state."""
        shutil.rmtree(self.state, ignore_errors=True)

    def _entries(self, number: int) -> np.ndarray:
        """What the plan alone says of a chunk's samples."""
        samples = self.plan.chunks[number]
        entries = np.zeros(samples.stop - samples.start, INDEX_DTYPE)
        entries["key"], entries["chunk"], entries["rows"] = self.plan.keys[samples], number, self.plan.rows[samples]
        return entries

    def _whole(self, number: int) -> bool:
        """Whether a chunk and its piece of the index are there and agree with each other and with the plan."""
        with contextlib.suppress(OSError, ValueError, EOFError, ArtifactError):
            piece = np.load(self._parts / f"{number:05d}.npy")
            content = (self._chunks / _chunk_name(number)).read_bytes()
            planned, ends = self._entries(number), piece["start"] + piece["bytes"]
            as_planned = all(np.array_equal(piece[name], planned[name]) for name in ("key", "chunk", "rows"))
            without_gaps = np.array_equal(ends[:-1], piece["start"][1:]) and ends[-1] == len(content)
            sound = [
                zlib.crc32(content[a:b]) == crc for a, b, crc in zip(piece["start"], ends, piece["crc32"], strict=True)
            ]
            self.plan.records.open_head(content[: piece["start"][0]])
            return as_planned and without_gaps and all(sound)
        return False

    def _describe(self, number: int, piece: np.ndarray) -> dict[str, Any]:
        path = self._chunks / _chunk_name(number)
        sizes = {"rows": int(piece["rows"].sum()), "bytes": path.stat().st_size, "head": int(piece["start"][0])}
        return {"file": path.name, **sizes, "sha256": sha256_file(path)}


def _chunk_name(number: int) -> str:
    return f"{number:05d}.bin"


def _write_atomic(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
