"""Writes small shards artifacts directly, without a tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from axk1.core import artifact
from axk1.data.sample_table import Origin, Piece, SampleTable
from axk1.data.shards import Shards, token_dtype


def write_shards(
    folder: Path,
    samples: Sequence[Sequence[int]],
    *,
    masks: Sequence[Sequence[bool]] | None = None,
    vocab_size: int = 1000,
    tokenizer: str = "t" * 64,
) -> Shards:
    """Shards with these samples, in some order."""
    with (
        artifact.building(folder) as path,
        SampleTable(path, token_dtype(vocab_size), has_mask=masks is not None) as table,
    ):
        for number, ids in enumerate(samples):
            mask = list(masks[number]) if masks is not None else None
            table.append(Origin(f"d{number}", "source", "CC0", "ko"), 0, Piece(list(ids), mask), seed=0)
        counts = table.write(path, table.choose(None, {}))
        counts["vocab_size"] = vocab_size
        artifact.write_manifest(path, kind="shards", inputs={"tokenizer": tokenizer}, counts=counts)
    return Shards.open(folder)


def random_samples(lengths: Sequence[int], *, seed: int = 0, vocab_size: int = 1000) -> list[list[int]]:
    """Samples of these lengths whose tokens are random."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab_size, length).tolist() for length in lengths]
