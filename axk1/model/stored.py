"""What lies in safetensors files: ``StoredTensor``, a range of bytes, ``StoredWeight``, what some of them stand for.

``read_header`` holds a file against its own header before anything of it is used: a shard that is truncated, padded or
garbled is named at once, not after hours of reading the others.
"""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from axk1.core.errors import CheckpointError

AGAIN = "copy or download the folder again"
"""What mends a corrupt file."""
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Number formats by their names in a header."""
_MAX_HEADER = 100_000_000
"""What the safetensors library allows."""
_READ = 1 << 30
"""Bytes of one system call, which takes less than 2 GiB."""


@dataclass(frozen=True)
class StoredTensor:
    """A range of bytes in a file, and how it is read."""

    file: Path
    """The shard."""
    dtype: torch.dtype
    """Number format in the file."""
    shape: tuple[int, ...]
    """Sizes of the tensor."""
    offset: int
    """First byte, counted from the start of the file."""
    nbytes: int
    """Bytes."""

    @property
    def place(self) -> tuple[str, int]:
        """What to sort by, so that files are read from their beginning to their end."""
        return self.file.name, self.offset

    def read(self, out: Tensor | None = None) -> Tensor:
        """Reads it.

        Args:
            out: a contiguous CPU tensor of this dtype and shape to read into; a new one where None.

        Raises:
            CheckpointError: the file got shorter since it was opened, or cannot be read.
        """
        out = torch.empty(self.shape, dtype=self.dtype) if out is None else out
        assert out.is_contiguous() and (out.dtype, tuple(out.shape)) == (self.dtype, self.shape)
        room = memoryview(out.detach().reshape(-1).view(torch.uint8).numpy()) if self.nbytes else memoryview(b"")
        try:
            with open(self.file, "rb", buffering=0) as file:
                file.seek(self.offset)
                while room:
                    count = file.readinto(room[:_READ])
                    if not count:
                        raise ended_early(self.file)
                    room = room[count:]
        except OSError as error:
            raise CheckpointError(f"{str(self.file)!r} cannot be read: {error}", repair=AGAIN) from None
        return out


Decoder = Callable[[Sequence[Tensor], torch.dtype], Tensor]
"""The parts of a weight as they are stored, and a dtype -> the weight."""


@dataclass(frozen=True)
class StoredWeight:
    """A weight of the network under its Hugging Face name, in one or more stored parts (numbers, scales)."""

    name: str
    """Name as in a Hugging Face checkpoint."""
    shape: tuple[int, ...]
    """Sizes of the weight, whatever those of its parts."""
    parts: tuple[StoredTensor, ...]
    """What has to be read."""
    decoder: Decoder
    """Makes the weight of its parts."""

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.nbytes for part in self.parts)

    def decode(self, parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """The weight [shape] in a floating-point dtype; it may share memory with the parts where nothing changes."""
        return self.decoder(parts, dtype)

    def read_as(self, dtype: torch.dtype) -> Tensor:
        """Reads the parts and makes the weight of them. Raises CheckpointError as ``StoredTensor.read``."""
        return self.decode([part.read() for part in self.parts], dtype)


def plain(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The decoder of a weight that is stored as it is."""
    return parts[0].to(dtype)


def ended_early(file: Path) -> CheckpointError:
    """The error for a file that changed while it was read."""
    return CheckpointError(
        f"{str(file)!r} ended while it was read: it is shorter than when it was opened", repair=AGAIN
    )


def read_header(file: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file, in the order of their bytes; their numbers are not read.

    Raises:
        CheckpointError: the header cannot be read, its ranges overlap or leave holes, or the file's length is another
            than the header says.
    """
    try:
        size = os.stat(file).st_size
        with open(file, "rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if size < 8 or length > min(size - 8, _MAX_HEADER):
                raise CheckpointError(f"{str(file)!r} is corrupt: it ends within its header", repair=AGAIN)
            values = json.loads(handle.read(length))
        entries = {name: value for name, value in values.items() if name != "__metadata__"}
        tensors = {name: _entry(file, name, value, 8 + length) for name, value in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{str(file)!r} is corrupt: its header cannot be read", repair=AGAIN) from None
    except OSError as error:
        raise CheckpointError(f"{str(file)!r} cannot be read: {error}", repair=AGAIN) from None
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].nbytes)))
    _check_ranges(file, tensors, 8 + length, size)
    return tensors


def _entry(file: Path, name: str, value: dict[str, Any], data: int) -> StoredTensor:
    shape, (begin, end) = tuple(value["shape"]), value["data_offsets"]
    if value["dtype"] not in DTYPES:
        allowed = ", ".join(DTYPES)
        raise CheckpointError(f"{name!r} in {str(file)!r} has the dtype {value['dtype']!r}; allowed: {allowed}")
    dtype = DTYPES[value["dtype"]]
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end)):
        raise ValueError("sizes and places are whole numbers")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(
            f"{str(file)!r} is corrupt: {name!r} of shape {list(shape)} cannot take {end - begin} bytes", repair=AGAIN
        )
    return StoredTensor(file, dtype, shape, data + begin, end - begin)


def _check_ranges(file: Path, tensors: dict[str, StoredTensor], start: int, size: int) -> None:
    place = start
    for name, tensor in tensors.items():
        if tensor.offset != place:
            what = "overlaps the tensor before it" if tensor.offset < place else "leaves a hole before it"
            raise CheckpointError(f"{str(file)!r} is corrupt: {name!r} {what}", repair=AGAIN)
        place += tensor.nbytes
    if place != size:
        what = "truncated" if size < place else "longer than it should be"
        raise CheckpointError(f"{str(file)!r} is {what}: {size:,} bytes, {place:,} by its header", repair=AGAIN)
