"""What training minimises. An objective turns the model and a batch into a loss; distillation brings its own.

Shapes: B rows, T tokens of a row, H hidden size, V vocabulary.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from axk1.model.transformer import Hidden, Transformer
from axk1.train.loss import IGNORE_INDEX, fused_linear_cross_entropy


@dataclass(frozen=True)
class TorchBatch:
    """The part of a step's batch that goes through the model at once, on the device."""

    step: int
    """The step, from 0; an objective that needs chance draws it from this, so that a resumed run repeats it."""
    tokens_BT: Tensor
    """Token ids."""
    targets_BT: Tensor
    """The next token of the same sample, or -100 where there is nothing to predict."""
    positions_BT: Tensor
    """Positions, from 0 in each sample."""
    segments_BT: Tensor
    """Number of the sample within its row, from 1; 0 is padding."""
    samples: np.ndarray
    """The samples in these rows: (row, column, shard, sample, length), the row counted within this part."""
    n_targets: int
    """Targets of the whole batch, over all parts and processes: what a sum of losses is divided by."""
    n_positions: int
    """Positions of the whole batch that a token of the same sample follows, whether it is a target or not."""
    rows: int
    """Rows of the whole batch, over all parts and processes."""

    @property
    def row_share(self) -> float:
        """These rows as a share of the batch, for losses that are means over rows."""
        return self.tokens_BT.shape[0] / self.rows


@dataclass(frozen=True)
class Loss:
    """The loss of one part of a batch. Parts add up: over all of them, every figure is that of the batch."""

    total: Tensor
    """The scalar to minimise: sums over targets divided by the targets of the whole batch."""
    metrics: dict[str, Tensor] = field(default_factory=dict)
    """Figures for ``metrics.jsonl``, detached, of any shape, scaled so that the parts of a batch add up."""


class Objective(Protocol):
    """A loss of a model on a batch. It may call ``model.hidden`` and then use ``model.output_weight``."""

    def __call__(self, model: Transformer, batch: TorchBatch) -> Loss:
        """The loss of this part of the batch; its ``total`` is differentiable."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """The next token's cross-entropy, with the balance loss of sparse layers and multi-token prediction."""

    balance_loss_weight: float = 0.0
    """Weight of the sum of the sparse layers' balance losses."""
    mtp_loss_weight: float = 0.0
    """Weight of the cross-entropy of the token after the next one, where the model has a module for it."""

    def __call__(self, model: Transformer, batch: TorchBatch) -> Loss:
        hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.segments_BT)
        cross_entropy = _cross_entropy(model, hidden.states_BTH, batch.targets_BT, batch.n_targets)
        routing, metrics = routing_loss(hidden, batch)
        total = cross_entropy + self.balance_loss_weight * routing
        metrics["cross_entropy"] = cross_entropy.detach()
        if model.mtp is not None and self.mtp_loss_weight:
            second = self._second_token(model, hidden, batch)
            total = total + self.mtp_loss_weight * second
            metrics["mtp_cross_entropy"] = second.detach()
        return Loss(total, metrics)

    def _second_token(self, model: Transformer, hidden: Hidden, batch: TorchBatch) -> Tensor:
        """Position t, given token t + 1, predicts t + 2: what position t + 1 of the same sample has as its target."""
        same = batch.segments_BT[:, 1:] == batch.segments_BT[:, :-1]
        targets_BT = torch.full_like(batch.targets_BT, IGNORE_INDEX)
        targets_BT[:, :-1] = batch.targets_BT[:, 1:].where(same, IGNORE_INDEX)
        next_ids_BT = batch.tokens_BT.roll(-1, dims=1)
        states_BTH = model.predict_second(hidden, next_ids_BT, batch.positions_BT, batch.segments_BT)
        return _cross_entropy(model, states_BTH, targets_BT, batch.n_targets)


def routing_loss(hidden: Hidden, batch: TorchBatch) -> tuple[Any, dict[str, Tensor]]:
    """The sum of the sparse layers' balance losses, and what to log: their mean (1 is even) and the load [L, E].

    A dense model has 0.0 and nothing.
    """
    if not hidden.routing:
        return 0.0, {}
    balance = torch.stack([routing.balance_loss for routing in hidden.routing]).sum() * batch.row_share
    load = torch.stack([routing.expert_load_E for routing in hidden.routing]).detach() * batch.row_share
    return balance, {"balance_loss": balance.detach() / len(hidden.routing), "expert_load": load}


def _cross_entropy(model: Transformer, states_BTH: Tensor, targets_BT: Tensor, n_targets: int) -> Tensor:
    total, _ = fused_linear_cross_entropy(states_BTH.flatten(0, 1), model.output_weight, targets_BT.flatten())
    return total / n_targets
