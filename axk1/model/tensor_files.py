"""``TensorFiles``: the safetensors files of a Hugging Face model folder, tensor by tensor.

Opening reads the headers alone and holds every shard against them, and the index against the shards, before any number
is read. Two views of the same bytes: ``files[name]`` is a tensor as it is stored, ``files.weights[name]`` a weight of
the network, which block-scaled fp8 makes of two stored tensors.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from axk1.core.errors import CheckpointError
from axk1.model.block_scales import KEY, METHOD, SCALE, block_size, dequantise_blocks, scales_shape
from axk1.model.stored import AGAIN, StoredTensor, StoredWeight, plain, read_header

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"


class WeightFiles:
    """Weights that can be read one by one, under their Hugging Face names."""

    weights: Mapping[str, StoredWeight]
    """All weights by name."""

    def read_as(self, name: str, dtype: torch.dtype) -> Tensor:
        """Reads a weight in a floating-point dtype, whatever it is stored in."""
        return self.weights[name].read_as(dtype)


class TensorFiles(WeightFiles, Mapping[str, StoredTensor]):
    """The stored tensors of a folder, by name.

    Args:
        folder: holds ``model.safetensors``, or shards and ``model.safetensors.index.json``; and ``config.json``, whose
            ``quantization_config`` says whether the weights are block-scaled fp8.

    Raises:
        CheckpointError: a shard is missing, truncated, padded or garbled; index and shards disagree; the weights are
            quantised in another way than fp8 with block scales; a scale is missing or of another shape.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = _index(self.folder)
        files = [WEIGHTS] if index is None else sorted(set(index.values()))
        headers = {file: read_header(self.folder / file) for file in files}
        self._tensors = {name: tensor for header in headers.values() for name, tensor in header.items()}
        _check_index(self.folder, index, headers)
        self.block = _block(self.folder)
        """Rows and columns of a block of fp8; None where the config names none."""
        self.weights = {name: self._weight(name) for name in self._tensors if not self._is_scale(name)}

    def __getitem__(self, name: str) -> StoredTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def read(self, name: str, out: Tensor | None = None) -> Tensor:
        """Reads a stored tensor in its own dtype; arguments and errors as in ``StoredTensor.read``."""
        return self[name].read(out)

    def _is_scale(self, name: str) -> bool:
        stored = self._tensors.get(name.removesuffix(SCALE)) if name.endswith(SCALE) else None
        return stored is not None and stored.dtype == torch.float8_e4m3fn

    def _weight(self, name: str) -> StoredWeight:
        stored = self._tensors[name]
        if stored.dtype != torch.float8_e4m3fn:
            return StoredWeight(name, stored.shape, (stored,), plain)
        block, scales = self.block, self._tensors.get(name + SCALE)
        if block is None:
            raise CheckpointError(
                f"{name!r} in {stored.file.name!r} is fp8, but config.json has no {KEY} that says how"
            )
        if scales is None:
            raise CheckpointError(f"{stored.file.name!r} holds {name!r} in fp8, and no shard its {name + SCALE!r}")
        asked = scales_shape(stored.shape, block) if len(stored.shape) == 2 else None
        if scales.shape != asked:
            raise CheckpointError(
                f"{name + SCALE!r} is {list(scales.shape)}; a weight of {list(stored.shape)} in blocks of "
                f"{list(block)} has {list(asked) if asked else 'no'} scales"
            )
        return StoredWeight(name, stored.shape, (stored, scales), lambda p, t: dequantise_blocks(p[0], p[1], block, t))


def _index(folder: Path) -> dict[str, str] | None:
    path = folder / WEIGHTS_INDEX
    if not path.exists():
        if not (folder / WEIGHTS).exists():
            raise CheckpointError(f"{str(folder)!r} holds neither {WEIGHTS} nor {WEIGHTS_INDEX}", repair=AGAIN)
        return None
    try:
        index = dict(json.loads(path.read_text(encoding="utf-8"))["weight_map"].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{str(path)!r} is corrupt: it holds no weight_map", repair=AGAIN) from None
    for file in index.values():
        if not isinstance(file, str) or not file or Path(file).name != file:
            raise CheckpointError(f"{str(path)!r} is corrupt: {file!r} is no file name", repair=AGAIN)
    missing = sorted({file for file in index.values() if not (folder / file).exists()})
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{str(folder)!r} lacks {missing[0]!r}{more}, which its {WEIGHTS_INDEX} names", repair=AGAIN
        )
    return index


def _check_index(folder: Path, index: dict[str, str] | None, headers: dict[str, dict[str, StoredTensor]]) -> None:
    if index is None:
        return
    for name, file in index.items():
        if name not in headers[file]:
            raise CheckpointError(f"{WEIGHTS_INDEX} places {name!r} in {file!r}, which lacks it", repair=AGAIN)
    for file, header in headers.items():
        for name in header:
            if index.get(name) != file:
                place = repr(index[name]) if name in index else "no shard"
                raise CheckpointError(
                    f"{str(folder / file)!r} holds {name!r}, which {WEIGHTS_INDEX} places in {place}", repair=AGAIN
                )


def _block(folder: Path) -> tuple[int, int] | None:
    try:
        form: Any = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(KEY)
    except (OSError, ValueError, AttributeError):
        return None  # what is wrong with a config is said by those who need one
    if not isinstance(form, dict):
        return None
    if form.get("quant_method") != METHOD:
        raise CheckpointError(
            f"{KEY}.quant_method = {form.get('quant_method')!r} of {str(folder)!r} is not allowed; allowed: {METHOD!r}",
            repair="name the checkpoint that it was made of",
        )
    return block_size(form)
