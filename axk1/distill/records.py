"""How the teacher's distribution at one position is stored: fixed-size records, one format per kind of cache.

Kind ``topk``: K token ids, and K + 1 log-probabilities, those of the tail and of the K tokens, the most probable
first. A log-probability is kept as a whole number of 1/2048 nat below zero in 16 bits, so that it is off by at most
0.0005 nat down to -32 nat (a probability of 1e-14). fp16 takes the same bytes and is off by up to 0.004 nat at
-8 to -16; eight bits cannot keep to 0.01 nat, since 256 steps of 0.02 span only 5 nats.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from axk1.core.config import require

STEPS_PER_NAT = 2048
"""Resolution of a stored log-probability."""
_LARGEST = 2**16 - 1


@dataclass(frozen=True)
class TopKRecords:
    """The record format of kind ``topk``."""

    top_k: int
    """K, tokens stored at each position."""
    vocab_size: int
    """Size of the teacher's vocabulary; up to 65,536 an id takes two bytes, beyond it four."""

    kind = "topk"

    def __post_init__(self) -> None:
        require(1 <= self.top_k < self.vocab_size, "top_k", self.top_k, f"1 to {self.vocab_size - 1}")

    @property
    def dtype(self) -> np.dtype:
        """One position: ``ids`` [K] and ``codes`` [K + 1], the tail's first."""
        id_type = "<u2" if self.vocab_size <= 2**16 else "<u4"
        return np.dtype([("ids", id_type, (self.top_k,)), ("codes", "<u2", (self.top_k + 1,))])

    def encode(self, ids_RK: np.ndarray, log_probs_RK: np.ndarray, log_tail_R: np.ndarray) -> np.ndarray:
        """Packs R positions into R records. Raises ValueError where a log-probability is NaN or above zero."""
        nats = -np.concatenate((log_tail_R[:, None], log_probs_RK), axis=1).astype(np.float64)
        if not (nats > -1e-3).all():  # NaN fails as well; rounding may leave a hair above log 1
            raise ValueError("the teacher gives a log-probability that is NaN or above zero")
        records = np.empty(len(nats), self.dtype)
        records["ids"] = ids_RK
        records["codes"] = np.rint(np.clip(nats * STEPS_PER_NAT, 0, _LARGEST))
        return records

    def decode(self, records_R: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unpacks R records into ids [R, K] (int64), log-probabilities [R, K] and the tail's log mass [R] (fp32).

        What rounding added or took is put right: the K probabilities and the tail's mass sum to one.
        """
        nats = records_R["codes"].astype(np.float32) * np.float32(-1 / STEPS_PER_NAT)
        nats -= np.log(np.exp(nats).sum(axis=1, keepdims=True))
        return records_R["ids"].astype(np.int64), nats[:, 1:], nats[:, 0]

    def describe(self) -> dict[str, Any]:
        """What ``cache.json`` says about the format; ``records_of`` reads it."""
        return {"kind": self.kind, "top_k": self.top_k, "vocab_size": self.vocab_size}


def records_of(description: dict[str, Any]) -> TopKRecords:
    """The record format that a ``cache.json`` describes. Raises ValueError for a kind that is not known."""
    if description.get("kind") != TopKRecords.kind:
        raise ValueError(f"kind = {description.get('kind')!r} is not known; allowed: {TopKRecords.kind!r}")
    return TopKRecords(int(description["top_k"]), int(description["vocab_size"]))
