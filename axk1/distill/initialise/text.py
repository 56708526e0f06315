"""Which samples of the shards decide what of the teacher stays, and on which others the student is measured.

Samples are taken by their keys, hashes of their content, from the end: a knowledge cache of a part of the shards takes
them from the beginning, so a student that learns from it is measured on text that it has not seen. What is measured
on comes first, so that it stays the same whatever the calibration takes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from axk1.core.errors import ConfigError
from axk1.data.shards import Shards
from axk1.distill.selection import select_samples


def choose_text(
    shards: Sequence[Shards], weights: Sequence[float], *, calibration_tokens: int, measured_tokens: int, longest: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Samples to calibrate on, and others to measure on, from each shards folder by its weight.

    Args:
        shards, weights: where from, and how much of each.
        calibration_tokens, measured_tokens: how much in all; the last sample of each folder may exceed it.
        longest: samples are cut to this many tokens.

    Raises:
        ConfigError: a folder holds too little.
    """
    calibration: list[np.ndarray] = []
    measured: list[np.ndarray] = []
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
                sample = np.asarray(one.sample(number))[:longest].astype(np.int64)
                chosen.append(sample)
                wanted -= len(sample)
    return calibration, measured


def packed(samples: Sequence[np.ndarray], tokens: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of whole samples in one row without padding: ids, positions and segments, each [1, T], T about ``tokens``."""
    batch: list[np.ndarray] = []
    for number, sample in enumerate(samples, 1):
        batch.append(sample)
        if sum(map(len, batch)) >= tokens or number == len(samples):
            ids = np.concatenate(batch)
            positions = np.concatenate([np.arange(len(one)) for one in batch])
            segments = np.repeat(np.arange(1, len(batch) + 1), [len(one) for one in batch])
            rows = (torch.from_numpy(part).unsqueeze(0).to(device) for part in (ids, positions, segments))
            yield tuple(rows)  # type: ignore[misc]
            batch = []
