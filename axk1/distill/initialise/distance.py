"""How far a student is from its teacher, and from the text, over whole distributions.

Logits are made in chunks, so nothing of size positions x vocabulary exists.
Shapes: T positions of a batch, H hidden size, J the teacher's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from axk1.distill.initialise.text import packed
from axk1.distill.loss import fused_linear_distillation
from axk1.distill.targets import HiddenTargets
from axk1.model.transformer import Transformer
from axk1.train.loss import IGNORE_INDEX


@dataclass(frozen=True)
class Distance:
    """Means over positions, in nats."""

    kl_to_teacher: float
    """KL(teacher || student)."""
    cross_entropy: float
    """Of the text under the student."""
    positions: int
    """How many were measured."""


@torch.no_grad()
def distance(teacher: Transformer, student: Transformer, samples: Sequence[np.ndarray], batch_tokens: int) -> Distance:
    """Measures a student on all positions of some samples that a token follows.

    Args:
        teacher, student: on one device; the student's vocabulary may be padded otherwise.
        samples: token ids.
        batch_tokens: positions that go through the models at once.
    """
    kl = cross_entropy = 0.0
    positions, device = 0, teacher.output_weight.device
    for ids_1T, positions_1T, segments_1T in packed(samples, batch_tokens, device):
        targets_T = torch.full_like(ids_1T[0], IGNORE_INDEX)
        same = segments_1T[0, 1:] == segments_1T[0, :-1]
        targets_T[:-1] = ids_1T[0, 1:].masked_fill(~same, IGNORE_INDEX)
        theirs_TJ = teacher.hidden(ids_1T, positions_1T, segments_1T).states_BTH[0]
        states_TH = student.hidden(ids_1T, positions_1T, segments_1T).states_BTH[0]
        loss = fused_linear_distillation(
            states_TH, student.output_weight, targets_T, HiddenTargets(theirs_TJ, teacher.output_weight),
            kl_weight=1.0, ce_weight=0.0,
        )  # fmt: skip
        kl += float(loss.divergence)
        cross_entropy += float(loss.cross_entropy)
        positions += int((targets_T != IGNORE_INDEX).sum())
    return Distance(kl / positions, cross_entropy / positions, positions)
