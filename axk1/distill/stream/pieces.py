"""``Piece``: weights of the network that are used together, from its config alone: no file has to be there.

The names come from ``block_views``, which also names them for reading and writing whole checkpoints.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from axk1.core.errors import CheckpointError
from axk1.distill.stream.groups import Group
from axk1.model.checkpoint import block_views
from axk1.model.config import ModelConfig
from axk1.model.stored import StoredWeight, plain
from axk1.model.transformer import Block

EMBEDDING, FINAL_NORM, OUTPUT = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


@dataclass(frozen=True)
class Piece:
    """Weights that are used together."""

    name: str
    """What they are, for errors; for example ``attention of layer 3``."""
    shapes: Mapping[str, tuple[int, ...]]
    """Their sizes by their names in a file."""
    prefix: str = ""
    """What their names begin with in a file but not in a block."""

    @property
    def numbers(self) -> int:
        """How many numbers they are."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def group(self, weights: Mapping[str, StoredWeight]) -> Group:
        """The piece as it is read. A router without a bias is one whose bias is zero."""
        return Group(self.name, tuple(weights[name] for name in self.shapes if name in weights))


@dataclass(frozen=True)
class BlockPieces:
    """The pieces of one block, in the order of their use."""

    attention: Piece
    """Attention and the norm before it."""
    feed_forward: Piece
    """The norm before the feed-forward layer and all of that but routed experts."""
    experts: tuple[Piece, ...]
    """The routed experts one by one; none in a dense block."""


def block_pieces(config: ModelConfig, layer: int) -> BlockPieces:
    """The pieces of block ``layer``."""
    with torch.device("meta"):
        block = Block(config, layer)
    prefix = f"model.layers.{layer}."
    shapes = {name: tuple(view.shape) for name, view in block_views(prefix, block)}
    parts: dict[str, dict[str, tuple[int, ...]]] = {"attention": {}, "feed-forward": {}}
    for name, shape in shapes.items():
        local = name.removeprefix(prefix).split(".")
        if local[:2] == ["mlp", "experts"]:
            part = f"expert {local[2]}"
        else:
            part = "attention" if local[0] in ("self_attn", "input_layernorm") else "feed-forward"
        parts.setdefault(part, {})[name] = shape
    attention, feed_forward, *experts = (Piece(f"{p} of layer {layer}", s, prefix) for p, s in parts.items())
    return BlockPieces(attention, feed_forward, tuple(experts))


def output_name(config: ModelConfig) -> str:
    """The name of the output matrix, which may be the embedding."""
    return EMBEDDING if config.tie_word_embeddings else OUTPUT


def output_pieces(config: ModelConfig, vocabulary: int, rows: int) -> list[Piece]:
    """The output matrix cut to a vocabulary, in blocks of so many rows."""
    name = output_name(config)
    starts = range(0, vocabulary, rows)
    sizes = [(start, min(rows, vocabulary - start)) for start in starts]
    return [Piece(f"rows {start} on of the output matrix", {name: (n, config.hidden_size)}) for start, n in sizes]


def row_block(weight: StoredWeight, start: int, rows: int) -> StoredWeight:
    """Some rows of a matrix that is stored as it is. Raises CheckpointError where it is quantised."""
    if len(weight.parts) != 1:
        raise CheckpointError(f"{weight.name!r} is quantised; only plain rows of it can be streamed")
    part, shape = weight.parts[0], (rows, *weight.shape[1:])
    row = part.nbytes // part.shape[0]
    block = replace(part, shape=shape, offset=part.offset + start * row, nbytes=rows * row)
    return StoredWeight(weight.name, shape, (block,), plain)
