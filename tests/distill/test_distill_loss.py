"""Forward KL to a sparse target with a tail, against autograd in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from axk1.distill.divergence import NAMES, Divergence
from axk1.distill.loss import fused_linear_distillation
from axk1.distill.measure import measure_top_k_
from axk1.distill.targets import TopKTargets

MIX = {"kl_weight": 0.7, "ce_weight": 0.4}


def student(n=23, hidden=11, vocabulary=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(n, hidden, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(vocabulary, hidden, generator=generator, dtype=torch.float64).requires_grad_()
    targets = torch.randint(0, vocabulary, (n,), generator=generator)
    targets[::4] = -100
    return states, weight, targets


def teacher_log_probs(n=23, vocabulary=40, seed=1, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(scale * torch.randn(n, vocabulary, generator=generator, dtype=torch.float64), -1)


def top_k(log_probs, k, draws=0, seed=2):
    """What a cache knows of these distributions: their top, their tail's mass, and tokens drawn from the tail."""
    values, ids = log_probs.topk(k, -1)
    rest = log_probs.scatter(1, ids, float("-inf"))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(rest.exp(), max(draws, 1), replacement=True, generator=generator)[:, :draws]
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    return TopKTargets(ids, values, rest.logsumexp(-1), drawn, entropy, log_probs.shape[1])


def bucket(ids, log_probs, log_tail, vocab_size=40):
    """A teacher that says nothing of its tail but the mass."""
    nothing = torch.empty(len(ids), 0, dtype=torch.long)
    return TopKTargets(ids, log_probs, log_tail, nothing, torch.full_like(log_tail, float("nan")), vocab_size)


def reference(states, weight, targets, teacher, *, kl_weight, ce_weight, temperature=1.0):
    """The same loss written plainly, over dense tensors, for autograd to differentiate."""
    keep = targets != -100
    logits, teacher = (states @ weight.T)[keep], teacher[keep.nonzero().squeeze(1)]
    log_q = torch.log_softmax(logits / temperature, -1)
    ce = F.cross_entropy(logits, targets[keep], reduction="sum")
    draws = teacher.tail_ids_NS.shape[1]
    if draws:
        soft = torch.zeros_like(log_q).scatter_(1, teacher.ids_NK, teacher.log_probs_NK.exp())
        soft.scatter_add_(1, teacher.tail_ids_NS, (teacher.log_tail_N.exp() / draws).unsqueeze(1).expand(-1, draws))
        kl = F.cross_entropy(logits / temperature, soft, reduction="sum") - teacher.entropy_N.sum()
        return kl_weight * temperature**2 * kl + ce_weight * ce, kl, ce
    known = torch.zeros_like(log_q, dtype=torch.bool).scatter_(1, teacher.ids_NK, True)
    known[:, teacher.vocab_size :] = True  # padding is not in the tail
    log_q_tail = log_q.masked_fill(known, float("-inf")).logsumexp(-1, keepdim=True)
    coarse_q = torch.cat((log_q.gather(1, teacher.ids_NK), log_q_tail), 1)
    coarse_p = torch.cat((teacher.log_probs_NK, teacher.log_tail_N.unsqueeze(1)), 1)
    kl = F.kl_div(coarse_q, coarse_p, reduction="sum", log_target=True)
    return kl_weight * temperature**2 * kl + ce_weight * ce, kl, ce


def assert_equals_reference(states, weight, targets, teacher, chunk=None, **mix):
    expected, kl, ce = reference(states, weight, targets, teacher, **mix)
    actual = fused_linear_distillation(states, weight, targets, teacher, chunk=chunk, **mix)
    torch.testing.assert_close(actual.total, expected)
    torch.testing.assert_close(actual.divergence, kl)
    torch.testing.assert_close(actual.cross_entropy, ce)
    assert actual.targets == int((targets != -100).sum())
    wanted = torch.autograd.grad(expected, (states, weight))
    torch.testing.assert_close(torch.autograd.grad(actual.total, (states, weight)), wanted)


@pytest.mark.parametrize("chunk", [1, 5, 64])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [(0.7, 0.4), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("draws", [0, 9])
def test_loss_and_gradients_equal_autograd(chunk, temperature, weights, draws):
    log_probs = torch.log_softmax(teacher_log_probs() / temperature, -1)
    mix = {"kl_weight": weights[0], "ce_weight": weights[1], "temperature": temperature}
    assert_equals_reference(*student(), top_k(log_probs, 6, draws), chunk=chunk, **mix)


@pytest.mark.parametrize("draws", [0, 3])
def test_gradcheck(draws):
    states, weight, targets = student(n=5, hidden=3, vocabulary=7)
    teacher = top_k(teacher_log_probs(n=5, vocabulary=7), 2, draws)

    def total(states, weight):
        return fused_linear_distillation(states, weight, targets, teacher, chunk=2, **MIX).total

    assert torch.autograd.gradcheck(total, (states, weight))


def test_all_tokens_stored_is_the_full_divergence():
    states, weight, targets = student()
    log_probs = teacher_log_probs()
    loss = fused_linear_distillation(states, weight, targets, top_k(log_probs, 39), kl_weight=1.0, ce_weight=0.0)
    keep = targets != -100
    log_q = torch.log_softmax(states @ weight.T, -1)
    torch.testing.assert_close(loss.total, F.kl_div(log_q[keep], log_probs[keep], reduction="sum", log_target=True))


def test_drawn_tokens_teach_the_full_divergence_in_expectation():
    """With the identity as states the weight's gradient is that of the logits: q - p, on the tail as well."""
    n, vocabulary, repeats = 6, 30, 400
    logits = torch.randn(n, vocabulary, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    log_probs = teacher_log_probs(n, vocabulary, scale=0.5)
    full = F.kl_div(torch.log_softmax(logits, -1), log_probs, reduction="sum", log_target=True)
    gradients, losses = [], []
    for seed in range(repeats):
        weight = logits.T.clone().requires_grad_()
        states, targets = torch.eye(n, dtype=torch.float64), torch.zeros(n, dtype=torch.long)
        teacher = top_k(log_probs, 3, draws=8, seed=seed)
        loss = fused_linear_distillation(states, weight, targets, teacher, kl_weight=1.0, ce_weight=0.0)
        losses.append(loss.total.item())
        gradients.append(torch.autograd.grad(loss.total, weight)[0].T)
    gradients, losses = torch.stack(gradients), torch.tensor(losses)
    error = gradients.std(0) / repeats**0.5 + 1e-9
    assert ((gradients.mean(0) - (logits.softmax(-1) - log_probs.exp())).abs() < 5 * error).all()
    assert abs(losses.mean() - full) < 5 * losses.std() / repeats**0.5


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient():
    states, weight, targets = student()
    log_probs = torch.log_softmax(states @ weight.T, -1).detach()
    loss = fused_linear_distillation(states, weight, targets, top_k(log_probs, 5), kl_weight=1.0, ce_weight=0.0)
    assert abs(loss.total.item()) < 1e-10
    assert all(g.abs().max() < 1e-10 for g in torch.autograd.grad(loss.total, (states, weight)))


def test_the_tail_is_taught_and_the_top_is_not_renormalised():
    # With the identity as states, the weight's gradient is the transposed gradient of the logits.
    n, vocabulary = 9, 30
    logits = torch.randn(n, vocabulary, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weight = logits.T.clone().requires_grad_()
    teacher = top_k(teacher_log_probs(n, vocabulary, scale=1.0), 4)
    loss = fused_linear_distillation(
        torch.eye(n, dtype=torch.float64), weight, torch.zeros(n, dtype=torch.long), teacher, kl_weight=1.0, ce_weight=0
    )
    gradient = torch.autograd.grad(loss.total, weight)[0].T
    q = logits.softmax(-1)
    tail = torch.ones_like(q, dtype=torch.bool).scatter_(1, teacher.ids_NK, False)
    tail_mass = q.masked_fill(~tail, 0).sum(-1, keepdim=True)
    expected = q * (1 - teacher.log_tail_N.exp().unsqueeze(1) / tail_mass)
    assert (gradient[tail].abs() > 1e-6).all()
    torch.testing.assert_close(gradient[tail], expected[tail])
    renormalised = (teacher.log_probs_NK - teacher.log_probs_NK.logsumexp(1, keepdim=True)).exp()
    on_top = gradient.gather(1, teacher.ids_NK)
    torch.testing.assert_close(on_top, q.gather(1, teacher.ids_NK) - teacher.log_probs_NK.exp())
    assert (on_top - (q.gather(1, teacher.ids_NK) - renormalised)).abs().min() > 1e-4


@pytest.mark.parametrize("draws", [0, 5])
def test_a_padded_student_vocabulary(draws):
    states, weight, targets = student(vocabulary=48)
    teacher = top_k(teacher_log_probs(vocabulary=40), 6, draws)
    assert_equals_reference(states, weight, targets.clamp(max=39), teacher, chunk=7, **MIX)
    loss = fused_linear_distillation(states, weight, targets.clamp(max=39), teacher, kl_weight=1.0, ce_weight=0.0)
    logits = (states @ weight.T).detach()
    pushed = torch.autograd.grad(loss.total, weight)[0][40:]
    keep = targets != -100
    torch.testing.assert_close(pushed, logits.softmax(-1)[keep][:, 40:].T @ states.detach()[keep])


@pytest.mark.parametrize("top", [-1e-9, -40.0])
def test_tails_of_almost_nothing_and_almost_everything(top):
    states, weight, targets = student()
    first = torch.full((23, 1), top, dtype=torch.float64)
    log_probs = torch.cat((first, first - 30), 1)
    ids = torch.arange(2).expand(23, 2).contiguous()
    tail = torch.log(-torch.expm1(log_probs.logsumexp(1)))
    assert_equals_reference(states, weight, targets, bucket(ids, log_probs, tail), **MIX)


def test_no_tail_at_all():
    states, weight, targets = student()
    ids = torch.arange(3).expand(23, 3).contiguous()
    log_probs = torch.full((23, 3), -math.log(3), dtype=torch.float64)
    none = torch.full((23,), float("-inf"), dtype=torch.float64)
    loss = fused_linear_distillation(states, weight, targets, bucket(ids, log_probs, none), **MIX)
    expected = reference(states, weight, targets, bucket(ids, log_probs, none.clamp(min=-300)), **MIX)[0]
    torch.testing.assert_close(loss.total, expected)
    gradients = torch.autograd.grad(expected, (states, weight))
    torch.testing.assert_close(torch.autograd.grad(loss.total, (states, weight)), gradients)


@pytest.mark.parametrize("scale", [1e2, 1e4])
@pytest.mark.parametrize("draws", [0, 5])
def test_a_very_certain_student_in_fp32(scale, draws):
    states, weight, targets = (x.detach() for x in student())
    states, weight = (states * scale).float().requires_grad_(), weight.float().requires_grad_()
    teacher = top_k(teacher_log_probs(), 6, draws)
    loss = fused_linear_distillation(states, weight, targets, teacher, **MIX)
    wide = [x.detach().double().requires_grad_() for x in (states, weight)]
    expected = reference(*wide, targets, teacher, **MIX)[0]
    torch.testing.assert_close(loss.total.double(), expected, rtol=1e-4, atol=0)
    for got, want in zip(
        torch.autograd.grad(loss.total, (states, weight)), torch.autograd.grad(expected, wide), strict=True
    ):
        assert got.isfinite().all()
        assert (got - want).norm() < 2e-4 * want.norm()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("allowed", [15, 3])
def test_forbidden_tokens_give_no_nan(allowed, name):
    """A student whose logits are -inf on part of the tail, or on all of it."""
    logits = torch.randn(4, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits[:, allowed:] = float("-inf")
    ids = torch.tensor([[0, 1, 19]] * 4)
    log_probs = torch.tensor([[-0.5, -1.5, float("-inf")]] * 4, dtype=torch.float64)
    teacher = bucket(ids, log_probs, torch.log1p(-log_probs.exp().sum(1)), 20)
    kl, lse = measure_top_k_(logits, teacher, Divergence(name), 1.0, 0.0, with_gradient=True)
    assert kl.isfinite() and lse.isfinite().all() and logits.isfinite().all()
    assert (logits[:, allowed:] == 0).all()
    torch.testing.assert_close(logits.sum(1), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("draws", [0, 5])
def test_64_rows_in_one_go_equal_8_times_8(draws):
    states, weight, targets = student(n=64)
    teacher = top_k(teacher_log_probs(n=64), 6, draws)
    whole = fused_linear_distillation(states, weight, targets, teacher, **MIX)
    parts = [
        fused_linear_distillation(states[i : i + 8], weight, targets[i : i + 8], teacher[i : i + 8], **MIX)
        for i in range(0, 64, 8)
    ]
    assert whole.targets == sum(part.targets for part in parts)
    torch.testing.assert_close(whole.total, sum(part.total for part in parts))
    expected = torch.autograd.grad(whole.total, weight)[0]
    torch.testing.assert_close(torch.autograd.grad(sum(part.total for part in parts), weight)[0], expected)


@pytest.mark.parametrize("draws", [0, 16])
def test_bf16_autocast_stays_close_to_fp32(draws):
    states, weight, targets = student(n=200, hidden=64, vocabulary=300)
    states, weight = (x.detach().float().div(3).requires_grad_() for x in (states, weight))
    teacher = top_k(teacher_log_probs(n=200, vocabulary=300).float(), 16, draws)
    exact = fused_linear_distillation(states, weight, targets, teacher, **MIX)
    with torch.autocast("cpu", torch.bfloat16):
        loss = fused_linear_distillation(states, weight, targets, teacher, **MIX)
    assert abs(loss.divergence.item() - exact.divergence.item()) < 0.01 * exact.divergence.item()
    wanted = torch.autograd.grad(exact.total, weight)[0]
    assert (torch.autograd.grad(loss.total, weight)[0] - wanted).norm() < 0.02 * wanted.norm()
