"""Log-probabilities of tokens and the distance of spans, against autograd in float64."""

import pytest
import torch

from axk1.distill.across.likelihood import span_divergence, token_log_probs

N, H, V = 23, 7, 31


def parts(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(N, H, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(V, H, generator=generator, dtype=dtype).requires_grad_()
    return states, weight, torch.randint(V, (N,), generator=generator)


@pytest.mark.parametrize("chunk", [4, 100])
def test_log_probs_and_gradients_equal_a_plain_softmax(chunk):
    states, weight, ids = parts()
    scale = torch.randn(N, dtype=torch.float64)
    found = token_log_probs(states, weight, ids, chunk=chunk)
    gradients = torch.autograd.grad((found * scale).sum(), (states, weight))
    plain = torch.log_softmax(states @ weight.T, 1).gather(1, ids[:, None]).squeeze(1)
    expected = torch.autograd.grad((plain * scale).sum(), (states, weight))
    torch.testing.assert_close(found, plain)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_no_tokens_are_no_log_probs():
    states, weight, ids = parts()
    assert token_log_probs(states[:0], weight, ids[:0]).shape == (0,)


@pytest.mark.parametrize("temperature", [1.0, 5.0, 100.0])
def test_the_divergence_is_that_of_two_coins(temperature):
    log_p, log_q = -torch.rand(50, dtype=torch.float64) * 9 - 0.01, -torch.rand(50, dtype=torch.float64) * 9 - 0.01
    log_q.requires_grad_()
    found = span_divergence(log_p, log_q, temperature)
    p, q = (log_p / temperature).exp(), (log_q / temperature).exp()
    coins = torch.distributions
    plain = temperature * coins.kl_divergence(coins.Bernoulli(probs=p), coins.Bernoulli(probs=q)).sum()
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*(torch.autograd.grad(one, log_q)[0] for one in (found, plain)), rtol=1e-4, atol=1e-5)


def test_it_is_zero_where_both_agree_and_tends_to_its_limit():
    log_p, log_q = torch.tensor([-0.5, -3.0, -0.0]), torch.tensor([-2.0, -1.0, -0.5])
    assert span_divergence(log_p, log_p, 1.0).abs() < 1e-5
    a, b = -log_p[:2].double(), -log_q[:2].double()
    limit = (a * (a / b).log() - a + b).sum()
    torch.testing.assert_close(span_divergence(-a, -b, 1e4), limit, rtol=1e-3, atol=1e-3)


def test_certain_spans_give_finite_gradients():
    log_q = torch.tensor([0.0, -1e-9, -200.0], requires_grad=True)
    span_divergence(torch.tensor([-3.0, 0.0, 0.0]), log_q, 1.0).backward()
    assert torch.isfinite(log_q.grad).all()
