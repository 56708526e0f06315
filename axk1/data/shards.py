"""Shards: token ids on disk with the borders, sources and licences of their samples, read in place.

A shards artifact is a folder:

    tokens.bin       all token ids, little-endian uint16 (uint32 when the vocabulary exceeds 65,536)
    loss_mask.bin    conversations only: a byte per token, 1 where the model must predict this token
    samples.parquet  a row per sample: offset, length, key, document, source, licence, language

A sample is at most ``max_length`` tokens. Its key is a hash of its ids, so whatever is computed for it elsewhere (a
teacher's distributions) is found again in any order, batch or mixture.
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from axk1.core.artifact import Manifest, read_manifest
from axk1.core.errors import ArtifactError, TokenizerMismatch

KIND = "shards"
TOKENS, LOSS_MASK, SAMPLES = "tokens.bin", "loss_mask.bin", "samples.parquet"
KEY_BYTES = 16
SCHEMA = pyarrow.schema(
    [
        ("offset", pyarrow.int64()),
        ("length", pyarrow.int32()),
        ("key", pyarrow.binary(KEY_BYTES)),
        ("document", pyarrow.string()),
        ("source", pyarrow.string()),
        ("licence", pyarrow.string()),
        ("language", pyarrow.string()),
    ]
)


def token_dtype(vocab_size: int) -> np.dtype:
    """The type of a token on disk: uint16 while it can hold the vocabulary, else uint32."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def sample_key(ids: Sequence[int] | np.ndarray) -> bytes:
    """16 bytes that name a sample by its content: BLAKE2b of the ids as little-endian uint32."""
    return hashlib.blake2b(np.asarray(ids, dtype="<u4").tobytes(), digest_size=KEY_BYTES).digest()


class Shards:
    """A shards artifact, open for reading. Use ``Shards.open``; nothing is loaded before it is read.

    Attributes:
        folder: where it lies.
        manifest: what made it, from what.
        tokens: all ids [tokens], read from disk on access.
        loss_mask: 1 where a token is a prediction target [tokens], or None where every token is.
        offsets: where each sample begins in ``tokens`` [samples], int64.
        lengths: the samples' lengths in tokens [samples], int32.
        vocab_size: every id is below it.
        tokenizer_hash: SHA-256 of the tokenizer.json that made the ids.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        try:
            self.vocab_size = int(manifest.counts["vocab_size"])
            self.tokenizer_hash = str(manifest.inputs["tokenizer"])
            self._size = int(manifest.counts["tokens"])
            has_mask = bool(manifest.counts["has_loss_mask"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._corrupt(f"its manifest lacks {error}") from None
        self.tokens = self._map(TOKENS, token_dtype(self.vocab_size))
        self.loss_mask = self._map(LOSS_MASK, np.dtype("u1")) if has_mask else None
        self.offsets, self.lengths = self._column("offset"), self._column("length")
        ends = self.offsets + self.lengths
        if len(ends) and not (self.lengths.min() > 0 and self.offsets.min() >= 0 and ends.max() <= self._size):
            raise self._corrupt(f"{SAMPLES} points outside {TOKENS}")

    @classmethod
    def open(cls, folder: str | Path) -> "Shards":
        """Opens a shards artifact and checks the sizes of its files (not their hashes; ``artifact.verify`` does).

        Raises:
            ArtifactError: it is missing, of another kind, cut short, or its files contradict its manifest.
        """
        folder = Path(folder)
        return cls(folder, read_manifest(folder, kind=KIND, made_by=_command(folder)))

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """The samples' keys [samples, 16], uint8."""
        column = self._read(["key"]).column("key").combine_chunks()
        if isinstance(column, pyarrow.ChunkedArray):  # an empty table has no chunk to combine
            return np.zeros((0, KEY_BYTES), np.uint8)
        values = np.frombuffer(column.buffers()[1], np.uint8)
        return values[column.offset * KEY_BYTES :][: len(column) * KEY_BYTES].reshape(-1, KEY_BYTES)

    def column(self, name: str) -> list[str]:
        """A text column of the samples: document, source, licence or language."""
        return self._read([name]).column(name).to_pylist()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.offsets)

    def sample(self, index: int) -> np.ndarray:
        """The ids of a sample, in the type on disk."""
        begin = self.offsets[index]
        return self.tokens[begin : begin + self.lengths[index]]

    def verify_ids(self) -> None:
        """Reads all tokens. Raises ArtifactError when an id is not below ``vocab_size``."""
        step = 1 << 24
        for begin in range(0, len(self.tokens), step):
            if (largest := int(self.tokens[begin : begin + step].max())) >= self.vocab_size:
                raise self._corrupt(f"it holds token id {largest}, but the vocabulary has {self.vocab_size}")

    @property
    def repair(self) -> str:
        """The command that makes this artifact again."""
        return _repair(self.manifest, self.folder)

    def _corrupt(self, what: str) -> ArtifactError:
        return ArtifactError(f"shards {str(self.folder)!r} are corrupt: {what}", repair=self.repair)

    def _map(self, name: str, dtype: np.dtype) -> np.ndarray:
        path, wanted = self.folder / name, self._size * dtype.itemsize
        try:
            size = path.stat().st_size
        except OSError:
            raise self._corrupt(f"{name} is missing") from None
        if size != wanted:
            raise self._corrupt(f"{name} has {size} bytes, but {wanted} are needed")
        return np.memmap(path, dtype, mode="r") if size else np.zeros(0, dtype)

    def _column(self, name: str) -> np.ndarray:
        values = self._read([name]).column(name).to_numpy()
        if (count := self.manifest.counts.get("samples")) != len(values):
            raise self._corrupt(f"{SAMPLES} has {len(values)} rows, but {count} are needed")
        return values

    def _read(self, columns: list[str]) -> pyarrow.Table:
        try:
            return pyarrow.parquet.read_table(self.folder / SAMPLES, columns=columns)
        except (OSError, pyarrow.ArrowException) as error:
            raise self._corrupt(f"{SAMPLES} cannot be read: {error}") from None


def require_same_tokenizer(shards: Sequence[Shards], *, tokenizer_hash: str | None = None) -> None:
    """Checks that all shards were made with one tokenizer.

    Args:
        shards: the shards.
        tokenizer_hash: the content hash of the tokenizer they must match; none: the first one's.

    Raises:
        TokenizerMismatch: two differ, so their ids mean different things.
    """
    for one in shards:
        wanted = tokenizer_hash or shards[0].tokenizer_hash
        if one.tokenizer_hash != wanted:
            other = "the tokenizer here" if tokenizer_hash else f"that of {str(shards[0].folder)!r}"
            raise TokenizerMismatch(
                f"shards {str(one.folder)!r} were made with the tokenizer {one.tokenizer_hash[:12]}, "
                f"but {other} is {wanted[:12]}",
                repair=one.repair,
            )


def _command(folder: Path) -> str:
    return f"axk1 data tokenize recipes/nano/shards-{folder.name}.toml"


def _repair(manifest: Manifest, folder: Path) -> str:
    made_by = manifest.command if "data tokenize" in manifest.command else _command(folder)
    return f"rm -r {folder} && {made_by}"
