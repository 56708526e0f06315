"""``Layers``: one layer after the other over all tokens of a pass, with a part of the layer's weights in memory.

Attention takes the tokens in batches of whole documents, each of which sees only itself. Where memory holds a whole
layer, a batch goes through all of it. Elsewhere attention is over before the rest begins, and a sparse layer's experts
take the place of one another: as many as memory holds see all tokens, in batches of their own, then the next ones. The
modules are those of ``axk1.model``, filled with what is streamed.

Shapes: R tokens of a batch, H hidden size, K experts per token, M assignments, G experts in memory, I inner width.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from axk1.core.runtime import give_back_free_memory
from axk1.distill.stream.pages import empty
from axk1.distill.stream.pieces import BlockPieces, Piece, block_pieces
from axk1.distill.stream.states import PassStates, StateFile
from axk1.distill.stream.weights import WeightStream
from axk1.model.config import ModelConfig
from axk1.model.experts import some_routed_experts
from axk1.model.rope import RotaryEmbedding
from axk1.model.transformer import Block


@dataclass(frozen=True)
class Batch:
    """Some documents of a pass."""

    documents: slice
    """Their numbers."""
    rows: slice
    """Their rows."""
    lengths: list[int]
    """Rows of each."""


def batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[Batch]:
    """Consecutive documents, so many at a time that their tokens stay within ``batch_tokens``, or one."""
    first, begin, size = 0, 0, 0
    for number, length in enumerate(lengths.tolist()):
        if size and size + length > batch_tokens:
            yield Batch(slice(first, number), slice(begin, begin + size), lengths[first:number].tolist())
            first, begin, size = number, begin + size, 0
        size += length
    if size:
        yield Batch(slice(first, len(lengths)), slice(begin, begin + size), lengths[first:].tolist())


@dataclass
class Times:
    """Seconds of each kind of work."""

    seconds: dict[str, float] = field(default_factory=dict)
    """By name."""

    def add(self, name: str, began: float) -> float:
        """Counts the time since ``began`` as work of this name; the time now."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - began
        return now


class Layers:
    """Applies layers to the states of a pass.

    Args:
        config: the network.
        device: where it computes.
        precision: ``bf16`` has products in bf16, as a model in memory under autocast.
        batch_tokens: tokens that go through attention or a dense part at once.
        experts_at_once: routed experts in memory.
        expert_tokens: tokens that go by them at once.
        assignments: most rows of all experts at once; where tokens crowd at some experts, fewer tokens go by.
        whole: a layer is in memory as a whole.
    """

    def __init__(
        self, config: ModelConfig, *, device: torch.device, precision: str, batch_tokens: int, experts_at_once: int,
        expert_tokens: int, assignments: int, whole: bool,
    ) -> None:  # fmt: skip
        self.config, self.device, self._bf16, self._whole = config, device, precision == "bf16", whole
        self.batch_tokens, self.experts_at_once = batch_tokens, experts_at_once
        self.expert_tokens, self.assignments = expert_tokens, assignments
        self.dtype = torch.bfloat16 if self._bf16 else torch.float32
        rope = RotaryEmbedding(config.rope_parameters, config.rotary_dim, config.max_position_embeddings)
        self._rope = rope.to(device)
        self._times = Times()

    @torch.no_grad()
    def apply(self, states: PassStates, layer: int, stream: WeightStream, times: Times) -> Iterator[int]:
        """Applies layer ``layer``. Yields the tokens that went a part of the way, which for a layer are all once."""
        self._times = times
        pieces = block_pieces(self.config, layer)
        with torch.device("meta"):
            block = Block(self.config, layer)
        todo = list(batches(states.lengths, self.batch_tokens))
        if self._whole:
            yield from self._at_once(block, pieces, states, todo, stream)
        else:
            share = 1 / (1 + self.sweeps(pieces))
            yield from (tokens * share for tokens in self._in_parts(block, pieces, states, todo, stream))
        states.commit(layer + 1)

    def sweeps(self, pieces: BlockPieces) -> int:
        """How often all tokens are read for a feed-forward layer."""
        return max(1, -(-len(pieces.experts) // self.experts_at_once))

    def _at_once(
        self, block: Block, pieces: BlockPieces, states: PassStates, todo: list[Batch], stream: WeightStream
    ) -> Iterator[int]:
        block.load_state_dict(stream.take(pieces.attention), strict=False, assign=True)
        block.load_state_dict(_in_modules(stream.take(pieces.feed_forward)), strict=False, assign=True)
        experts = self._experts(pieces)
        if experts is not None:
            experts.fill(stream, pieces.experts, 0)
        buffer = self._buffer([batch.rows for batch in todo])
        for batch in todo:
            x = self._attend(block, self._read(states.before, batch.rows, buffer), batch.lengths)
            began = time.perf_counter()
            with self._autocast():
                h = block.post_attention_layernorm(x)
                if experts is None:
                    x = x.add_(block.mlp(h))
                else:
                    _, weights_RK, experts_RK = block.mlp.gate(h)
                    out = experts.apply(h, weights_RK, experts_RK)
                    x = x.add_(block.mlp.post_mlp_layernorm(out + block.mlp.shared_experts(h)))
            began = self._time("experts", began)
            states.write(batch.rows, x)
            self._time("states", began)
            yield len(x)

    def _in_parts(
        self, block: Block, pieces: BlockPieces, states: PassStates, todo: list[Batch], stream: WeightStream
    ) -> Iterator[int]:
        yield from self._attention(block, pieces.attention, states, todo, stream)
        block.self_attn = None
        rows = [batch.rows for batch in todo]
        if pieces.experts:
            step = -(-states.rows // -(-states.rows // self.expert_tokens))  # batches of like size
            rows = [slice(start, min(start + step, states.rows)) for start in range(0, states.rows, step)]
        rest = self._sparse if pieces.experts else self._dense
        yield from rest(block, pieces, states, rows, stream)

    def _attention(
        self, block: Block, piece: Piece, states: PassStates, todo: list[Batch], stream: WeightStream
    ) -> Iterator[int]:
        block.load_state_dict(stream.take(piece), strict=False, assign=True)
        buffer = self._buffer([batch.rows for batch in todo])
        for batch in todo:
            x = self._attend(block, self._read(states.before, batch.rows, buffer), batch.lengths)
            began = time.perf_counter()
            # What attention makes goes to the other file: a kill from here on finds the layer's input as it was.
            states.after.write(batch.rows, x)
            self._time("states", began)
            yield len(x)

    def _dense(
        self, block: Block, pieces: BlockPieces, states: PassStates, todo: list[slice], stream: WeightStream
    ) -> Iterator[int]:
        block.load_state_dict(stream.take(pieces.feed_forward), strict=False, assign=True)
        buffer = self._buffer(todo)
        for rows in todo:
            x = self._read(states.after, rows, buffer)
            began = time.perf_counter()
            with self._autocast():
                x = x.add_(block.mlp(block.post_attention_layernorm(x)))
            began = self._time("experts", began)
            states.write(rows, x)
            self._time("states", began)
            yield len(x)

    def _sparse(
        self, block: Block, pieces: BlockPieces, states: PassStates, todo: list[slice], stream: WeightStream
    ) -> Iterator[int]:
        block.load_state_dict(_in_modules(stream.take(pieces.feed_forward)), strict=False, assign=True)
        mlp, step, count = block.mlp, self.experts_at_once, len(pieces.experts)
        give_back_free_memory()  # of attention
        experts = self._experts(pieces)
        routed: list[tuple[Tensor, Tensor]] = []
        buffer, sums = self._buffer(todo), self._buffer(todo)
        for first in range(0, count, step):
            experts.fill(stream, pieces.experts[first : first + step], first)
            last = first + step >= count
            for number, rows in enumerate(todo):
                x = self._read(states.after, rows, buffer)
                began = time.perf_counter()
                with self._autocast():
                    h = block.post_attention_layernorm(x)
                    if first == 0:
                        _, weights_RK, experts_RK = mlp.gate(h)
                        routed.append((weights_RK, experts_RK.to(torch.int16)))
                    out = experts.apply(h, *routed[number])
                    began = self._time("experts", began)
                    if first:
                        out = self._read(states.sums, rows, sums).to(out.dtype).add_(out)
                        began = time.perf_counter()
                    if last:
                        x = x.add_(mlp.post_mlp_layernorm(out + mlp.shared_experts(h)))
                        began = self._time("experts", began)
                if last:
                    states.write(rows, x)
                else:
                    states.sums.write(rows, out)
                self._time("states", began)
                yield len(x)

    def _attend(self, block: Block, x_RH: Tensor, lengths: list[int]) -> Tensor:
        """Adds attention to states, in their place."""
        began = time.perf_counter()
        positions = torch.cat([torch.arange(length) for length in lengths]).to(self.device).unsqueeze(0)
        with self._autocast():
            h = block.input_layernorm(x_RH.unsqueeze(0))
            x_RH = x_RH.add_(block.self_attn(h, self._rope(positions), lengths, None)[0])
        self._time("attention", began)
        return x_RH

    def _experts(self, pieces: BlockPieces) -> "_ExpertGroup | None":
        """Room for as many experts as are in memory; None in a dense layer."""
        if not pieces.experts:
            return None
        size = min(self.experts_at_once, len(pieces.experts))
        return _ExpertGroup(self.config, size, self.assignments, self.dtype, self.device)

    def _buffer(self, todo: list[slice]) -> Tensor:
        return torch.empty(max(rows.stop - rows.start for rows in todo), self.config.hidden_size)

    def _read(self, file: StateFile, rows: slice, buffer: Tensor) -> Tensor:
        began = time.perf_counter()
        x = file.read(rows, buffer).to(self.device)
        self._time("states", began)
        return x

    def _time(self, name: str, began: float) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self._times.add(name, began)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bf16)


class _ExpertGroup:
    """As many routed experts as memory holds, stacked; the next ones take their place."""

    def __init__(
        self, config: ModelConfig, size: int, assignments: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        inner, hidden = config.moe_intermediate_size, config.hidden_size
        self._gate_up = empty((size, 2 * inner, hidden), dtype, device)
        self._down = empty((size, hidden, inner), dtype, device)
        self._assignments, self._first, self._size = max(assignments, config.num_experts_per_tok), 0, 0

    def fill(self, stream: WeightStream, pieces: tuple[Piece, ...], first: int) -> None:
        """Takes experts ``first`` on."""
        self._first, self._size = first, len(pieces)
        for place, piece in enumerate(pieces):
            gate_up, down = self._gate_up[place], self._down[place]
            gate, up = gate_up.chunk(2)
            parts = {"gate_proj": gate, "up_proj": up, "down_proj": down}
            stream.take_into(piece, {name: parts[name.split(".")[-2]] for name in piece.shapes})

    def apply(self, x_RH: Tensor, weights_RK: Tensor, experts_RK: Tensor) -> Tensor:
        """The weighted sum of those of each token's experts that are here [R, H]."""
        here_RK = (experts_RK >= self._first) & (experts_RK < self._first + self._size)
        if int(here_RK.sum()) > self._assignments:
            halves = zip(x_RH.tensor_split(2), weights_RK.tensor_split(2), experts_RK.tensor_split(2), strict=True)
            return torch.cat([self.apply(*half) for half in halves])
        gate_up, down = self._gate_up[: self._size], self._down[: self._size]
        return some_routed_experts(x_RH, weights_RK, experts_RK, self._first, gate_up, down)


def _in_modules(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The norm of a sparse layer's output lies beside the layer in a file, and inside it in the network."""
    name = "post_mlp_layernorm.weight"
    return {f"mlp.{name}" if key == name else key: tensor for key, tensor in weights.items()}
