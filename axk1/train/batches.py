"""A step's batch, from the packed arrays to the parts that go through the model, fetched one step ahead."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from axk1.data.packing import Batch
from axk1.train.objective import TorchBatch
from axk1.train.parallel.processes import Processes


class Batches(Protocol):
    """Random access to the batches of a run; ``PackedBatches`` is one."""

    def batch(self, step: int) -> Batch:
        """This process's rows of the batch of a step; the same whenever it is asked."""
        ...


@dataclass(frozen=True)
class StepBatch:
    """One step's batch on the device, in parts, with its counts over all processes."""

    parts: list[TorchBatch]
    """The micro-batches of this process."""
    tokens: int
    """Tokens of the whole batch, padding not counted."""


def batches_from(
    step: int, end: int, batches: Batches, *, micro_batches: int, processes: Processes, device: torch.device
) -> Generator[StepBatch, None, None]:
    """Yields the batches of the steps from ``step`` to ``end`` - 1; the next one is packed while one is trained on."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="packing") as pool:
        coming = pool.submit(batches.batch, step)
        for current in range(step, end):
            batch = coming.result()
            if current + 1 < end:
                coming = pool.submit(batches.batch, current + 1)
            yield _step_batch(current, batch, micro_batches, processes, device)


def _step_batch(step: int, batch: Batch, micro_batches: int, processes: Processes, device: torch.device) -> StepBatch:
    targets, tokens = batch.target_count, int(batch.samples["length"].sum())
    targets, tokens, samples = processes.sum([targets, tokens, len(batch.samples)])
    rows = batch.tokens_BT.shape[0]
    size = rows // micro_batches

    def part(begin: int) -> TorchBatch:
        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array[begin : begin + size]).to(device, non_blocking=True)

        chosen = (batch.samples["row"] >= begin) & (batch.samples["row"] < begin + size)
        own = batch.samples[chosen]
        own["row"] -= begin
        return TorchBatch(
            step=step,
            tokens_BT=tensor(batch.tokens_BT),
            targets_BT=tensor(batch.targets_BT),
            positions_BT=tensor(batch.positions_BT),
            segments_BT=tensor(batch.segments_BT),
            samples=own,
            n_targets=max(targets, 1),
            n_positions=max(tokens - samples, 1),
            rows=rows * processes.world_size,
        )

    return StepBatch([part(begin) for begin in range(0, rows, size)], tokens)
