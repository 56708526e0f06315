"""``PassStates``: the hidden states of all tokens of a pass, on disk, so that a kill costs one layer.

    documents.npz   keys and lengths of the samples, in the order of their rows
    states.0, .1    the states [N, H], fp32: one holds those before a layer, the other takes those after it
    sums            of the routed experts [N, H], while a layer is at work
    pass.json       whose states these are, after how many layers, in which file, with sums over their bits

A layer reads one file and writes the other, and ``pass.json`` is replaced when the other is whole. What is read and
written goes through the kernel's page cache: memory that is free holds the files, and none of it belongs to us.
The files are allocated at once, so that a disk that is too small is found before the work begins.

Shapes: N tokens of the pass, H hidden size, R rows of a batch.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from axk1.core.artifact import write_text_atomic
from axk1.core.errors import ArtifactError
from axk1.distill.cache import KEY_BYTES
from axk1.distill.stream.byte_size import format_bytes

FILES = ("states.0", "states.1", "sums")
THREADS = min(4, os.cpu_count() or 1)
"""Threads that copy states."""
_LEAST = 4 << 20
"""Bytes that are worth a thread."""
_POOL = ThreadPoolExecutor(THREADS)
_STATE, _DOCUMENTS = "pass.json", "documents.npz"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StateFile:
    """Rows of fp32 numbers [N, H] in a file."""

    def __init__(self, path: Path, rows: int, width: int) -> None:
        self.path, self._width, self.size = path, width, rows * width * 4
        self._number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def allocate(self) -> None:
        """Takes the file's bytes from the disk. Raises OSError where it has not so many."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._number, 0, max(self.size, 1))
        os.ftruncate(self._number, self.size)

    def read(self, rows: slice, out: Tensor) -> Tensor:
        """Rows into the first rows of ``out``, of which a view comes back."""
        out = out[: rows.stop - rows.start]
        self._each(os.preadv, rows, out)
        return out

    def write(self, rows: slice, values: Tensor) -> int:
        """Writes rows; a sum over their bits comes back, which tells whether they are still the same."""
        values = values.detach().to("cpu", torch.float32).contiguous()
        self._each(os.pwritev, rows, values)
        return bits(values)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._number)

    def _each(self, operation: Any, rows: slice, tensor: Tensor) -> None:
        """Several threads share it: copying from and to the page cache is as fast as the cores that do it."""
        room = memoryview(tensor.view(-1).numpy()).cast("B")
        place, step = rows.start * self._width * 4, max(_LEAST, -(-len(room) // THREADS))
        starts = range(0, len(room), step)
        if len(starts) == 1:
            self._one(operation, room, place)
        else:
            list(_POOL.map(lambda start: self._one(operation, room[start : start + step], place + start), starts))

    def _one(self, operation: Any, room: memoryview, place: int) -> None:
        while room:
            count = operation(self._number, [room], place)
            if not count:
                raise ArtifactError(f"{str(self.path)!r} became shorter while it was read")
            room, place = room[count:], place + count


class PassStates:
    """The states of a pass. Make one with ``PassStates.open``."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], keys: np.ndarray, lengths: np.ndarray) -> None:
        self.folder, self.identity, self.keys, self.lengths = folder, dict(identity), keys, lengths
        self.ends = np.cumsum(lengths)
        self.rows, self.layers = int(lengths.sum()), 0
        self._files = [StateFile(folder / name, self.rows, identity["hidden_size"]) for name in FILES]
        self._current, self._written = 1, []

    @classmethod
    def open(cls, folder: Path, identity: Mapping[str, Any], keys: np.ndarray, lengths: np.ndarray) -> "PassStates":
        """Goes on with the pass in a folder if it is of the same network and holds these samples; else begins one.

        Args:
            folder: of the pass.
            identity: what the states depend on beside the samples; ``hidden_size`` among it.
            keys: of the samples [n, 16].
            lengths: their rows [n].

        Raises:
            ArtifactError: the disk is too small; says how much is needed.
        """
        found = _resumed(folder, identity, keys)
        if found is not None:
            return found
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        size = len(FILES) * int(lengths.sum()) * identity["hidden_size"] * 4
        with enough_disk(folder, size, "the states of a pass"):
            np.savez(folder / _DOCUMENTS, keys=keys, lengths=lengths)
            begun = cls(folder, identity, keys, lengths)
            for file in begun._files:
                file.allocate()
        return begun

    @property
    def before(self) -> StateFile:
        """The states before the layer that is at work; after the last one, the result."""
        return self._files[self._current]

    @property
    def after(self) -> StateFile:
        """Where the states after it go."""
        return self._files[1 - self._current]

    @property
    def sums(self) -> StateFile:
        """Sums of experts."""
        return self._files[2]

    def write(self, rows: slice, values: Tensor) -> None:
        """Writes states as they are after the layer."""
        self._written.append((rows.start, rows.stop, self.after.write(rows, values)))

    def commit(self, layers: int) -> None:
        """``after`` is whole: it holds the states after so many layers (0: the embeddings)."""
        state = {"identity": self.identity, "layers": layers, "file": 1 - self._current, "bits": self._written}
        write_text_atomic(self.folder / _STATE, json.dumps(state) + "\n")
        self.layers, self._current, self._written = layers, 1 - self._current, []

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            file.close()

    def places(self, keys: np.ndarray) -> np.ndarray:
        """Numbers of the pass's documents that have these keys [n]; -1 where there is none."""
        known = {bytes(key): place for place, key in enumerate(self.keys)}
        return np.array([known.get(bytes(key), -1) for key in keys], np.int64)


def bits(values: Tensor) -> int:
    """A sum over the bits of numbers."""
    return int(values.view(torch.int32).sum(dtype=torch.int64))


@contextlib.contextmanager
def enough_disk(folder: Path, size: int, what: str) -> Any:
    """Turns the error of a full disk into one that says how many bytes ``what`` needs."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ArtifactError(
            f"{what} takes {format_bytes(size)} in {str(folder)!r}, and the disk does not give so much: "
            f"{os.strerror(error.errno)}",
            repair="free that much, lower pass_tokens, or set output to a folder on a larger disk",
        ) from None


def _resumed(folder: Path, identity: Mapping[str, Any], keys: np.ndarray) -> PassStates | None:
    """The pass in a folder where it is sound and holds the samples."""
    try:
        state = json.loads((folder / _STATE).read_text("utf-8"))
        with np.load(folder / _DOCUMENTS) as documents:
            held = PassStates(folder, identity, documents["keys"], documents["lengths"])
    except (OSError, ValueError, KeyError):
        return None
    if state["identity"] != dict(identity) or (held.places(keys.reshape(-1, KEY_BYTES)) < 0).any():
        held.close()
        return None
    held.layers, held._current = state["layers"], state["file"]
    for start, stop, expected in state["bits"]:
        buffer = torch.empty(stop - start, identity["hidden_size"])
        if held.before.path.stat().st_size != held.before.size or bits(
            held.before.read(slice(start, stop), buffer)
        ) != int(expected):
            held.close()
            return None  # the machine stopped before the kernel had written them
    for file in held._files:
        file.allocate()
    return held
