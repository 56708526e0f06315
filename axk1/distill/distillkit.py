"""Reading the caches of DistillKit 1.0.0, which open-instruct writes too.

A cache is a folder of Parquet files with a row per sample: ``input_ids``, and for each token but the first either

    token_ids, top_values                     K ids and their log-probabilities as they are
    bytepacked_indices, compressed_logprobs   K ids of ceil(log2 d) bits each, and log-probabilities coded as
                                              ``compression_config.yaml`` beside them says

The code of K log-probabilities, the largest first: the first ``exact_k`` as floats; the coefficients of a function of
the place fitted to the others; then, in bins, what the fit leaves, as whole numbers of some bits times a scale. With
``delta_encoding`` all this holds the steps from one to the next. ``t`` counts the places behind the exact ones, from 0
up, or with ``normalize_t`` from 0 to 1.

Shapes: R rows, K entries, B bytes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
import yaml

from axk1.core.errors import ArtifactError

CODEC = "compression_config.yaml"
_RAW, _CODED = ("token_ids", "top_values"), ("bytepacked_indices", "compressed_logprobs")
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Bin:
    """Some neighbouring log-probabilities that share a scale."""

    scale_dtype: torch.dtype
    element_bits: int
    num_elements: int


@dataclass(frozen=True)
class Codec:
    """How log-probabilities become bytes; the names are those of ``compression_config.yaml``."""

    d: int
    k: int
    exact_k: int
    exact_dtype: torch.dtype
    polynomial_terms: tuple[int | str, ...]
    term_dtype: torch.dtype
    residual_bins: tuple[Bin, ...]
    delta_encoding: bool
    normalize_t: bool

    @classmethod
    def load(cls, path: Path) -> "Codec":
        """Reads the file. Raises ArtifactError where it is missing or says something else."""
        try:
            values = yaml.safe_load(path.read_text("utf-8"))
            bins = tuple(
                Bin(_DTYPES[one["scale_dtype"]], int(one["element_bits"]), int(one["num_elements"]))
                for one in values["residual_bins"]
            )
            return cls(
                int(values["d"]), int(values["k"]), int(values["exact_k"]),
                _DTYPES[values.get("exact_dtype", "float32")], tuple(values.get("polynomial_terms") or ()),
                _DTYPES[values.get("term_dtype", "float32")], bins,
                bool(values.get("delta_encoding", True)), bool(values.get("normalize_t", False)),
            )  # fmt: skip
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{str(path)!r} is no codec of DistillKit: {error!r}") from None

    @property
    def id_bits(self) -> int:
        """Bits of a token id."""
        return math.ceil(math.log2(self.d))

    def log_probs(self, coded_RB: np.ndarray) -> np.ndarray:
        """Log-probabilities [R, K], fp32, the largest first. Raises ValueError where the bytes do not fit."""
        rest = _Bytes(coded_RB)
        exact_RE = rest.floats(self.exact_k, self.exact_dtype).to(self.exact_dtype)
        others = self.k - self.exact_k
        fit_RO = torch.zeros(len(coded_RB), others, dtype=self.exact_dtype)
        if self.polynomial_terms:
            coefficients_RP = rest.floats(len(self.polynomial_terms), self.term_dtype)
            fit_RO = (self._places(others) * coefficients_RP.unsqueeze(1)).sum(-1)
        left = [_scaled(rest, one) for one in self.residual_bins]
        rest.expect_end()
        residual_RO = torch.zeros(len(coded_RB), others)
        if left:
            joined = torch.cat(left, 1)
            residual_RO[:, : joined.shape[1]] = joined
        # Sums and roundings in the order and the types in which they were coded.
        values_RK = torch.cat((exact_RE, fit_RO + residual_RO.to(self.exact_dtype)), 1)
        if self.delta_encoding:
            values_RK = values_RK.float().cumsum(1).to(self.exact_dtype)
        return values_RK.float().numpy()

    def ids(self, packed_RB: np.ndarray) -> np.ndarray:
        """Token ids [R, K], int64."""
        return _unpack(packed_RB, self.id_bits, self.k)

    def _places(self, count: int) -> torch.Tensor:
        """What each coefficient is multiplied with [O, P]."""
        t = torch.linspace(0, 1, count, dtype=self.term_dtype) if self.normalize_t else None
        t = torch.arange(count, dtype=self.term_dtype) if t is None else t
        return torch.stack([t**p if isinstance(p, int) else {"sqrt": t.sqrt, "exp": t.exp}[p]()
                            for p in self.polynomial_terms], -1)  # fmt: skip


class DistillKitCache:
    """A folder of DistillKit's, open for reading. Raises ArtifactError where it is none."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._tables = folder, sorted(folder.glob("*.parquet"))
        if not self._tables:
            raise ArtifactError(f"{str(folder)!r} has no *.parquet, so it is no cache of DistillKit")
        names = set(pyarrow.parquet.read_schema(self._tables[0]).names)
        self.columns = next((pair for pair in (_CODED, _RAW) if names >= {"input_ids", *pair}), None)
        if self.columns is None:
            raise ArtifactError(
                f"{str(self._tables[0])!r} has the columns {', '.join(sorted(names))}; known are input_ids with "
                f"{' and '.join(_CODED)}, or with {' and '.join(_RAW)}",
                repair="let DistillKit's newer codec write it; the older one (coeffs) is not read",
            )
        self.codec = Codec.load(folder / CODEC) if self.columns == _CODED else None
        self.files = [*self._tables, *([folder / CODEC] if self.codec else [])]
        self.least_vocab_size = self.codec.d if self.codec else 0

    def samples(self) -> Iterator[np.ndarray]:
        """The token ids of each row, in order."""
        for file in self._tables:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches(columns=["input_ids"]):
                for row in batch.column("input_ids"):
                    yield np.array(row.as_py(), np.int64)

    def top_k(self) -> int:
        """K."""
        if self.codec is not None:
            return self.codec.k
        first = pyarrow.parquet.read_table(self._tables[0], columns=["top_values"]).column(0)
        return next((len(row[0]) for row in first.to_pylist() if row), 0)

    def rows(self, numbers: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids [R, K] and log-probabilities [R, K] of samples by their numbers, in that order."""
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        first = 0
        for file in self._tables:
            size = pyarrow.parquet.ParquetFile(file).metadata.num_rows
            inside = sorted(number for number in set(numbers) if first <= number < first + size)
            if inside:
                table = pyarrow.parquet.read_table(file, columns=list(self.columns))
                taken = table.take([number - first for number in inside]).to_pylist()
                found |= {number: self._decode(row) for number, row in zip(inside, taken, strict=True)}
            first += size
        return [found[number] for number in numbers]

    def close(self) -> None:
        """Keeps nothing on disk."""

    def _decode(self, row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        ids, log_probs = (row[name] for name in self.columns)
        try:
            if self.codec is None:
                return np.array(ids, np.int64), np.array(log_probs, np.float32)
            return self.codec.ids(np.array(ids, np.uint8)), self.codec.log_probs(np.array(log_probs, np.uint8))
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"a row of {str(self.folder)!r} does not fit its {CODEC}: {error}") from None


class _Bytes:
    """Rows of bytes that are read from left to right."""

    def __init__(self, rows_RB: np.ndarray) -> None:
        self._rows_RB, self._at = rows_RB, 0

    def take(self, count: int) -> np.ndarray:
        if self._at + count > self._rows_RB.shape[1]:
            raise ValueError(f"{self._rows_RB.shape[1]} bytes in a row are too few")
        self._at += count
        return np.ascontiguousarray(self._rows_RB[:, self._at - count : self._at])

    def floats(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        taken = torch.from_numpy(self.take(count * dtype.itemsize))
        return taken.view(dtype) if count else torch.zeros(len(taken), 0, dtype=dtype)

    def expect_end(self) -> None:
        if self._at != self._rows_RB.shape[1]:
            raise ValueError(f"{self._rows_RB.shape[1]} bytes in a row, but {self._at} are needed")


def _scaled(rest: _Bytes, one: Bin) -> torch.Tensor:
    """The numbers of a bin: one bit says plus or minus, more are a number in two's complement, shifted up."""
    scale_R1 = rest.floats(1, one.scale_dtype).float()
    stored = torch.from_numpy(_unpack(rest.take(-(-one.num_elements * one.element_bits // 8)), one.element_bits,
                                      one.num_elements)).float()  # fmt: skip
    signed = 2 * stored - 1 if one.element_bits == 1 else stored - 2.0 ** (one.element_bits - 1)
    return signed * scale_R1


def _unpack(packed_RB: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Numbers of some bits each, the highest bit first, one behind the other: [R, count], int64."""
    if packed_RB.shape[1] * 8 < bits * count:
        raise ValueError(f"{packed_RB.shape[1]} bytes are too few for {count} numbers of {bits} bits")
    flags = np.unpackbits(packed_RB, axis=1)[:, : bits * count].reshape(len(packed_RB), count, bits)
    return flags.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1, dtype=np.int64))
