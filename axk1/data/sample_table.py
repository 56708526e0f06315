"""The samples of a shards artifact while it is made: gathered as texts arrive, then chosen, ordered and written."""

from array import array
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow
import pyarrow.parquet

from axk1.data.piece_order import storage_order, text_key
from axk1.data.shards import KEY_BYTES, LOSS_MASK, SAMPLES, SCHEMA, TOKENS, sample_key

_WRITE = 1 << 16
"""Samples put into order at once."""


class Origin(NamedTuple):
    """What the samples of one text have in common."""

    document: str
    """The text's id."""
    source: str
    """The name of its source; of a conversation, its task."""
    licence: str
    """The licence of the source."""
    language: str
    """``ko``, ``en``, ``code`` and so on."""


class Piece(NamedTuple):
    """One sample of a text."""

    ids: list[int]
    """Its tokens."""
    is_target: list[bool] | None
    """For each token, whether the model must predict it; None where it must predict all."""


class SampleTable:
    """Samples in the order of reading: ids in a temporary file, some 60 bytes each in memory. A context manager.

    Args:
        folder: where the artifact is being built.
        dtype: the type of a token on disk.
        has_mask: whether the pieces carry masks of targets.
    """

    def __init__(self, folder: Path, dtype: np.dtype, *, has_mask: bool) -> None:
        self._dtype, self._has_mask = dtype, has_mask
        self._paths = [folder / ".tokens"] + ([folder / ".mask"] if has_mask else [])
        self._files = [open(path, "wb") for path in self._paths]  # noqa: SIM115 - closed by __exit__
        self._lengths, self._pieces, self._texts = array("q"), array("q"), array("q")
        self._keys = bytearray()
        self._origins: list[Origin] = []
        self._text_keys = array("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def append(self, origin: Origin, index: int, piece: Piece, *, seed: int) -> None:
        """Adds a piece; pieces of one text come one after another, the first with index 0."""
        if index == 0:
            self._origins.append(origin)
            self._text_keys.append(text_key(origin.document, seed))
        self._texts.append(len(self._origins) - 1)
        self._pieces.append(index)
        self._lengths.append(len(piece.ids))
        self._keys += sample_key(piece.ids)
        self._files[0].write(np.asarray(piece.ids, self._dtype).tobytes())
        if piece.is_target is not None:
            self._files[1].write(np.asarray(piece.is_target, np.uint8).tobytes())

    def sources(self) -> set[str]:
        """The names of all sources seen."""
        return {origin.source for origin in self._origins}

    def choose(self, max_tokens: int | None, max_tokens_per_source: dict[str, int]) -> np.ndarray:
        """The pieces to keep, in the order to store them: texts are kept in a random order up to each limit."""
        texts, lengths = np.frombuffer(self._texts, np.int64), np.frombuffer(self._lengths, np.int64)
        pieces, text_keys = np.frombuffer(self._pieces, np.int64), np.frombuffer(self._text_keys, np.uint64)
        keys = text_keys[texts]
        candidates = np.lexsort((pieces, keys))
        for source, most in max_tokens_per_source.items():
            in_source = np.array([origin.source == source for origin in self._origins], bool)[texts[candidates]]
            used = np.cumsum(np.where(in_source, lengths[candidates], 0))
            candidates = candidates[~in_source | (used <= most)]
        if max_tokens is not None:
            candidates = candidates[np.cumsum(lengths[candidates]) <= max_tokens]
        order = storage_order(keys[candidates], pieces[candidates])
        return candidates[np.lexsort((candidates, order))]

    def write(self, folder: Path, chosen: np.ndarray) -> dict[str, Any]:
        """Writes the artifact's files and returns the counts for its manifest."""
        self._close()
        lengths = np.frombuffer(self._lengths, np.int64)
        begins = np.cumsum(lengths) - lengths
        targets = 0
        for path, name, dtype in zip(self._paths, (TOKENS, LOSS_MASK), (self._dtype, np.dtype("u1")), strict=False):
            values = np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)
            with open(folder / name, "wb") as file:
                for first in range(0, len(chosen), _WRITE):
                    part = chosen[first : first + _WRITE]
                    ordered = values[_ranges(begins[part], lengths[part])]
                    targets += int(ordered.sum()) if name == LOSS_MASK else 0
                    file.write(ordered.tobytes())
            del values
            path.unlink()
        table = self._table(chosen, lengths[chosen])
        pyarrow.parquet.write_table(table, folder / SAMPLES, row_group_size=_WRITE, compression="zstd")
        tokens = int(lengths[chosen].sum())
        return {
            "tokens": tokens,
            "samples": len(chosen),
            "targets": targets if self._has_mask else tokens - len(chosen),
            "has_loss_mask": self._has_mask,
            "by_source": self._by(chosen, lengths, "source"),
            "by_language": self._by(chosen, lengths, "language"),
        }

    def _table(self, chosen: np.ndarray, lengths: np.ndarray) -> pyarrow.Table:
        origins = [self._origins[text] for text in np.frombuffer(self._texts, np.int64)[chosen]]
        keys = np.frombuffer(self._keys, np.uint8).reshape(-1, KEY_BYTES)[chosen]
        columns = {
            "offset": np.cumsum(lengths) - lengths,
            "length": lengths.astype(np.int32),
            "key": pyarrow.FixedSizeBinaryArray.from_buffers(
                pyarrow.binary(KEY_BYTES), len(keys), [None, pyarrow.py_buffer(keys.tobytes())]
            ),
            **{name: [getattr(origin, name) for origin in origins] for name in Origin._fields},
        }
        return pyarrow.table(columns, schema=SCHEMA)

    def _by(self, chosen: np.ndarray, lengths: np.ndarray, name: str) -> dict[str, int]:
        texts = np.frombuffer(self._texts, np.int64)[chosen]
        per_text = np.bincount(texts, weights=lengths[chosen], minlength=len(self._origins))
        tokens: Counter[str] = Counter()
        for origin, amount in zip(self._origins, per_text, strict=True):
            tokens[getattr(origin, name)] += int(amount)
        return {key: amount for key, amount in sorted(tokens.items()) if amount}

    def _close(self) -> None:
        for file in self._files:
            file.close()


def _ranges(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The indices begin, begin + 1, ... of every range, one range after another."""
    starts = np.cumsum(lengths) - lengths
    return np.repeat(begins - starts, lengths) + np.arange(int(lengths.sum()))
