"""How far a student is from its teacher, and from the text, over whole distributions.

Logits are made in chunks, so nothing of size positions x vocabulary exists.
Shapes: T positions of a batch, H hidden size, J the teacher's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from axk1.distill.initialise.text import Sample, packed
from axk1.distill.loss import fused_linear_distillation
from axk1.distill.targets import HiddenTargets
from axk1.model.transformer import Transformer
from axk1.train.loss import IGNORE_INDEX, fused_linear_cross_entropy


@dataclass(frozen=True)
class Distance:
    """Means over positions, in nats."""

    kl_to_teacher: float
    """KL(teacher || student)."""
    cross_entropy: float
    """Of the text under the student, where the text teaches: not within the prompts of conversations."""
    positions: int
    """At how many the distance to the teacher was measured."""


@torch.no_grad()
def distance(teacher: Transformer, student: Transformer, samples: Sequence[Sample], batch_tokens: int) -> Distance:
    """Measures a student on all positions of some samples that a token follows.

    Args:
        teacher, student: on one device; the student's vocabulary may be padded otherwise.
        samples: the text.
        batch_tokens: positions that go through the models at once.
    """
    kl = cross_entropy = 0.0
    positions = taught = 0
    for row in packed(samples, batch_tokens, teacher.output_weight.device):
        theirs_TJ = teacher.hidden(row.ids_1T, row.positions_1T, row.segments_1T).states_BTH[0]
        states_TH = student.hidden(row.ids_1T, row.positions_1T, row.segments_1T).states_BTH[0]
        next_T = torch.full_like(row.ids_1T[0], IGNORE_INDEX)
        same = row.segments_1T[0, 1:] == row.segments_1T[0, :-1]
        next_T[:-1] = row.ids_1T[0, 1:].masked_fill(~same, IGNORE_INDEX)
        targets_T = next_T.clone()
        targets_T[:-1].masked_fill_(~row.taught_1T[0, 1:], IGNORE_INDEX)
        whole = HiddenTargets(theirs_TJ, teacher.output_weight)
        far = fused_linear_distillation(states_TH, student.output_weight, next_T, whole, kl_weight=1.0, ce_weight=0.0)
        loss, _ = fused_linear_cross_entropy(states_TH, student.output_weight, targets_T)
        kl, cross_entropy = kl + float(far.divergence), cross_entropy + float(loss)
        positions, taught = positions + far.targets, taught + int((targets_T != IGNORE_INDEX).sum())
    return Distance(kl / max(positions, 1), cross_entropy / max(taught, 1), positions)
