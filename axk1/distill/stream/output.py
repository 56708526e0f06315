"""The rows of a kind from the states of a pass: final norm, output matrix (whole, or a block of its rows at a time).

Shapes: N tokens asked for, R tokens of a batch, H hidden size, V vocabulary, W rows of a block of the matrix.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from axk1.core.runtime import give_back_free_memory
from axk1.distill.hidden import HiddenRecords
from axk1.distill.records import Distributions, Records, TopKRecords
from axk1.distill.sampled import Draws, SampledRecords
from axk1.distill.scoring import rows_of_states, split_rows, uniform_of_samples
from axk1.distill.stream.layers import Batch, Times
from axk1.distill.stream.pages import empty
from axk1.distill.stream.pieces import FINAL_NORM, Piece
from axk1.distill.stream.states import PassStates
from axk1.distill.stream.vocabulary import OnlineTop
from axk1.distill.stream.weights import WeightStream
from axk1.model.config import ModelConfig
from axk1.model.norm import RMSNorm
from axk1.train.loss import logit_chunks


class Output:
    """Turns states into rows.

    Args:
        config: the network.
        records: the kind.
        pieces: the output matrix in blocks; none for kind ``hidden``.
        whole: whether all blocks are in memory at once.
        temperature: what the logits are divided by.
        device: where it computes.
        chunk: tokens whose logits are there at a time.
    """

    def __init__(
        self, config: ModelConfig, records: Records, pieces: Sequence[Piece], *, whole: bool, temperature: float,
        device: torch.device, chunk: int,
    ) -> None:  # fmt: skip
        self.config, self.records, self.pieces, self.whole = config, records, pieces, whole
        self.temperature, self.device, self.chunk = temperature, device, chunk
        self.norm_piece = Piece("final norm", {FINAL_NORM: (config.hidden_size,)})

    @torch.no_grad()
    def rows(
        self, states: PassStates, todo: Sequence[Batch], stream: WeightStream, times: Times
    ) -> Iterator[tuple[np.ndarray, list[Any]]]:
        """Yields for each batch the numbers of its documents and their rows."""
        give_back_free_memory()  # of the layers
        norm = RMSNorm(self.config.hidden_size, self.config.rms_norm_eps)
        norm.weight = torch.nn.Parameter(stream.take(self.norm_piece)[FINAL_NORM], requires_grad=False)
        reader = _Reader(states, norm, self.device, times, max(b.rows.stop - b.rows.start for b in todo))
        make = self._whole if self.whole or not self.pieces else self._blocks
        for batch, rows in make(reader, todo, stream):
            numbers = np.arange(batch.documents.start, batch.documents.stop)
            yield numbers, split_rows(rows, batch.lengths)

    def _whole(self, reader: "_Reader", todo: Sequence[Batch], stream: WeightStream) -> Iterator[tuple[Batch, Any]]:
        matrix_VH = self._matrix(stream) if self.pieces else None
        for batch in todo:
            states_RH, uniform_RS = reader.read(batch), self._uniform(reader, batch)
            began = time.perf_counter()
            rows = rows_of_states(self.records, states_RH, matrix_VH, uniform_RS, self.temperature, chunk=self.chunk)
            reader.times.add("output", began)
            yield batch, rows

    def _matrix(self, stream: WeightStream) -> Tensor:
        sizes = [next(iter(piece.shapes.values())) for piece in self.pieces]
        shape = (sum(rows for rows, _ in sizes), self.config.hidden_size)
        matrix_VH = empty(shape, torch.float32, self.device)
        for piece, block in zip(self.pieces, matrix_VH.split([rows for rows, _ in sizes]), strict=True):
            stream.take_into(piece, dict.fromkeys(piece.shapes, block))
        return matrix_VH

    def _blocks(self, reader: "_Reader", todo: Sequence[Batch], stream: WeightStream) -> Iterator[tuple[Batch, Any]]:
        """Twice through the matrix: sums and the best tokens, then draws."""
        uniform_NS = torch.cat([self._uniform(reader, batch) for batch in todo])
        k = self.records.top_k if isinstance(self.records, TopKRecords) else 0
        online = OnlineTop(k, uniform_NS, self.device)
        for see in (online.see, online.draw) if uniform_NS.shape[1] else (online.see,):
            first = 0
            for piece in self.pieces:
                size = next(iter(piece.shapes.values()))
                block_WH = empty(size, torch.float32, self.device)
                stream.take_into(piece, dict.fromkeys(piece.shapes, block_WH))
                start = 0
                for batch in todo:
                    states_RH = reader.read(batch)
                    began = time.perf_counter()
                    for rows, logits_CW in logit_chunks(states_RH, block_WH, self.chunk):
                        see(slice(start + rows.start, start + rows.stop), logits_CW.div_(self.temperature), first)
                    start += len(states_RH)
                    reader.times.add("output", began)
                first += size[0]
        start = 0
        for batch in todo:
            stop = start + sum(batch.lengths)
            yield batch, self._of_online(online, slice(start, stop))
            start = stop

    def _of_online(self, online: OnlineTop, rows: slice) -> Any:
        top = online.top(rows)
        if isinstance(self.records, SampledRecords):
            return Draws.of(top.tail_ids_NS.cpu().numpy(), top.entropy_N.cpu().numpy())
        return Distributions(*(value.cpu().numpy() for value in vars(top).values()))

    def _uniform(self, reader: "_Reader", batch: Batch) -> Tensor:
        if isinstance(self.records, HiddenRecords):
            return torch.empty(sum(batch.lengths), 0)
        keys = reader.states.keys[batch.documents]
        return torch.from_numpy(uniform_of_samples(self.records, keys, batch.lengths))


class _Reader:
    """Reads states and norms them."""

    def __init__(self, states: PassStates, norm: RMSNorm, device: torch.device, times: Times, most: int) -> None:
        self.states, self._norm, self._device, self.times = states, norm, device, times
        self._buffer = torch.empty(most, states.identity["hidden_size"])

    def read(self, batch: Batch) -> Tensor:
        began = time.perf_counter()
        states_RH = self._norm(self.states.before.read(batch.rows, self._buffer).to(self._device))
        self.times.add("states", began)
        return states_RH
