"""The search for the top of a distribution."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from axk1.distill.topk import top_k, top_k_of_states


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    rows=st.integers(1, 5),
    columns=st.integers(8, 700),
    k=st.integers(1, 8),
    levels=st.integers(1, 1000),
    seed=st.integers(),
)
def test_the_same_values_as_torch_also_where_entries_are_equal(rows, columns, k, levels, seed):
    generator = torch.Generator().manual_seed(seed % 2**31)
    x = torch.randint(0, levels, (rows, columns), generator=generator).float()
    values, ids = top_k(x, k)
    torch.testing.assert_close(values, x.topk(k, 1).values)
    torch.testing.assert_close(x.gather(1, ids), values)
    assert all(len(set(row)) == k for row in ids.tolist())


def test_forbidden_columns_come_last():
    x = torch.randn(3, 400, generator=torch.Generator().manual_seed(0))
    x[:, 5:] = float("-inf")
    values, ids = top_k(x, 8)
    assert (ids[:, :5].sort(1).values == torch.arange(5)).all()
    assert (values[:, 5:] == float("-inf")).all()


def uniform(rows, draws=0):
    return 1 - torch.rand(rows, draws, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_log_probabilities_tail_and_entropy_equal_the_softmax(temperature):
    generator = torch.Generator().manual_seed(0)
    states, weight = torch.randn(700, 16, generator=generator), torch.randn(603, 16, generator=generator)
    top = top_k_of_states(states, weight, 9, uniform(700), temperature=temperature)
    log_probs = torch.log_softmax(states.double() @ weight.double().T / temperature, -1)
    values, ids = log_probs.topk(9, 1)
    assert torch.equal(top.ids_NK, ids)
    torch.testing.assert_close(top.log_probs_NK.double(), values, atol=2e-5, rtol=1e-5)
    tail = log_probs.scatter(1, ids, float("-inf")).logsumexp(1)
    torch.testing.assert_close(top.log_tail_N.double(), tail, atol=2e-5, rtol=1e-5)
    entropy = -(log_probs.exp() * log_probs).sum(1)
    torch.testing.assert_close(top.entropy_N.double(), entropy, atol=2e-5, rtol=1e-5)
    assert top.tail_ids_NS.shape == (700, 0)


def test_a_tail_far_below_rounding_is_still_exact():
    weight = torch.zeros(64, 1)
    weight[0] = 40.0
    top = top_k_of_states(torch.ones(1, 1), weight, 1, uniform(1))
    expected = torch.log(torch.tensor(63.0, dtype=torch.float64)) - 40  # 63 tokens at exp(-40) each
    torch.testing.assert_close(top.log_tail_N.double(), expected.view(1), atol=1e-4, rtol=0)
    assert top.entropy_N.item() < 1e-12


def test_tokens_are_drawn_from_the_tail_in_proportion():
    generator = torch.Generator().manual_seed(0)
    weight, repeats, draws = torch.randn(40, 4, generator=generator), 4000, 6
    states = torch.randn(1, 4, generator=generator).expand(repeats, 4).contiguous()
    top = top_k_of_states(states, weight, 5, uniform(repeats, draws))
    tail = (states[0] @ weight.T).scatter(0, top.ids_NK[0], float("-inf")).softmax(0)
    counts = torch.bincount(top.tail_ids_NS.flatten(), minlength=40).double() / (repeats * draws)
    assert (counts[top.ids_NK[0]] == 0).all()
    assert ((counts - tail).abs() < 5 * (tail / (repeats * draws)).sqrt() + 1e-6).all()
    per_row = torch.zeros(repeats, 40).scatter_add_(1, top.tail_ids_NS, torch.ones(repeats, draws))
    assert ((per_row - draws * tail).abs() < 2).all(), "strata keep the counts near their expectation"


def test_the_ends_of_the_unit_interval_draw_tokens_that_have_mass():
    weight = torch.tensor([[-1e9], [5.0], [0.0], [1.0], [-1e9]])
    top = top_k_of_states(torch.ones(2, 1), weight, 1, torch.tensor([[1e-38], [1.0]]))
    assert top.tail_ids_NS.tolist() == [[2], [3]]
