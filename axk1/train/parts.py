"""The gradient of a batch that comes in parts: one part after another, or on a CPU each part on a thread of its own.

PyTorch spreads every operation over all threads and waits for them at its end. The operations of a small model are
so short that the waiting costs as much as the work. Parts beside each other wait only once, at the end of a step.
"""

import copy
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from axk1.model.transformer import Transformer
from axk1.model.workers import use_one_thread
from axk1.train.objective import Objective, TorchBatch


class Parts:
    """Computes gradients and figures of batches.

    Args:
        model: the network; the gradients go to its parameters.
        objective: the loss of a part.
        precision: ``bf16`` computes matrix products in bf16 by autocast.
        alone: whether this process trains by itself; parts run beside each other only then, and only on a CPU.
    """

    def __init__(self, model: Transformer, objective: Objective, *, precision: str, alone: bool) -> None:
        self.model, self.objective, self.precision = model, objective, precision
        self.device = next(model.parameters()).device
        self._alone = alone and self.device.type == "cpu"
        self._twins: list[Transformer] = []
        self._pool: ThreadPoolExecutor | None = None

    def gradients(self, parts: Sequence[TorchBatch]) -> dict[str, Tensor]:
        """Adds the gradient of all parts to the parameters. Returns the figures of the batch, ``loss`` among them."""
        if self._alone and len(parts) > 1 and torch.get_num_threads() > 1:
            figures = self._beside_each_other(parts)
        else:
            figures = [self._one(self.model, part) for part in parts]
        metrics: dict[str, Tensor] = {}
        for each in figures:
            for name, value in each.items():
                metrics[name] = metrics[name] + value if name in metrics else value
        return metrics

    def _one(self, model: Transformer, part: TorchBatch) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.objective(model, part)
        loss.total.backward()
        return {"loss": loss.total.detach(), **loss.metrics}

    def _beside_each_other(self, parts: Sequence[TorchBatch]) -> list[dict[str, Tensor]]:
        """Every part has a twin of the model, so that the sum is taken in the parts' order, whoever ends first."""
        while len(self._twins) < len(parts):
            self._twins.append(twin(self.model))
        figures = list(self._threads().map(self._one, self._twins, parts))
        parameters = [list(model.parameters()) for model in (self.model, *self._twins[: len(parts)])]
        for parameter, *others in zip(*parameters, strict=True):
            for gradient in (other.grad for other in others):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            for other in others:
                other.grad = None
        return figures

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            threads = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(threads, "axk1-part", initializer=use_one_thread)
            ready = threading.Barrier(threads + 1)
            for _ in range(threads):
                self._pool.submit(ready.wait)
            ready.wait()  # all threads stand, each with one thread of its own ...
            torch.set_num_threads(threads)  # ... which was noted as the default for threads to come
        return self._pool


def twin(model: Transformer) -> Transformer:
    """A second model with the same weights, not copies of them, and gradients of its own."""
    parameters = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
    buffers = {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, {**parameters, **buffers})
