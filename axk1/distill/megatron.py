"""Reading the caches of Megatron-LM (``--logits-save-dir``, 2026), which speak of a stream of samples by iterations.

A cache is a folder of ``cp<C>_dp<D>__<I>.tar``, one for each rank and stretch of iterations that ends at I. In it are
``_meta.json`` and, for each iteration, ``<i>.pt.zst``: lists over microbatches of ``values``, log-probabilities
[S, B, K]; ``indices_low``, the ids' lower 16 bits; ``bit_17``, their highest. Entries outside the nucleus have a value
of -1000. Token ids it does not hold, so the stream itself must be given, as an array [samples, L + 1] in the order in
which training consumed it: iteration i takes the next ``microbatches x dp x B`` rows, each microbatch ``dp x B`` of
them, of which rank D has the Dth B. With context parallelism rank C has the chunks C and 2 cp - 1 - C of 2 cp.

Shapes: S positions of a rank, B samples of a microbatch, K entries, L positions of a sample, N samples.
"""

import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch

from axk1.core.errors import ArtifactError
from axk1.core.progress import progress

_TAR = re.compile(r"cp(\d+)_dp(\d+)__(\d+)\.tar")
_MEMBER = re.compile(r"(\d+)\.pt\.zst")
_META = "_meta.json"
_OUTSIDE = -900.0
"""Below it a value says that there is no entry; half precision keeps -1000."""
_DONE = "done"


@dataclass(frozen=True)
class _Part:
    """What one rank wrote of one iteration."""

    file: Path
    offset: int
    size: int


class MegatronCache:
    """A folder of Megatron-LM's, open for reading.

    Args:
        folder: the tars.
        tokens: the stream of samples as an array in a ``.npy`` file, [N, L + 1].
        scratch: a folder that this class may fill with what the tars hold, since samples are asked for in any order.

    Raises:
        ArtifactError: it is no such cache, ranks are missing, or the stream does not fit it.
    """

    least_vocab_size = 0
    """It does not say how many tokens there are."""

    def __init__(self, folder: Path, tokens: Path, scratch: Path) -> None:
        self.folder, self._scratch = folder, scratch
        self.files = sorted(file for file in folder.glob("*.tar") if _TAR.fullmatch(file.name))
        if not self.files:
            raise ArtifactError(f"{str(folder)!r} has no cp<C>_dp<D>__<I>.tar, so it is no cache of Megatron-LM")
        self._parts, self._saver = _read_directory(self.files)
        self._cp, self._dp = _ranks(folder, self._parts)
        self._iterations = sorted(self._parts)
        self._first = self._load(self._iterations[0])
        microbatches, samples = self._first.shape[:2]
        self._per_iteration = microbatches * samples
        try:
            self._tokens_NL = np.load(tokens, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{str(tokens)!r} is no array of numpy: {error}") from None
        self._check_stream(tokens)
        self.files = [*self.files, tokens]

    def samples(self) -> Iterator[np.ndarray]:
        """The token ids of each sample that the cache speaks of, in the stream's order."""
        for iteration in self._iterations:
            start = iteration * self._per_iteration
            yield from self._tokens_NL[start : start + self._per_iteration].astype(np.int64)

    def top_k(self) -> int:
        """The most entries that a position has."""
        return int(self._saver["k"])

    def rows(self, numbers: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids [L, K] and log-probabilities [L, K] of samples by their numbers; -inf where there is no entry."""
        ids, values = self._spooled()
        return [(ids[number].astype(np.int64), values[number].astype(np.float32)) for number in numbers]

    def close(self) -> None:
        """Deletes the scratch folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _spooled(self) -> tuple[np.ndarray, np.ndarray]:
        """Everything on disk by sample: ids and values [samples, L, K]."""
        count = len(self._iterations) * self._per_iteration
        shape = (count, self._first.shape[2], self.top_k())
        paths = self._scratch / "ids.npy", self._scratch / "values.npy"
        if not (self._scratch / _DONE).is_file():
            self._scratch.mkdir(parents=True, exist_ok=True)
            ids = np.lib.format.open_memmap(paths[0], mode="w+", dtype=np.uint32, shape=shape)
            values = np.lib.format.open_memmap(paths[1], mode="w+", dtype=np.float32, shape=shape)
            with progress("distill import, reading", total=count, unit="samples") as meter:
                for place, iteration in enumerate(self._iterations):
                    held = self._load(iteration)
                    here = slice(place * self._per_iteration, (place + 1) * self._per_iteration)
                    ids[here, :, : held.ids.shape[3]] = held.ids.reshape(-1, *held.ids.shape[2:])
                    values[here] = -np.inf
                    values[here, :, : held.ids.shape[3]] = held.values.reshape(-1, *held.ids.shape[2:])
                    meter.advance(self._per_iteration)
            ids.flush()
            values.flush()
            (self._scratch / _DONE).touch()
        return np.load(paths[0], mmap_mode="r"), np.load(paths[1], mmap_mode="r")

    def _load(self, iteration: int) -> "_Iteration":
        """An iteration of all ranks, in the stream's order."""
        ranks = [
            [_decode(self._parts[iteration][context, data]) for context in range(self._cp)] for data in range(self._dp)
        ]
        microbatches = len(ranks[0][0])
        if any(len(part) != microbatches for rank in ranks for part in rank):
            raise ArtifactError(f"the ranks of {str(self.folder)!r} have other numbers of microbatches at {iteration}")
        try:
            joined = [
                [_join_context([part[number] for part in rank], self._cp) for rank in ranks]
                for number in range(microbatches)
            ]
            wide = max(ids.shape[2] for ranks_ in joined for ids, _ in ranks_)
            ids, values = (
                np.stack([np.concatenate([_widen(rank[which], wide, fill) for rank in ranks_]) for ranks_ in joined])
                for which, fill in ((0, 0), (1, -np.inf))
            )
        except ValueError as error:
            raise ArtifactError(f"iteration {iteration} of {str(self.folder)!r} differs in shape: {error}") from None
        if hasattr(self, "_first") and ids.shape[:3] != self._first.shape:
            raise ArtifactError(
                f"iteration {iteration} of {str(self.folder)!r} has {ids.shape[:3]} microbatches, samples and "
                f"positions, the first one {self._first.shape}: batches that grow cannot be placed in the stream"
            )
        return _Iteration(ids, values)

    def _check_stream(self, tokens: Path) -> None:
        length, last = self._first.shape[2], (self._iterations[-1] + 1) * self._per_iteration
        shape = self._tokens_NL.shape
        fits = len(shape) == 2 and shape[1] == length + 1 and shape[0] >= last and self._tokens_NL.dtype.kind in "iu"
        if not fits:
            raise ArtifactError(
                f"{str(tokens)!r} holds {self._tokens_NL.dtype} {list(shape)}, but the cache speaks of whole numbers "
                f"[{last} or more, {length + 1}]",
                repair="save the stream as training consumed it: each sample's tokens and the last one's label",
            )


@dataclass(frozen=True)
class _Iteration:
    """Ids and log-probabilities [microbatches, samples, L, K]."""

    ids: np.ndarray
    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Microbatches, samples of each, positions."""
        return self.ids.shape[:3]


def _read_directory(files: list[Path]) -> tuple[dict[int, dict[tuple[int, int], _Part]], dict[str, Any]]:
    """Where each iteration of each rank (context, data) lies, and how the saver was set."""
    parts: dict[int, dict[tuple[int, int], _Part]] = {}
    said: dict[str, Any] = {}
    for file in files:
        context, data, _ = map(int, _TAR.fullmatch(file.name).groups())
        try:
            with tarfile.open(file) as tar:
                for member in tar:
                    if member.name == _META:
                        meta = json.load(tar.extractfile(member))
                        if said and meta.get("hash") != said.get("hash"):
                            raise ArtifactError(f"{str(file)!r} speaks of other data than {str(files[0])!r}")
                        said = meta
                    elif found := _MEMBER.fullmatch(member.name):
                        part = _Part(file, member.offset_data, member.size)
                        parts.setdefault(int(found[1]), {})[context, data] = part
        except (tarfile.TarError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{str(file)!r} is corrupt: {error}") from None
    if not parts or not isinstance(said.get("saver"), dict) or "k" not in said["saver"]:
        raise ArtifactError(f"{str(files[0])!r} has no {_META} of Megatron-LM, or no iteration")
    return parts, said["saver"]


def _ranks(folder: Path, parts: dict[int, dict[tuple[int, int], _Part]]) -> tuple[int, int]:
    """How many ranks of context and data parallelism wrote. Raises ArtifactError where one is missing."""
    everyone = {rank for ranks in parts.values() for rank in ranks}
    contexts, datas = (max(rank[axis] for rank in everyone) + 1 for axis in (0, 1))
    for iteration, ranks in sorted(parts.items()):
        for context in range(contexts):
            for data in range(datas):
                if (context, data) not in ranks:
                    raise ArtifactError(
                        f"{str(folder)!r} has no iteration {iteration} of cp{context}_dp{data}, which other ranks have"
                    )
    return contexts, datas


def _decode(part: _Part) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ids and log-probabilities [S, B, K] of each microbatch."""
    with part.file.open("rb") as file:
        file.seek(part.offset)
        packed = file.read(part.size)
    try:
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd") as stream:
            held = torch.load(io.BytesIO(stream.read()), weights_only=True, map_location="cpu")
        found = []
        for values, low, high in zip(held["values"], held["indices_low"], held["bit_17"], strict=True):
            ids = (high.numpy().astype(np.int64) << 16) | low.numpy().astype(np.int64)
            log_probs = values.float().numpy()
            found.append((ids, np.where(log_probs < _OUTSIDE, -np.inf, log_probs)))
        return found
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise ArtifactError(f"{str(part.file)!r} is corrupt at byte {part.offset}: {error!r}") from None
    except Exception as error:  # a pickle that is none fails in many ways
        raise ArtifactError(f"{str(part.file)!r} holds at byte {part.offset} what torch cannot load: {error}") from None


def _join_context(parts: list[tuple[np.ndarray, np.ndarray]], ranks: int) -> tuple[np.ndarray, np.ndarray]:
    """A microbatch of all ranks of context parallelism, [S, B, K] each -> [B, L, K]."""
    wide = max(ids.shape[2] for ids, _ in parts)
    joined = []
    for which, fill in ((0, 0), (1, -np.inf)):
        arrays = [_widen(part[which], wide, fill) for part in parts]
        if ranks > 1:
            halves = [np.split(array, 2) for array in arrays]
            arrays = [first for first, _ in halves] + [second for _, second in reversed(halves)]
        joined.append(np.concatenate(arrays).swapaxes(0, 1))
    return joined[0], joined[1]


def _widen(array: np.ndarray, entries: int, fill: float) -> np.ndarray:
    """More entries along the last axis."""
    missing = entries - array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=fill) if missing else array
