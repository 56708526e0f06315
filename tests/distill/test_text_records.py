"""Kind ``topk_text``: as ``topk``, and the probability of the text's own token."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from distill_world import bigram_table, cache_config

from axk1.data.shards import Shards
from axk1.distill.cache import KnowledgeCache
from axk1.distill.capture import build_cache
from axk1.distill.records import Distributions, TokenRanks
from axk1.distill.text_records import TextDistributions, TextTopKRecords
from axk1.distill.topk import log_probs_of, top_k_of_states
from axk1.distill.verifying import VerifyConfig, verify_cache


@pytest.mark.parametrize("with_matrix", [True, False])
def test_log_probs_of_given_tokens_are_those_of_a_log_softmax(with_matrix):
    generator = torch.Generator().manual_seed(0)
    states, weight = torch.randn(20, 8, generator=generator), 3 * torch.randn(60, 8, generator=generator)
    ids = torch.randint(60, (20,), generator=generator)
    given = (states, weight) if with_matrix else (states @ weight.T, None)
    top = top_k_of_states(*given, 5, torch.zeros(20, 0), temperature=1.5)
    found = log_probs_of(ids, *given, top, 1.5)
    exact = torch.log_softmax(states.double() @ weight.double().T / 1.5, 1).gather(1, ids[:, None]).squeeze(1)
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)


def test_a_cache_says_how_probable_the_text_is(world, tmp_path):
    build_cache(cache_config(world, kind="topk_text", output=tmp_path / "text"))
    cache, shards = KnowledgeCache.open(tmp_path / "text"), Shards.open(world / "shards")
    numbers = np.flatnonzero(shards.lengths >= 2)
    found = cache.lookup(shards.keys[numbers])
    samples = [shards.sample(number).astype(np.int64) for number in numbers]
    before, text = (np.concatenate([s[part] for s in samples]) for part in (slice(None, -1), slice(1, None)))
    exact = bigram_table()[torch.from_numpy(before), torch.from_numpy(text)].numpy()
    np.testing.assert_allclose(found.rows.of_text(text), exact, atol=0.56 / 28 + 1e-3)
    among = (found.rows.ids_RK == text[:, None]).any(1)
    assert 0 < among.sum() < len(among)
    plain = KnowledgeCache.open(world / "knowledge").lookup(shards.keys[numbers]).rows
    for name, value in vars(plain).items():
        np.testing.assert_array_equal(value, getattr(found.rows, name))
    assert verify_cache(VerifyConfig(cache=tmp_path / "text", teacher=world / "teacher"))["max error"] < 0.021


@hypothesis.given(st.lists(st.floats(-80, -0.75, width=32) | st.just(0.0), min_size=1, max_size=30))
def test_what_is_stored_comes_back(values):
    text = np.array(values, np.float32)
    R = len(text)
    top = np.log(np.tile(np.array([0.5, 0.2], np.float32), (R, 1)))
    plain = Distributions(np.tile([3, 1], (R, 1)), top, np.log(np.full(R, 0.3)), np.zeros((R, 0), int), np.ones(R))
    records = TextTopKRecords(2, 0, 10, TokenRanks(np.arange(10)))
    head, (content,) = records.pack(TextDistributions(**vars(plain), text_log_probs_R=text), np.array([0, R]))
    rows = records.rows(records.unpack(records.open_head(head), content, R))
    np.testing.assert_allclose(rows.text_log_probs_R, np.maximum(text, -64), atol=0.5 / 28 + 1e-4)
    np.testing.assert_allclose(rows.log_probs_RK, top, atol=0.02)


def test_what_is_no_log_probability_is_refused():
    plain = Distributions(np.array([[1]]), np.array([[-0.5]]), np.array([-1.0]), np.zeros((1, 0), int), np.ones(1))
    records = TextTopKRecords(1, 0, 10, TokenRanks(np.arange(10)))
    for wrong in (np.nan, 0.5):
        with pytest.raises(ValueError, match="text's token"):
            records.pack(TextDistributions(**vars(plain), text_log_probs_R=np.array([wrong])), np.array([0, 1]))
