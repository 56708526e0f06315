"""``Group``: weights that are needed at the same time, and where their bytes lie in files and in a buffer.

The parts of a group that touch each other in a file are one ``Span``, read in one go; an expert's three matrices
usually are. Spans begin and end at multiples of ``ALIGNMENT``, so a part begins somewhere within.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from axk1.distill.stream.direct_file import ALIGNMENT
from axk1.model.stored import StoredTensor, StoredWeight


@dataclass(frozen=True)
class Group:
    """Weights that are needed at the same time."""

    name: str
    """What they are, for errors and progress; for example ``layer 3, expert 17``."""
    weights: tuple[StoredWeight, ...]
    """The weights; their names differ."""


@dataclass(frozen=True)
class Span:
    """A stretch of a file, and where it goes."""

    file: Path
    """The shard."""
    place: int
    """First byte in the file, a multiple of ``ALIGNMENT``."""
    needed: int
    """Bytes that must be there; the last block of a file may be shorter than ``size``."""
    start: int
    """First byte in the group's part of the buffer."""

    @property
    def size(self) -> int:
        """Bytes in the buffer, a multiple of ``ALIGNMENT``."""
        return _up(self.needed)


def spans(group: Group) -> list[Span]:
    """What is to be read for a group, in the order of files and places."""
    found: list[Span] = []
    start = 0
    for part in sorted(_parts(group), key=lambda part: (str(part.file), part.offset)):
        place, end = part.offset // ALIGNMENT * ALIGNMENT, part.offset + part.nbytes
        last = found[-1] if found else None
        if last and last.file == part.file and place <= last.place + last.size:
            found[-1] = dataclasses.replace(last, needed=max(last.needed, end - last.place))
        else:
            found.append(Span(part.file, place, end - place, start))
        start = found[-1].start + found[-1].size
    return found


def buffer_bytes(group: Group) -> int:
    """Bytes of a buffer that a group takes."""
    return max(sum(span.size for span in spans(group)), ALIGNMENT)


def least_budget(groups: Sequence[Group]) -> int:
    """Bytes of a buffer that the largest group takes; twice as much lets one be read while another is used."""
    return max(map(buffer_bytes, groups), default=ALIGNMENT)


class Loaded:
    """A group in memory. Its tensors lie in a buffer that is used again when the next group is taken.

    Args:
        group: what was read.
        room: the group's part of the buffer, uint8.
    """

    def __init__(self, group: Group, room: Tensor) -> None:
        self.name = group.name
        self._weights = {weight.name: weight for weight in group.weights}
        self._spans = spans(group)
        self._room: Tensor | None = room

    @property
    def names(self) -> list[str]:
        """Names of the weights."""
        return list(self._weights)

    def parts(self, name: str) -> list[Tensor]:
        """The stored parts of a weight, in the buffer: valid until the next group is taken."""
        return [self._tensor(part) for part in self._weights[name].parts]

    def read_as(self, name: str, dtype: torch.dtype) -> Tensor:
        """A weight in a floating-point dtype. Where it is stored in that, it lies in the buffer as ``parts`` do."""
        return self._weights[name].decode(self.parts(name), dtype)

    def release(self) -> None:
        """Ends the tensors' life: asking for one is an error from here on."""
        self._room = None

    def _tensor(self, part: StoredTensor) -> Tensor:
        assert self._room is not None, f"{self.name} was given back when the next group was taken"
        if not part.nbytes:
            return torch.empty(part.shape, dtype=part.dtype)
        span = next(s for s in self._spans if s.file == part.file and s.place <= part.offset < s.place + s.size)
        start = span.start + part.offset - span.place
        tensor = self._room[start : start + part.nbytes]
        # Files need not keep numbers at multiples of their size; such ones have to be moved.
        tensor = tensor if (self._room.storage_offset() + start) % part.dtype.itemsize == 0 else tensor.clone()
        return tensor.view(part.dtype).view(part.shape)


def _parts(group: Group) -> list[StoredTensor]:
    return [part for weight in group.weights for part in weight.parts if part.nbytes]


def _up(number: int) -> int:
    return -(-number // ALIGNMENT) * ALIGNMENT
