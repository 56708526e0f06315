"""Packed batches: a pure function of (seed, step) in which every sample comes once per epoch."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shards_on_disk import random_samples, write_shards

from axk1.core.errors import ArtifactError, ConfigError, TokenizerMismatch
from axk1.data.packing import NO_TARGET, Batch, PackedBatches
from axk1.data.shards import Shards

LENGTHS = st.lists(st.integers(1, 16), min_size=1, max_size=60)


def shards_of(
    factory: pytest.TempPathFactory, lengths: Sequence[int], *, masked: bool = False, seed: int = 0
) -> Shards:
    samples = random_samples(lengths, seed=seed)
    masks = [[(i + seed) % 3 > 0 for i in range(len(sample))] for sample in samples] if masked else None
    return write_shards(factory.mktemp("shards") / "s", samples, masks=masks)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    lengths = np.minimum(64, np.random.default_rng(1).lognormal(3, 1, 3000).astype(int) + 2)
    return shards_of(tmp_path_factory, lengths.tolist())


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return shards_of(tmp_path_factory, [5 + i % 40 for i in range(700)], masked=True, seed=1)


def same(first: Batch, second: Batch) -> bool:
    names = ("tokens_BT", "targets_BT", "positions_BT", "segments_BT", "samples")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


def check(batch: Batch, shards: Sequence[Shards], rows: int, width: int) -> None:
    """Builds the batch again, one position at a time, from its list of samples."""
    tokens, positions = np.zeros((rows, width), np.int64), np.zeros((rows, width), np.int64)
    segments, targets = np.zeros((rows, width), np.int32), np.full((rows, width), NO_TARGET)
    within_row: Counter[int] = Counter()
    for row, column, shard, sample, length in batch.samples.tolist():
        source = shards[shard]
        ids, begin = source.sample(sample).tolist(), source.offsets[sample]
        assert length == len(ids) and column + length <= width
        assert not segments[row, column : column + length].any()
        within_row[row] += 1
        for i in range(length):
            tokens[row, column + i], positions[row, column + i] = ids[i], i
            segments[row, column + i] = within_row[row]
            if i + 1 < length and (source.loss_mask is None or source.loss_mask[begin + i + 1]):
                targets[row, column + i] = ids[i + 1]
    assert np.array_equal(batch.tokens_BT, tokens) and np.array_equal(batch.targets_BT, targets)
    assert np.array_equal(batch.positions_BT, positions) and np.array_equal(batch.segments_BT, segments)
    assert batch.tokens_BT.dtype == batch.targets_BT.dtype == batch.positions_BT.dtype == np.int64
    assert batch.segments_BT.dtype == np.int32
    assert batch.target_count == (targets != NO_TARGET).sum()


@settings(max_examples=40)
@given(lengths=LENGTHS, window=st.sampled_from([1, 7, 1 << 16]), width=st.integers(16, 40), seed=st.integers(0, 5))
def test_every_sample_once_per_epoch(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], window: int, width: int, seed: int
) -> None:
    shards = shards_of(tmp_path_factory, lengths)
    batches = PackedBatches([shards], [1.0], sequence_length=width, rows=1, seed=seed, window=window)
    (rows,) = batches.rows_per_epoch
    for epoch in range(3):
        seen = []
        for step in range(epoch * rows, (epoch + 1) * rows):
            batch = batches.batch(step)
            check(batch, [shards], 1, width)
            seen += batch.samples["sample"].tolist()
        assert sorted(seen) == list(range(len(shards)))


def test_batches_match_their_samples(big: Shards, masked: Shards) -> None:
    both = [big, masked]
    batches = PackedBatches(both, [0.7, 0.3], sequence_length=64, rows=8, seed=3, window=256)
    for step in (0, 1, 17, 400):
        check(batches.batch(step), both, 8, 64)


def test_any_step_at_once(big: Shards, masked: Shards) -> None:
    def fresh() -> PackedBatches:
        return PackedBatches([big, masked], [1, 2], sequence_length=64, rows=6, seed=9, window=128)

    in_order = fresh()
    batches = [in_order.batch(step) for step in range(400)]  # several epochs, beyond a block of the mixture
    for step in (399, 0, 250, 3, 398):
        assert same(fresh().batch(step), batches[step])
    assert all(same(in_order.batch(step), batches[step]) for step in (120, 7, 390))


@pytest.mark.parametrize("world_size", [2, 3, 4, 12])
def test_ranks_share_the_same_global_batch(big: Shards, masked: Shards, world_size: int) -> None:
    def make(**ranks: int) -> PackedBatches:
        return PackedBatches([big, masked], [1, 1], sequence_length=80, rows=12, seed=0, window=512, **ranks)

    for step in (0, 40):
        whole = make().batch(step)
        parts = [make(rank=rank, world_size=world_size).batch(step) for rank in range(world_size)]
        for name in ("tokens_BT", "targets_BT", "positions_BT", "segments_BT"):
            assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
        assert sum(len(part.samples) for part in parts) == len(whole.samples)


def test_seeds_and_epochs_differ(big: Shards) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = PackedBatches([big], [1.0], sequence_length=64, rows=1, seed=seed)
        (rows,) = batches.rows_per_epoch
        return [index for row in range(50) for index in batches.batch(epoch * rows + row).samples["sample"].tolist()]

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(one) for one in orders}) == 4
    assert abs(np.mean(orders[0]) / (len(big) / 2) - 1) < 0.2  # not in the order of the file


def test_little_padding(big: Shards) -> None:
    batches = PackedBatches([big], [1.0], sequence_length=64, rows=16, seed=0)
    filled = np.mean([(batches.batch(step).segments_BT > 0).mean() for step in range(60)])
    assert filled > 0.97
    assert abs(filled - batches.fill_rate) < 0.01


@pytest.mark.parametrize("weights", [(0.8, 0.2), (1, 0), (5, 5)])
def test_weights_are_shares_of_tokens(big: Shards, masked: Shards, weights: tuple[float, float]) -> None:
    batches = PackedBatches([big, masked], weights, sequence_length=64, rows=64, seed=0)
    tokens = np.zeros(2)
    for step in range(128):  # two blocks of the mixture
        samples = batches.batch(step).samples
        tokens += np.bincount(samples["shard"], weights=samples["length"], minlength=2)
    assert tokens / tokens.sum() == pytest.approx(np.array(weights) / sum(weights), abs=0.01)


def test_a_part_of_the_samples(big: Shards) -> None:
    """Offsets and lengths may be narrowed; distillation does so to the samples that a cache holds."""
    narrowed = Shards.open(big.folder)
    narrowed.offsets, narrowed.lengths = big.offsets[::3], big.lengths[::3]
    batches = PackedBatches([narrowed], [1.0], sequence_length=64, rows=1, seed=0)
    seen = [batches.batch(step).samples["sample"] for step in range(batches.rows_per_epoch[0])]
    assert sorted(np.concatenate(seen)) == list(range(len(big.offsets[::3])))
    check(batches.batch(0), [narrowed], 1, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 63}, "sequence_length = 63 is not allowed; allowed: at least 64, the longest sample"),
        ({"rows": 7, "world_size": 2}, "rows = 7 is not allowed; allowed: a multiple of the 2 ranks"),
        ({"rows": 0}, "rows = 0"),
        ({"rank": 2, "world_size": 2}, "rank = 2"),
        ({"weights": [1.0, 1.0]}, "weights = .* one for each of the 1 shards"),
        ({"weights": [0.0]}, "weights = .* not all 0"),
        ({"shards": [], "weights": []}, "shards = "),
    ],
)
def test_settings_that_do_not_fit(big: Shards, options: dict, message: str) -> None:
    values = {"shards": [big], "weights": [1.0], "sequence_length": 64, "rows": 8, "seed": 0, **options}
    with pytest.raises(ConfigError, match=message):
        PackedBatches(values.pop("shards"), values.pop("weights"), **values)


def test_shards_that_do_not_fit(big: Shards, tmp_path: Path) -> None:
    other = write_shards(tmp_path / "other", [[1, 2]], tokenizer="u" * 64)
    larger = write_shards(tmp_path / "larger", [[1, 2]], vocab_size=1001)
    empty = write_shards(tmp_path / "empty", [])
    wrong = write_shards(tmp_path / "wrong", [[1, 1000]])
    for shards, error, message in (
        ([big, other], TokenizerMismatch, "were made with the tokenizer"),
        ([big, larger], TokenizerMismatch, "have a vocabulary of 1001"),
        ([big, empty], ArtifactError, "have no samples"),
    ):
        with pytest.raises(error, match=message):
            PackedBatches(shards, [1.0] * 2, sequence_length=64, rows=8, seed=0)
    batches = PackedBatches([wrong], [1.0], sequence_length=64, rows=1, seed=0)
    with pytest.raises(ArtifactError, match="hold token id 1000, but their vocabulary has 1000"):
        batches.batch(0)
    with pytest.raises(ConfigError, match="step = -1"):
        batches.batch(-1)
