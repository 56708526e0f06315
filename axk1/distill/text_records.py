"""Kind ``topk_text``: as ``topk``, and how probable the teacher finds the token that the text goes on with.

Within one tokenizer a student needs only distributions. Across tokenizers it is taught by the probability of whole
spans of text, which is the product of their tokens' probabilities; and the text's token need not be among the top K.
Where it is, it is read there; only where it is none of them a number of its own is stored, on the same grid.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from axk1.distill.coding import Layout
from axk1.distill.records import Distributions, TopKRecords

_FLOOR = 64.0
"""A token less probable than exp(-64) is stored as this improbable."""


@dataclass(frozen=True)
class TextDistributions(Distributions):
    """The teacher's distributions at R positions, and what it thinks of the text."""

    text_log_probs_R: np.ndarray
    """Natural log-probability of the text's token where it is none of the K; 0 where it is one of them."""

    @classmethod
    def of(cls, rows: Distributions, text_R: np.ndarray, log_probs_R: np.ndarray) -> "TextDistributions":
        """Joins distributions and the log-probabilities of the text's tokens."""
        among_R = (rows.ids_RK == text_R[:, None]).any(axis=1)
        return cls(**vars(rows), text_log_probs_R=np.where(among_R, 0, log_probs_R).astype(np.float32))

    def of_text(self, text_R: np.ndarray) -> np.ndarray:
        """Natural log-probabilities of the text's tokens, which the caller must know [R]."""
        same_RK = self.ids_RK == text_R[:, None]
        return np.where(same_RK.any(axis=1), (self.log_probs_RK * same_RK).sum(axis=1), self.text_log_probs_R)


@dataclass(frozen=True)
class TextTopKRecords(TopKRecords):
    """The record format of kind ``topk_text``."""

    kind: ClassVar[str] = "topk_text"

    @property
    def layout(self) -> Layout:
        """The columns of ``topk`` and one more: 0 for a text's token among the K, else 1 and steps below zero."""
        return Layout((*super().layout.after, -1))

    @property
    def expected_bytes(self) -> float:
        return super().expected_bytes + 0.5

    def numbers(self, rows: TextDistributions) -> np.ndarray:
        """The columns of R positions. Raises ValueError where a log-probability is NaN or above zero."""
        text_R = rows.text_log_probs_R
        if not (text_R <= 0).all():  # NaN fails as well
            raise ValueError("the teacher gives the text's token a log-probability that is NaN or above zero")
        steps_R = 1 + np.rint(np.minimum(-text_R, _FLOOR) * self.steps_per_nat)
        return np.column_stack((super().numbers(rows), np.where(text_R < 0, steps_R, 0).astype(np.int32)))

    def rows(self, numbers: np.ndarray) -> TextDistributions:
        """Ids in int64, the rest in fp32."""
        steps_R = np.maximum(numbers[:, -1] - 1, 0) / np.float32(-self.steps_per_nat)
        return TextDistributions(**vars(super().rows(numbers[:, :-1])), text_log_probs_R=steps_R)
