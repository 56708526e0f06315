"""The knowledge cache: the teacher's distribution at every position of a sample, keyed by the sample's content.

    cache.json                 kind and format, hashes of teacher and tokenizer, and the chunks' checksums
    index.npy                  one entry per sample, sorted by key: where its bytes lie, for how many rows, their CRC-32
    chunks/00000.bin           a head (statistics of the code), then the samples, each decodable alone
    token_order.bin            kinds topk and sampled: token ids by their frequency in the text
    output_matrix.safetensors  kind hidden: the teacher's output matrix
    manifest.json              as in every artifact; holds the checksums of the files beside it
    seal/manifest.sha256       the manifest's own checksum

A sample's key is a hash of its token ids, so what is stored does not depend on batch size, order, packing, or on the
student. Row i of a sample is what the teacher says of its token i + 1; a sample of L tokens has L - 1 rows.
Files are mapped, not read: only what is looked up is touched, and it is checked against its CRC the first time.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from axk1.core.artifact import MANIFEST, Manifest, read_manifest, sha256_file
from axk1.core.errors import ArtifactError, TokenizerMismatch
from axk1.distill.hidden import MATRIX
from axk1.distill.kinds import records_of
from axk1.distill.records import ORDER, Records

KIND = "knowledge_cache"
MADE_BY = "axk1 distill cache"
HEADER, INDEX, CHUNKS, SEAL = "cache.json", "index.npy", "chunks", "seal/manifest.sha256"
KEY_BYTES = 16
FORMAT = 2
"""Version of the files; another one is refused."""
INDEX_DTYPE = np.dtype(
    [
        ("key", "u1", (KEY_BYTES,)), ("chunk", "<u4"), ("start", "<u8"), ("bytes", "<u4"), ("rows", "<u4"),
        ("crc32", "<u4"),
    ]
)  # fmt: skip
"""An entry of the index: in which chunk a sample lies, from which byte on, how many bytes and rows, the checksum."""


@dataclass(frozen=True)
class Lookup:
    """What the teacher says of some samples, one sample after the other."""

    rows: Any
    """One row per position that predicts a token: ``Distributions``, ``Draws`` or ``HiddenStates``, by kind."""
    offsets: np.ndarray
    """Rows ``offsets[i]`` to ``offsets[i + 1]`` belong to sample i: [n + 1]."""


class KnowledgeCache:
    """An opened knowledge cache. Make one with ``KnowledgeCache.open``."""

    def __init__(self, folder: Path, manifest: Manifest, header: dict[str, Any], index: np.ndarray) -> None:
        self.folder, self.manifest, self._header, self._index = folder, manifest, header, index
        self.records: Records = records_of(header, folder)
        self.teacher_hash: str = header["teacher"]
        self.tokenizer_hash: str = header["tokenizer"]
        self.temperature: float = header["temperature"]
        self._prefixes = key_prefixes(index["key"])
        self._chunks: dict[int, tuple[np.ndarray, Any]] = {}
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
        """What the teacher says of the samples with these keys [n, 16], in their order.

        Raises:
            ArtifactError: a sample is not stored, or its bytes are corrupt.
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
        numbers = [self._read(int(entry)) for entry in found]
        return Lookup(self.records.rows(np.concatenate(numbers)), offsets)

    def output_matrix(self) -> torch.Tensor:
        """The teacher's output matrix [V, H], in the type of its checkpoint; kind ``hidden`` alone has it.

        Raises:
            ArtifactError: this kind has none, or the file is corrupt.
        """
        expected = self.manifest.counts["sha256"].get(MATRIX)
        if expected is None:
            raise ArtifactError(
                f"the knowledge cache {str(self.folder)!r} is of kind {self.records.kind!r}, "
                "which holds no output matrix",
                repair=f"{MADE_BY} RECIPE.toml --kind hidden",
            )
        if _sha256(self.folder / MATRIX) != expected:
            raise ArtifactError(f"{str(self.folder / MATRIX)!r} is corrupt or missing", repair=_rebuild(self.folder))
        return safetensors.torch.load_file(self.folder / MATRIX)["weight"]

    def verify(self) -> None:
        """Reads every file against its checksum. Raises ArtifactError naming all files that are corrupt."""
        _open_checked(self.folder)
        files = {self.folder / CHUNKS / chunk["file"]: chunk["sha256"] for chunk in self._header["chunks"]}
        files |= {self.folder / name: checksum for name, checksum in self.manifest.counts["sha256"].items()}
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
        """The numbers of one sample."""
        place = self._index[entry]
        content, head = self._chunk(int(place["chunk"]))
        content = content[int(place["start"]) :][: int(place["bytes"])].tobytes()
        if not self._checked[entry] and zlib.crc32(content) != place["crc32"]:
            raise self._corrupt_sample(place, "they do not match their checksum")
        self._checked[entry] = True
        try:
            return self.records.unpack(head, content, int(place["rows"]))
        except ArtifactError as error:
            raise self._corrupt_sample(place, error.message) from None

    def _corrupt_sample(self, place: np.ndarray, why: str) -> ArtifactError:
        name = self.folder / CHUNKS / self._header["chunks"][int(place["chunk"])]["file"]
        what = f"{str(name)!r} is corrupt at the bytes of sample {bytes(place['key']).hex()}: {why}"
        return ArtifactError(what, repair=_rebuild(self.folder))

    def _chunk(self, number: int) -> tuple[np.ndarray, Any]:
        """A chunk's bytes, mapped, and its head, opened."""
        if number not in self._chunks:
            entry = self._header["chunks"][number]
            path = self.folder / CHUNKS / entry["file"]
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                raise ArtifactError(f"{str(path)!r} is missing or cut short", repair=_rebuild(self.folder))
            content = np.memmap(path, dtype=np.uint8, mode="r")
            try:
                self._chunks[number] = content, self.records.open_head(content[: entry["head"]].tobytes())
            except ArtifactError as error:
                raise ArtifactError(
                    f"{str(path)!r} is corrupt: {error.message}", repair=_rebuild(self.folder)
                ) from None
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
    for name in (HEADER, INDEX, *({ORDER} & set(manifest.counts["sha256"]))):
        if _sha256(folder / name) != manifest.counts["sha256"][name]:
            raise corrupt(name, f"it is missing or does not match its checksum in {MANIFEST}")
    header = json.loads((folder / HEADER).read_text("utf-8"))
    if (found := header.get("format", 1)) != FORMAT:
        what = f"the knowledge cache {str(folder)!r} has format {found}, but this version reads {FORMAT}"
        raise ArtifactError(what, repair=_rebuild(folder))
    return manifest, header, np.load(folder / INDEX, mmap_mode="r")


def seal_of(manifest_file: Path) -> bytes:
    """What the seal of a manifest holds."""
    return f"{sha256_file(manifest_file)}\n".encode()


def _sha256(path: Path) -> str:
    """The SHA-256 of a file, or nothing where there is no file."""
    return sha256_file(path) if path.is_file() else ""


def _rebuild(folder: Path) -> str:
    return f"rm -r {folder} and {MADE_BY} RECIPE.toml"
