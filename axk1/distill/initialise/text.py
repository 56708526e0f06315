"""Which samples of the shards decide what of the teacher stays, and on which others the student is measured.

Samples are taken by their keys, hashes of their content, from the end: a knowledge cache of a part of the shards takes
them from the beginning, so a student that learns from it is measured on text that it has not seen. What is measured
on comes first, so that it stays the same whatever the calibration takes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from axk1.core.errors import ConfigError
from axk1.data.shards import Shards
from axk1.distill.selection import select_samples


@dataclass(frozen=True)
class Sample:
    """A sample of T tokens."""

    ids_T: np.ndarray
    """Its token ids, int64."""
    taught_T: np.ndarray
    """Whether a token is one that a model must predict (of a conversation: what the assistant says), bool."""

    @classmethod
    def of(cls, shards: Shards, number: int, longest: int) -> "Sample":
        """A sample of some shards, cut to ``longest`` tokens."""
        ids_T = np.asarray(shards.sample(number))[:longest].astype(np.int64)
        begin = int(shards.offsets[number])
        mask = shards.loss_mask
        taught_T = np.ones(len(ids_T), bool) if mask is None else np.asarray(mask[begin : begin + len(ids_T)]) > 0
        return cls(ids_T, taught_T)


def choose_text(
    shards: Sequence[Shards], weights: Sequence[float], *, calibration_tokens: int, measured_tokens: int, longest: int
) -> tuple[list[Sample], list[Sample]]:
    """Samples to calibrate on, and others to measure on, from each shards folder by its weight.

    Args:
        shards, weights: where from, and how much of each.
        calibration_tokens, measured_tokens: how much in all; the last sample of each folder may exceed it.
        longest: samples are cut to this many tokens.

    Raises:
        ConfigError: a folder holds too little.
    """
    calibration: list[Sample] = []
    measured: list[Sample] = []
    for one, weight in zip(shards, weights, strict=True):
        order = iter(select_samples([one], [1.0], None).sample[::-1].tolist())
        for tokens, chosen in ((measured_tokens, measured), (calibration_tokens, calibration)):
            wanted = tokens * weight / sum(weights)
            while wanted > 0:
                number = next(order, None)
                if number is None:
                    raise ConfigError(
                        f"the shards {str(one.folder)!r} hold {len(one.tokens)} tokens, fewer than are to be read",
                        repair="lower calibration_tokens or measured_tokens, or name other shards",
                    )
                chosen.append(Sample.of(one, number, longest))
                wanted -= len(chosen[-1].ids_T)
    return calibration, measured


@dataclass(frozen=True)
class Packed:
    """Whole samples one after another in a row, without padding: all [1, T]."""

    ids_1T: Tensor
    positions_1T: Tensor
    segments_1T: Tensor
    taught_1T: Tensor


def packed(samples: Sequence[Sample], tokens: int, device: torch.device) -> Iterator[Packed]:
    """Rows of about ``tokens`` tokens."""
    row: list[Sample] = []
    for number, sample in enumerate(samples, 1):
        row.append(sample)
        lengths = [len(one.ids_T) for one in row]
        if sum(lengths) >= tokens or number == len(samples):
            parts = (
                np.concatenate([one.ids_T for one in row]),
                np.concatenate([np.arange(length) for length in lengths]),
                np.repeat(np.arange(1, len(row) + 1), lengths),
                np.concatenate([one.taught_T for one in row]),
            )
            yield Packed(*(torch.from_numpy(part).unsqueeze(0).to(device) for part in parts))
            row = []
