"""The fused linear + cross-entropy against plain autograd."""

import pytest
import torch
import torch.nn.functional as F

from axk1.train.loss import default_chunk, fused_linear, fused_linear_cross_entropy


def problem(n: int = 37, hidden: int = 12, vocabulary: int = 53, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(n, hidden, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(vocabulary, hidden, generator=generator, dtype=dtype).requires_grad_()
    targets = torch.randint(0, vocabulary, (n,), generator=generator)
    targets[::5] = -100
    return states, weight, targets


@pytest.mark.parametrize("chunk", [1, 8, 64])
def test_loss_and_gradients_equal_autograd(chunk):
    states, weight, targets = problem()
    reference = F.cross_entropy(states @ weight.T, targets, reduction="sum")
    expected = torch.autograd.grad(reference * 0.25, (states, weight))
    loss, count = fused_linear_cross_entropy(states, weight, targets, chunk=chunk)
    actual = torch.autograd.grad(loss * 0.25, (states, weight))
    assert count == int((targets != -100).sum())
    torch.testing.assert_close(loss, reference)
    torch.testing.assert_close(actual, expected)
    assert (actual[0][::5] == 0).all()


def test_gradcheck():
    states, weight, targets = problem(n=7, hidden=3, vocabulary=5)
    assert torch.autograd.gradcheck(
        lambda s, w: fused_linear_cross_entropy(s, w, targets, chunk=3)[0], (states, weight)
    )


def test_a_second_backward_gives_the_same():
    states, weight, targets = problem()
    loss, _ = fused_linear_cross_entropy(states, weight, targets, chunk=8)
    first = torch.autograd.grad(loss / 3, (states, weight), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss / 3, (states, weight), retain_graph=True), first)
    (loss / 3).backward()
    torch.testing.assert_close(weight.grad, first[1])


def test_another_ignore_index_and_a_batch_without_targets():
    states, weight, targets = problem()
    loss, count = fused_linear_cross_entropy(states, weight, torch.full_like(targets, 3), ignore_index=3)
    assert (loss.item(), count) == (0.0, 0)
    loss.backward()
    assert not states.grad.any() and not weight.grad.any()


def test_only_what_is_asked_for_gets_a_gradient():
    states, weight, targets = problem()
    loss, _ = fused_linear_cross_entropy(states.detach(), weight, targets)
    assert torch.autograd.grad(loss, weight)[0].any()
    loss, _ = fused_linear_cross_entropy(states, weight.detach(), targets)
    assert torch.autograd.grad(loss, states)[0].any()


def test_no_gradient_work_without_grad():
    states, weight, targets = problem()
    asked = []

    def chunk_loss(logits_CV, rows, *, with_gradient):
        asked.append(with_gradient)
        return logits_CV.sum().view(1)

    with torch.no_grad():
        total, _ = fused_linear(states, weight, chunk_loss, chunk=16)
        plain, _ = fused_linear_cross_entropy(states, weight, targets)
    assert asked == [False, False, False] and not total.requires_grad
    torch.testing.assert_close(plain, F.cross_entropy(states @ weight.T, targets, reduction="sum"))


def test_several_sums_come_back_detached():
    states, weight, _ = problem()

    def chunk_loss(logits_CV, rows, *, with_gradient):
        sums = torch.stack((logits_CV.sum(), torch.tensor(float(rows.stop - rows.start))))
        logits_CV.fill_(1.0)
        return sums

    total, sums = fused_linear(states, weight, chunk_loss, sums=2, chunk=10)
    assert not sums.requires_grad and float(sums[1]) == len(states)
    torch.testing.assert_close(torch.autograd.grad(total, weight)[0], states.sum(0).expand_as(weight))


def test_extreme_logits_stay_finite():
    states, weight, targets = problem(dtype=torch.float32)
    loss, _ = fused_linear_cross_entropy(states * 1e4, weight, targets)
    reference = F.cross_entropy(states * 1e4 @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(loss, reference)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, (states, weight)))


def test_bf16_autocast_stays_close_to_fp32():
    states, weight, targets = problem(n=200, hidden=64, vocabulary=300, dtype=torch.float32)
    scaled = (states / 8).detach().requires_grad_()
    exact, _ = fused_linear_cross_entropy(scaled, weight, targets)
    expected = torch.autograd.grad(exact, (scaled, weight))
    with torch.autocast("cpu", torch.bfloat16):
        loss, count = fused_linear_cross_entropy(scaled, weight, targets, chunk=32)
    actual = torch.autograd.grad(loss, (scaled, weight))
    assert loss.dtype == torch.float32 and abs(loss.item() - exact.item()) / count < 0.01
    for got, want in zip(actual, expected, strict=True):
        assert got.dtype == torch.float32
        assert float((got - want).norm() / want.norm()) < 0.02


def test_the_loss_does_not_depend_on_how_tokens_are_grouped():
    states, weight, targets = problem(n=64)
    whole, count = fused_linear_cross_entropy(states, weight, targets)
    parts = [fused_linear_cross_entropy(states[i : i + 8], weight, targets[i : i + 8]) for i in range(0, 64, 8)]
    assert count == sum(n for _, n in parts)
    torch.testing.assert_close(whole, sum(loss for loss, _ in parts))
    expected = torch.autograd.grad(whole, weight)[0]
    torch.testing.assert_close(torch.autograd.grad(sum(loss for loss, _ in parts), weight)[0], expected)


def test_the_chunk_shrinks_as_the_vocabulary_grows():
    assert default_chunk(8192, "cpu") == 512
    assert default_chunk(163_840, "cpu") == 48
    assert default_chunk(163_840, "cuda") > default_chunk(163_840, "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees_with_the_cpu():
    states, weight, targets = problem(n=300, hidden=64, vocabulary=500, dtype=torch.float32)
    expected = torch.autograd.grad(fused_linear_cross_entropy(states, weight, targets)[0], (states, weight))
    on_gpu = [x.detach().cuda().requires_grad_(x.requires_grad) for x in (states, weight)]
    actual = torch.autograd.grad(fused_linear_cross_entropy(*on_gpu, targets.cuda())[0], on_gpu)
    for got, want in zip(actual, expected, strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-3, atol=1e-3)
