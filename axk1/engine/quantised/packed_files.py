"""``PackedFiles``: the weights of a quantised folder one by one, under their Hugging Face names, as floats.

Whoever streams a checkpoint reads our int8 and int4 folders as it reads any other. An expert is a part of a bank, and
its bytes lie together, so it is read alone.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from axk1.core.errors import CheckpointError
from axk1.engine.kernel.packing import PackedMatrix, WeightKind, packed_shapes, unpack
from axk1.engine.quantised.folder import is_quantised, packed_kind
from axk1.model.checkpoint import named_views
from axk1.model.config import ModelConfig
from axk1.model.stored import AGAIN, StoredTensor, StoredWeight, plain, read_header
from axk1.model.tensor_files import WEIGHTS, TensorFiles, WeightFiles
from axk1.model.transformer import Transformer


def open_weights(path: str | Path) -> WeightFiles:
    """The weights of a checkpoint, or of a folder that ``axk1 export quantize`` made, ready to be read one by one.

    Raises:
        CheckpointError: the folder is incomplete or corrupt; nothing but headers was read.
    """
    return PackedFiles(path) if is_quantised(ModelConfig.load(path)) else TensorFiles(path)


class PackedFiles(WeightFiles):
    """The weights of a quantised folder.

    Args:
        folder: what ``save_quantised`` wrote.

    Raises:
        CheckpointError: the file is missing, truncated or garbled, or its tensors do not fit config.json.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        config = ModelConfig.load(folder)
        self._kind_of_layers = packed_kind(self.folder, config)
        self._stored = read_header(self.folder / WEIGHTS)
        with torch.device("meta"):
            model = Transformer(config)
        own = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
        if config.tie_word_embeddings:
            own[id(model.lm_head.weight)] = "embed_tokens.weight"
        self.weights = {name: self._weight(name, view, own) for name, view in named_views(model)}

    def _weight(self, name: str, view: Tensor, own: dict[int, str]) -> StoredWeight:
        shape, bank, banks = tuple(view.shape), 0, 1
        if view._base is None:
            place = own[id(view)]
            if place in self._stored:
                return StoredWeight(name, shape, (self._part(place, shape),), plain)
            place = place.removesuffix("weight") + "packed"
        else:  # an expert's part of the stacked matrices: gate, up and down are banks of their own in the file
            stacked = view._base
            bank, banks = view.storage_offset() // stacked.stride(0), stacked.shape[0]
            place = own[id(stacked)].rpartition(".")[0] + "." + name.split(".")[-2].removesuffix("_proj")
        kind = self._kind(place)
        shapes = zip(("data", "scales"), packed_shapes(shape, kind), strict=True)
        parts = tuple(self._part(f"{place}.{part}", (banks, *each), bank) for part, each in shapes)
        return StoredWeight(name, shape, parts, functools.partial(_unpack, kind, shape))

    def _kind(self, place: str) -> WeightKind:
        outer = place.split(".")[0] in ("embed_tokens", "lm_head")
        return "int8" if outer and self._kind_of_layers == "int4" else self._kind_of_layers

    def _part(self, place: str, shape: tuple[int, ...], bank: int | None = None) -> StoredTensor:
        """A stored tensor of this shape, or one bank of it."""
        stored = self._stored.get(place)
        if stored is None or stored.shape != shape:
            found = "missing" if stored is None else list(stored.shape)
            raise CheckpointError(
                f"the weights in {str(self.folder)!r} do not fit config.json: {place!r} is {found}, but the "
                f"config asks for {list(shape)}",
                repair=AGAIN,
            )
        if bank is None:
            return stored
        nbytes = stored.nbytes // shape[0]
        return StoredTensor(stored.file, stored.dtype, (1, *shape[1:]), stored.offset + bank * nbytes, nbytes)


def _unpack(kind: WeightKind, shape: tuple[int, ...], parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    return unpack(PackedMatrix(kind, (1, *shape), *parts))[0].to(dtype)
