"""Kind ``sampled``: an unbiased estimate of the distribution, and a format that keeps it."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from distill_world import bigram_table, cache_config, random_samples, save_bigram_teacher, write_shards

from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.records import TokenRanks
from axk1.distill.sampled import Draws, SampledRecords
from axk1.distill.topk import draws_of_states


def dense(draws, vocabulary):
    counts = np.zeros((len(draws.ids_RS), vocabulary))
    np.add.at(counts, (np.arange(len(counts))[:, None], draws.ids_RS), draws.counts_RS)
    return counts


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_counts_are_an_unbiased_estimate_of_the_softmax(temperature):
    generator, repeats, S = torch.Generator().manual_seed(0), 6000, 7
    states, weight = torch.randn(3, 5, generator=generator), 2 * torch.randn(50, 5, generator=generator)
    exact = torch.softmax(states.double() @ weight.double().T / temperature, -1).numpy()
    uniform = 1 - torch.rand(repeats, 3, S, generator=generator)
    drawn, entropy = draws_of_states(
        states.expand(repeats, 3, 5).flatten(0, 1), weight, uniform.flatten(0, 1), temperature=temperature
    )
    counts = dense(Draws.of(drawn.numpy(), entropy.numpy()), 50).reshape(repeats, 3, 50)
    error = np.abs(counts.mean(0) / S - exact)
    assert (error < 5 * np.sqrt(exact / (repeats * S)) + 1e-6).all()
    assert (np.abs(counts - S * exact) < 2).all(), "strata keep counts near their expectation"
    expected = -(exact * np.log(exact)).sum(1)
    np.testing.assert_allclose(entropy.reshape(repeats, 3)[0], expected, atol=1e-5)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    rows=st.integers(1, 9), draws=st.integers(1, 50), vocabulary=st.integers(2, 200_000), seed=st.integers(0, 99)
)
def test_what_goes_in_comes_out(rows, draws, vocabulary, seed):
    generator = np.random.default_rng(seed)
    records = SampledRecords(draws, vocabulary, TokenRanks(generator.permutation(vocabulary)))
    drawn = (vocabulary * generator.random((rows, draws)) ** 5).astype(np.int64)
    stored = Draws.of(drawn, generator.uniform(0, 12, rows))
    head, samples = records.pack(stored, np.array([0, rows // 2, rows]))
    opened, sizes = records.open_head(head), (rows // 2, rows - rows // 2)
    numbers = [records.unpack(opened, one, size) for one, size in zip(samples, sizes, strict=True)]
    got = records.rows(np.concatenate(numbers))
    for row in range(rows):
        used = [{i: n for i, n in zip(one.ids_RS[row], one.counts_RS[row], strict=True) if n} for one in (got, stored)]
        assert used[0] == used[1] and sum(used[0].values()) == draws
    np.testing.assert_allclose(got.entropy_R, stored.entropy_R, atol=3e-3)


def test_impossible_counts_are_refused():
    records = SampledRecords(3, 10, TokenRanks(np.arange(10)))
    with pytest.raises(ValueError, match="sum to 3"):
        records.numbers(Draws(np.array([[1, 2, 0]]), np.array([[1, 1, 0]]), np.zeros(1)))
    with pytest.raises(ValueError, match="entropy"):
        records.numbers(Draws(np.array([[1, 2, 0]]), np.array([[1, 2, 0]]), np.array([np.nan])))


def test_draws_depend_on_the_sample_alone(world, tmp_path):
    """Another order, other batches, other company: the same draws."""
    build_cache(cache_config(world, output=tmp_path / "one", kind="sampled"))
    shards = Shards.open(world / "shards")
    samples = [shards.sample(i) for i in range(len(shards))]
    write_shards(tmp_path / "shards", [*samples[::-1], *random_samples(9, seed=5)])
    save_bigram_teacher(tmp_path / "teacher", bigram_table())
    build_cache(cache_config(tmp_path, output=tmp_path / "other", kind="sampled", batch_tokens=17))
    one, other = (KnowledgeCache.open(tmp_path / name) for name in ("one", "other"))
    first, second = (dense(cache.lookup(one.keys).rows, shards.vocab_size) for cache in (one, other))
    assert (np.abs(first - second).sum(1) == 0).mean() > 0.99, "a draw crosses a border only by rounding"
