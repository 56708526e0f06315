"""How the teacher's distribution at one position is stored: fixed-size records, one format per kind of cache.

Kind ``topk`` holds the K most probable tokens with their log-probabilities, the mass of all other tokens (the tail),
the entropy of the whole distribution, and S tokens drawn from the tail. Each of the S stands for 1/S of the tail's
mass, so that the stored distribution equals the teacher's in expectation; with S = 0 the tail is only a mass.

A log-probability is kept as a whole number of 1/2048 nat in 16 bits, so that it is off by at most 0.0005 nat down to
-32 nat (a probability of 1e-14). fp16 takes the same bytes and is off by up to 0.004 nat at -8 to -16. Eight bits
keep to 0.01 nat only for the gaps between neighbours, and only where no gap exceeds 5 nat.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from axk1.core.config import require

STEPS_PER_NAT = 2048
"""Resolution of a stored log-probability."""
_LARGEST = 2**16 - 1


@dataclass(frozen=True)
class Distributions:
    """The teacher's distributions at R positions."""

    ids_RK: np.ndarray
    """The K most probable tokens, the most probable first."""
    log_probs_RK: np.ndarray
    """Their natural log-probabilities."""
    log_tail_R: np.ndarray
    """Log of the mass of all other tokens."""
    tail_ids_RS: np.ndarray
    """Tokens drawn from the tail by their probability; one can come several times."""
    entropy_R: np.ndarray
    """Entropy of the whole distribution, in nats."""


@dataclass(frozen=True)
class TopKRecords:
    """The record format of kind ``topk``."""

    top_k: int
    """K, tokens stored at each position."""
    tail_samples: int
    """S, tokens drawn from the tail at each position."""
    vocab_size: int
    """Size of the teacher's vocabulary; up to 65,536 an id takes two bytes, beyond it four."""

    kind = "topk"

    def __post_init__(self) -> None:
        require(1 <= self.top_k < self.vocab_size, "top_k", self.top_k, f"1 to {self.vocab_size - 1}")
        require(self.tail_samples >= 0, "tail_samples", self.tail_samples, "0 or more")

    @property
    def dtype(self) -> np.dtype:
        """One position: ``ids`` [K + S], and ``codes`` [K + 2], entropy and tail before the K log-probabilities."""
        id_type = "<u2" if self.vocab_size <= 2**16 else "<u4"
        return np.dtype([("ids", id_type, (self.top_k + self.tail_samples,)), ("codes", "<u2", (self.top_k + 2,))])

    def encode(self, rows: Distributions) -> np.ndarray:
        """Packs R positions into R records. Raises ValueError where a log-probability is NaN or above zero."""
        columns = (rows.entropy_R[:, None], -rows.log_tail_R[:, None], -rows.log_probs_RK)
        nats = np.concatenate(columns, axis=1).astype(np.float64)
        if not (nats > -1e-3).all():  # NaN fails as well; rounding may leave a hair above log 1
            raise ValueError("the teacher gives a log-probability that is NaN or above zero")
        records = np.empty(len(nats), self.dtype)
        records["ids"][:, : self.top_k], records["ids"][:, self.top_k :] = rows.ids_RK, rows.tail_ids_RS
        records["codes"] = np.rint(np.clip(nats * STEPS_PER_NAT, 0, _LARGEST))
        return records

    def decode(self, records_R: np.ndarray) -> Distributions:
        """Unpacks R records: ids in int64, the rest in fp32.

        What rounding added or took is put right: the K probabilities and the tail's mass sum to one.
        """
        ids, nats = records_R["ids"].astype(np.int64), records_R["codes"].astype(np.float32) / STEPS_PER_NAT
        log_probs = -nats[:, 1:]
        log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
        return Distributions(ids[:, : self.top_k], log_probs[:, 1:], log_probs[:, 0], ids[:, self.top_k :], nats[:, 0])

    def describe(self) -> dict[str, Any]:
        """What ``cache.json`` says about the format; ``records_of`` reads it."""
        sizes = {"top_k": self.top_k, "tail_samples": self.tail_samples, "vocab_size": self.vocab_size}
        return {"kind": self.kind, **sizes}


def records_of(description: dict[str, Any]) -> TopKRecords:
    """The record format that a ``cache.json`` describes. Raises ValueError for a kind that is not known."""
    if description.get("kind") != TopKRecords.kind:
        raise ValueError(f"kind = {description.get('kind')!r} is not known; allowed: {TopKRecords.kind!r}")
    return TopKRecords(*(int(description[name]) for name in ("top_k", "tail_samples", "vocab_size")))
