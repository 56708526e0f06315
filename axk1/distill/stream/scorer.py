"""``StreamScorer``: a teacher on disk scores samples, all of a pass together, layer by layer.

It takes the place of a teacher in memory in ``capture``: what it says of a sample is the same.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from axk1.core.progress import Meter, duration
from axk1.distill.stream.groups import Group
from axk1.distill.stream.layers import Batch, Times, batches
from axk1.distill.stream.output import Output
from axk1.distill.stream.pieces import EMBEDDING, block_pieces, output_name, row_block
from axk1.distill.stream.plan import STAGES, StreamPlan
from axk1.distill.stream.states import PassStates
from axk1.distill.stream.weights import WeightStream
from axk1.model.stored import StoredTensor


class StreamScorer:
    """Scores samples with a teacher that is streamed.

    Args:
        plan: how.
        folder: holds the states of the pass that is at work.
        teacher_hash: content hash of the checkpoint, so that states of another are not taken up.
        temperature: what the logits are divided by.
        meter: is told of tokens times layers, the output being one more; None tells nobody.
    """

    def __init__(
        self, plan: StreamPlan, folder: Path, *, teacher_hash: str, temperature: float, meter: Meter | None = None
    ) -> None:
        assert plan.files is not None, "a plan without weights cannot be run"
        self.plan, self.folder, self.meter = plan, folder, meter
        self.rows_at_once = plan.room.pass_tokens
        self._layers, self._temperature = plan.layers(), temperature
        self._identity = {
            "teacher": teacher_hash, "hidden_size": plan.config.hidden_size, "precision": plan.precision,
            "device": plan.device.type,
        }  # fmt: skip
        self.times, self.read, self.rows, self.passes = Times(), 0, 0, 0
        self.seconds_reading = 0.0
        self._began = time.perf_counter()

    def score(self, samples: Sequence[np.ndarray], keys: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Runs a pass over all samples, or goes on with one that holds them. Yields their numbers and rows in order."""
        lengths = np.array([len(sample) - 1 for sample in samples])
        states = self.open_pass(keys, lengths)
        places = states.places(keys)
        sample_of = {int(place): number for number, place in enumerate(places)}
        todo = self._batches(states, np.sort(places))
        try:
            self._embed_once(states, samples, sample_of)
            self.passes, self.rows = self.passes + 1, self.rows + states.rows
            self._advance(states.layers * states.rows, skipped=True)
            with self._stream(states.layers) as stream:
                for layer in range(states.layers, self.plan.config.num_hidden_layers):
                    for tokens in self._layers.apply(states, layer, stream, self.times):
                        self._advance(tokens)
                self.times.seconds["waiting"] = self.times.seconds.get("waiting", 0.0) + stream.seconds
                for documents, rows in self._output().rows(states, todo, stream, self.times):
                    self._advance(int(states.lengths[documents].sum()))
                    yield from ((sample_of[int(one)], each) for one, each in zip(documents, rows, strict=True))
            self.read += stream.ahead.bytes_read
            self.seconds_reading += stream.ahead.seconds_reading
        finally:
            states.close()

    def open_pass(self, keys: np.ndarray, lengths: np.ndarray | None = None) -> PassStates:
        """The states of a pass over samples: those that a run before this one left, or new ones.

        Args:
            keys: of the samples [n, 16].
            lengths: rows of each; needed where the pass is a new one.
        """
        lengths = np.zeros(len(keys), np.int64) if lengths is None else lengths
        return PassStates.open(self.folder, self._identity, np.ascontiguousarray(keys), lengths)

    def output_matrix(self) -> Tensor:
        """The teacher's output matrix, cut to the vocabulary, as it is stored."""
        weight = self.plan.files.weights[output_name(self.plan.config)]
        return row_block(weight, 0, self.plan.demand.vocabulary).parts[0].read()

    def print_times(self) -> None:
        """Prints what was predicted of each kind of work, and what it took."""
        predicted = self.plan.predicted(self.rows, self.passes)
        measured = {**self.times.seconds, "read": self.seconds_reading}
        table = Table(title="predicted and measured", title_justify="left", box=None)
        for name in ("stage", "predicted", "measured"):
            table.add_column(name, justify="left" if name == "stage" else "right")
        for stage in STAGES:
            table.add_row(stage, duration(predicted[stage]), duration(measured.get(stage, 0.0)))
        work = sum(seconds for stage, seconds in predicted.items() if stage != "read")
        elapsed = time.perf_counter() - self._began
        table.add_row("in all", duration(max(predicted["read"], work)), duration(elapsed))
        Console(stderr=True, highlight=False).print(table)

    def _batches(self, states: PassStates, places: np.ndarray) -> list[Batch]:
        """The documents that are asked for, in batches of neighbours."""
        todo, starts = [], np.flatnonzero(np.diff(places, prepend=-2) != 1)
        for run in np.split(places, starts[1:]):
            first, begin = int(run[0]), int(states.ends[run[0]] - states.lengths[run[0]])
            for one in batches(states.lengths[run], self.plan.room.batch_tokens):
                documents = slice(first + one.documents.start, first + one.documents.stop)
                todo.append(Batch(documents, slice(begin + one.rows.start, begin + one.rows.stop), one.lengths))
        return todo

    def _embed_once(self, states: PassStates, samples: Sequence[np.ndarray], sample_of: dict[int, int]) -> None:
        """Begins a pass: the embeddings are the states before the first layer."""
        if states.layers or (states.folder / "pass.json").exists():
            return
        began = time.perf_counter()
        table = self.plan.files.weights[EMBEDDING].parts[0]
        for batch in batches(states.lengths, self.plan.room.batch_tokens):
            numbers = range(batch.documents.start, batch.documents.stop)
            ids_R = np.concatenate([samples[sample_of[number]][:-1] for number in numbers]).astype(np.int64)
            states.write(batch.rows, _embeddings(table, ids_R))
        states.commit(0)
        self.times.add("states", began)

    def _stream(self, first: int) -> WeightStream:
        """All weights from a layer on, in the order of their use."""
        weights, config, groups = self.plan.files.weights, self.plan.config, []
        for layer in range(first, config.num_hidden_layers):
            pieces = block_pieces(config, layer)
            groups += [p.group(weights) for p in (pieces.attention, pieces.feed_forward, *pieces.experts)]
        output = self._output()
        groups.append(output.norm_piece.group(weights))
        blocks, start = [], 0
        for piece in output.pieces:
            rows = next(iter(piece.shapes.values()))[0]
            blocks.append(Group(piece.name, (row_block(weights[output_name(config)], start, rows),)))
            start += rows
        groups += blocks
        if not self.plan.room.whole_matrix and self._draws:
            groups += blocks
        return WeightStream(
            groups, device=self.plan.device, dtype=self._layers.dtype, ring_bytes=self.plan.room.ring,
            threads=self.plan.options.threads,
        )  # fmt: skip

    @property
    def _draws(self) -> int:
        return getattr(self.plan.records, "tail_samples", 0) or getattr(self.plan.records, "draws", 0)

    def _output(self) -> Output:
        plan = self.plan
        return Output(
            plan.config, plan.records, plan.matrix, whole=plan.room.whole_matrix, temperature=self._temperature,
            device=plan.device, chunk=plan.room.logit_tokens,
        )  # fmt: skip

    def _advance(self, tokens: float, *, skipped: bool = False) -> None:
        if self.meter is not None and skipped:
            self.meter.skip(tokens)
        elif self.meter is not None:
            self.meter.advance(tokens)


def _embeddings(table: StoredTensor, ids_R: np.ndarray) -> Tensor:
    """Rows of the embedding, each read once from its file."""
    distinct, place_R = np.unique(ids_R, return_inverse=True)
    row = table.nbytes // table.shape[0]
    rows = torch.empty(len(distinct), table.shape[1], dtype=table.dtype)
    room = memoryview(rows.view(torch.uint8).numpy()).cast("B")
    with open(table.file, "rb", buffering=0) as file:
        for number, one in enumerate(distinct.tolist()):
            file.seek(table.offset + one * row)
            file.readinto(room[number * row : (number + 1) * row])
    return rows.float()[torch.from_numpy(place_R)]
