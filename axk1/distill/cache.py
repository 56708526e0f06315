"""The knowledge cache: the teacher's distribution at every position of a sample, keyed by the sample's content.

    cache.json            kind and format of the records, hashes of teacher and tokenizer, and the chunks' checksums
    index.npy             one entry per sample, sorted by key: where its records lie, how many, and their CRC-32
    chunks/00000.bin      records, one per position that predicts a token of the sample
    manifest.json         as in every artifact; holds the checksums of cache.json and index.npy
    seal/manifest.sha256  the manifest's own checksum

A sample's key is a hash of its token ids, so what is stored does not depend on batch size, order, packing, or on the
student. The record of position i is the teacher's distribution of token i + 1; a sample of L tokens has L - 1 records.
Files are mapped, not read: only what is looked up is touched, and it is checked against its CRC the first time.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from axk1.core.artifact import MANIFEST, Manifest, read_manifest, sha256_file
from axk1.core.errors import ArtifactError, TokenizerMismatch
from axk1.distill.records import Distributions, TopKRecords, records_of

KIND = "knowledge_cache"
MADE_BY = "axk1 distill cache"
HEADER, INDEX, CHUNKS, SEAL = "cache.json", "index.npy", "chunks", "seal/manifest.sha256"
KEY_BYTES = 16
INDEX_DTYPE = np.dtype(
    [("key", "u1", (KEY_BYTES,)), ("chunk", "<u4"), ("start", "<u8"), ("rows", "<u4"), ("crc32", "<u4")]
)
"""An entry of the index: in which chunk a sample's records lie, from which record on, how many, and their checksum."""


@dataclass(frozen=True)
class Lookup:
    """The teacher's distributions for some samples, one sample after the other."""

    rows: Distributions
    """One row per position that predicts a token."""
    offsets: np.ndarray
    """Rows ``offsets[i]`` to ``offsets[i + 1]`` belong to sample i: [n + 1]."""


class KnowledgeCache:
    """An opened knowledge cache. Make one with ``KnowledgeCache.open``."""

    def __init__(self, folder: Path, manifest: Manifest, header: dict[str, Any], index: np.ndarray) -> None:
        self.folder, self.manifest, self._header, self._index = folder, manifest, header, index
        self.records: TopKRecords = records_of(header)
        self.teacher_hash: str = header["teacher"]
        self.tokenizer_hash: str = header["tokenizer"]
        self.temperature: float = header["temperature"]
        self._prefixes = key_prefixes(index["key"])
        self._chunks: dict[int, np.ndarray] = {}
        self._checked = np.zeros(len(index), dtype=bool)

    @classmethod
    def open(
        cls, folder: str | Path, *, tokenizer_hash: str | None = None, teacher_hash: str | None = None
    ) -> "KnowledgeCache":
        """Opens a cache and checks its manifest, header and index.

        Args:
            folder: the artifact.
            tokenizer_hash: the tokenizer that it must have been made with.
            teacher_hash: content hash of the checkpoint that it must have been made from.

        Raises:
            ArtifactError: missing or corrupt (names the file), or made from another teacher.
            TokenizerMismatch: made with another tokenizer.
        """
        folder = Path(folder)
        cache = cls(folder, *_open_checked(folder))
        if tokenizer_hash is not None and tokenizer_hash != cache.tokenizer_hash:
            raise TokenizerMismatch(
                f"the knowledge cache {str(folder)!r} was made with another tokenizer "
                f"({cache.tokenizer_hash[:12]}, not {tokenizer_hash[:12]}), so its token ids mean other tokens",
                repair=f"{MADE_BY} RECIPE.toml --output {folder}",
            )
        if teacher_hash is not None and teacher_hash != cache.teacher_hash:
            raise ArtifactError(
                f"the knowledge cache {str(folder)!r} was made from another teacher "
                f"({cache.teacher_hash[:12]}, not {teacher_hash[:12]})",
                repair=f"{MADE_BY} RECIPE.toml --output {folder}, or name the teacher that it was made from",
            )
        return cache

    def __len__(self) -> int:
        """Samples."""
        return len(self._index)

    @property
    def rows(self) -> int:
        """Positions stored, over all samples."""
        return int(self._header["rows"])

    @property
    def keys(self) -> np.ndarray:
        """The samples' keys [n, 16], uint8, sorted."""
        return self._index["key"]

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """Which of the keys [n, 16] are stored: [n], bool."""
        return self._find(keys) >= 0

    def lookup(self, keys: np.ndarray) -> Lookup:
        """The distributions of the samples with these keys [n, 16], in their order.

        Raises:
            ArtifactError: a sample is not stored, or its records are corrupt.
        """
        found = self._find(keys)
        if (found < 0).any():
            missing = np.flatnonzero(found < 0)
            raise ArtifactError(
                f"the knowledge cache {str(self.folder)!r} lacks {len(missing)} of {len(keys)} samples, "
                f"the first {bytes(keys[missing[0]]).hex()}",
                repair=f"{MADE_BY} RECIPE.toml (with the same shards, and max_tokens large enough)",
            )
        offsets = np.concatenate(([0], np.cumsum(self._index["rows"][found], dtype=np.int64)))
        records = np.empty(offsets[-1], self.records.dtype)
        for i, entry in enumerate(found):
            records[offsets[i] : offsets[i + 1]] = self._read(int(entry))
        return Lookup(self.records.decode(records), offsets)

    def verify(self) -> None:
        """Reads every file against its checksum. Raises ArtifactError naming all files that are corrupt."""
        _open_checked(self.folder)
        files = {self.folder / CHUNKS / chunk["file"]: chunk["sha256"] for chunk in self._header["chunks"]}
        bad = [repr(str(path)) for path, checksum in files.items() if _sha256(path) != checksum]
        if bad:
            raise ArtifactError(f"corrupt or missing: {', '.join(bad)}", repair=_rebuild(self.folder))

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """The index entry of each key, -1 where there is none."""
        keys = np.ascontiguousarray(keys, dtype=np.uint8).reshape(-1, KEY_BYTES)
        place, found = np.searchsorted(self._prefixes, key_prefixes(keys)), np.full(len(keys), -1)
        open_ = np.arange(len(keys))
        while len(open_):  # more than one round only where two samples share the first eight bytes of their keys
            open_ = open_[place[open_] < len(self._index)]
            same = (self._index["key"][place[open_]] == keys[open_]).all(axis=1)
            found[open_[same]] = place[open_[same]]
            open_ = open_[~same & (self._prefixes[place[open_]] == key_prefixes(keys[open_]))]
            place[open_] += 1
        return found

    def _read(self, entry: int) -> np.ndarray:
        place = self._index[entry]
        records = self._chunk(int(place["chunk"]))[int(place["start"]) :][: int(place["rows"])]
        if not self._checked[entry]:
            if zlib.crc32(records.tobytes()) != place["crc32"]:
                name = self.folder / CHUNKS / self._header["chunks"][int(place["chunk"])]["file"]
                raise ArtifactError(
                    f"{str(name)!r} is corrupt: the records of sample {bytes(place['key']).hex()} do not match "
                    "their checksum",
                    repair=_rebuild(self.folder),
                )
            self._checked[entry] = True
        return records

    def _chunk(self, number: int) -> np.ndarray:
        if number not in self._chunks:
            entry = self._header["chunks"][number]
            path = self.folder / CHUNKS / entry["file"]
            if not path.is_file() or path.stat().st_size != entry["rows"] * self.records.dtype.itemsize:
                raise ArtifactError(f"{str(path)!r} is missing or cut short", repair=_rebuild(self.folder))
            self._chunks[number] = np.memmap(path, dtype=self.records.dtype, mode="r")
        return self._chunks[number]


def key_prefixes(keys: np.ndarray) -> np.ndarray:
    """The first eight bytes of keys [n, 16] as numbers that sort as the keys do."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)


def _open_checked(folder: Path) -> tuple[Manifest, dict[str, Any], np.ndarray]:
    """Manifest, header and index, after a check of all three. Raises ArtifactError naming what is corrupt."""

    def corrupt(name: str, why: object) -> ArtifactError:
        return ArtifactError(f"{str(folder / name)!r} is corrupt: {why}", repair=_rebuild(folder))

    seal, manifest_file = folder / SEAL, folder / MANIFEST
    if manifest_file.is_file() and seal.is_file() and seal.read_bytes() != seal_of(manifest_file):
        raise corrupt(MANIFEST, f"it does not match its checksum in {SEAL}")
    manifest = read_manifest(folder, kind=KIND, made_by=MADE_BY)
    if not seal.is_file():
        raise corrupt(SEAL, "it is missing")
    for name in (HEADER, INDEX):
        if _sha256(folder / name) != manifest.counts["sha256"][name]:
            raise corrupt(name, f"it is missing or does not match its checksum in {MANIFEST}")
    return manifest, json.loads((folder / HEADER).read_text("utf-8")), np.load(folder / INDEX, mmap_mode="r")


def seal_of(manifest_file: Path) -> bytes:
    """What the seal of a manifest holds."""
    return f"{sha256_file(manifest_file)}\n".encode()


def _sha256(path: Path) -> str:
    """The SHA-256 of a file, or nothing where there is no file."""
    return sha256_file(path) if path.is_file() else ""


def _rebuild(folder: Path) -> str:
    return f"rm -r {folder} and {MADE_BY} RECIPE.toml"
