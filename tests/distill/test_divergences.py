"""Every divergence against every kind of target, compared with a plain loss in float64 that autograd differentiates."""

import pytest
import torch

from axk1.core.errors import ConfigError
from axk1.distill.divergence import NAMES, Divergence
from axk1.distill.loss import fused_linear_distillation
from axk1.distill.targets import HiddenTargets, SampledTargets, TopKTargets

N, H, J, V = 19, 7, 9, 40
CHOICES = {
    "forward_kl": Divergence(),
    "reverse_kl": Divergence("reverse_kl"),
    "jsd 0.5": Divergence("jsd"),
    "jsd 0.2": Divergence("jsd", beta=0.2),
    "skew_kl": Divergence("skew_kl", skew=0.3),
    "total_variation": Divergence("total_variation"),
}
SIZES = {"equal": (V, V), "padded student": (V + 8, V), "padded teacher": (V, V + 8)}
"""Rows of the output matrix of student and teacher."""
every_divergence = pytest.mark.parametrize("divergence", CHOICES.values(), ids=CHOICES)


def problem(student_rows=V, teacher_rows=V, dtype=torch.float64, n=N, seed=0):
    """The student's states, weight and targets, and the teacher's states and weight."""
    generator = torch.Generator().manual_seed(seed)
    sizes = ((n, H), (student_rows, H), (n, J), (teacher_rows, J))
    states, weight, *teacher = (0.7 * torch.randn(size, generator=generator, dtype=dtype) for size in sizes)
    targets = torch.randint(0, V, (n,), generator=generator)
    targets[::4] = -100
    return states.requires_grad_(), weight.requires_grad_(), targets, HiddenTargets(*teacher)


def log_probs_of(hidden, temperature):
    return torch.log_softmax(hidden.states_NJ @ hidden.weight_VJ.T / temperature, 1)


def top_k_of(hidden, temperature, k=6, draws=0):
    log_probs = log_probs_of(hidden, temperature)
    values, ids = log_probs.topk(k, 1)
    rest = log_probs.scatter(1, ids, float("-inf"))
    drawn = torch.multinomial(rest.exp(), max(draws, 1), replacement=True, generator=torch.Generator().manual_seed(3))
    entropy = -(log_probs.exp() * log_probs).sum(1)
    return TopKTargets(ids, values, rest.logsumexp(1), drawn[:, :draws], entropy, log_probs.shape[1])


def plain(divergence, p, q):
    """The divergence of two distributions [M], from its definition."""

    def kl(a, b):
        there = a > 0
        return (a[there] * (a[there] / b[there]).log()).sum()

    match divergence.kind:
        case "forward_kl":
            return kl(p, q)
        case "reverse_kl":
            return kl(q, p)
        case "jsd":
            m = divergence.beta * p + (1 - divergence.beta) * q
            return divergence.beta * kl(p, m) + (1 - divergence.beta) * kl(q, m)
        case "skew_kl":
            return kl(p, divergence.skew * p + (1 - divergence.skew) * q)
    return (p - q).abs().sum() / 2


def student_of(divergence, logits, vocab):
    """The student's distribution; for the reverse KL, within the teacher's vocabulary."""
    return torch.softmax(logits[:vocab] if divergence.kind == "reverse_kl" else logits, 0)


def distance_to_hidden(divergence, logits, teacher_logits):
    vocab = min(len(logits), len(teacher_logits))
    q = student_of(divergence, logits, vocab)
    p = torch.zeros_like(q)
    p[:vocab] = torch.softmax(teacher_logits[:vocab], 0)
    return plain(divergence, p, q)


def distance_to_top_k(divergence, logits, row, teacher_vocab):
    """``row`` is (ids, log_probs, log_tail). Entries that the student does not have are left out."""
    vocab = min(len(logits), teacher_vocab)
    q = student_of(divergence, logits, vocab)
    ids = row[0][row[0] < vocab]
    p = torch.cat((row[1][row[0] < vocab].exp(), row[2].exp().view(1), torch.zeros(1, dtype=q.dtype)))
    tail = torch.ones(vocab, dtype=torch.bool)
    tail[ids] = False
    coarse = torch.cat((q[ids], q[:vocab][tail].sum().view(1), q[vocab:].sum().view(1)))
    return plain(divergence, p / p.sum(), coarse)


def distance_to_soft(logits, ids, weights, entropy):
    return (weights * -torch.log_softmax(logits, 0)[ids]).sum() - entropy


def total_of(states, weight, targets, distance, *, kl_weight, ce_weight, temperature=1.0, **_):
    """The mixed loss; ``distance(logits at the temperature, row)`` is the divergence of one position."""
    total = 0.0
    for row in range(len(targets)):
        if targets[row] != -100:
            logits = weight @ states[row]
            total = total + kl_weight * temperature**2 * distance(logits / temperature, row)
            total = total - ce_weight * torch.log_softmax(logits, 0)[targets[row]]
    return total


def assert_equals(states, weight, targets, teacher, distance, **options):
    expected = total_of(states, weight, targets, distance, **options)
    loss = fused_linear_distillation(states, weight, targets, teacher, **options)
    torch.testing.assert_close(loss.total, expected)
    wanted = torch.autograd.grad(expected, (states, weight))
    torch.testing.assert_close(torch.autograd.grad(loss.total, (states, weight)), wanted)


@every_divergence
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("ce_weight", [0.0, 0.4])
class TestGradients:
    def test_of_a_whole_teacher(self, divergence, size, temperature, ce_weight):
        states, weight, targets, hidden = problem(*SIZES[size])
        logits = hidden.states_NJ @ hidden.weight_VJ.T / temperature
        options = {"kl_weight": 0.7, "ce_weight": ce_weight, "temperature": temperature, "divergence": divergence}

        def distance(z, row):
            return distance_to_hidden(divergence, z, logits[row])

        assert_equals(states, weight, targets, hidden, distance, chunk=5, **options)

    def test_of_the_top_and_the_tail(self, divergence, size, temperature, ce_weight):
        states, weight, targets, hidden = problem(*SIZES[size])
        top = top_k_of(hidden, temperature)
        rows = list(zip(top.ids_NK, top.log_probs_NK, top.log_tail_N, strict=True))
        options = {"kl_weight": 0.7, "ce_weight": ce_weight, "temperature": temperature, "divergence": divergence}

        def distance(z, row):
            return distance_to_top_k(divergence, z, rows[row], top.vocab_size)

        if size == "padded teacher":
            assert (top.ids_NK >= V).any(), "some stored tokens are padding"
        assert_equals(states, weight, targets, top, distance, chunk=5, **options)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("ce_weight", [0.0, 0.4])
@pytest.mark.parametrize("with_entropy", [True, False])
def test_gradients_of_drawn_tokens(size, temperature, ce_weight, with_entropy):
    states, weight, targets, hidden = problem(*SIZES[size])
    generator = torch.Generator().manual_seed(4)
    drawn = SampledTargets.draw(log_probs_of(hidden, temperature), 12, power=0.8, generator=generator)
    teacher = drawn if with_entropy else SampledTargets(drawn.ids_NS, drawn.weights_NS, drawn.vocab_size)

    def distance(logits, row):
        there = drawn.ids_NS[row] < len(logits)
        weights = drawn.weights_NS[row][there] / drawn.weights_NS[row][there].sum() * drawn.weights_NS[row].sum()
        return distance_to_soft(logits, drawn.ids_NS[row][there], weights, drawn.entropy_N[row] * with_entropy)

    options = {"kl_weight": 0.7, "ce_weight": ce_weight, "temperature": temperature, "chunk": 5}
    assert_equals(states, weight, targets, teacher, distance, **options)


def test_a_padded_teachers_sampled_tail_is_shared_by_the_draws_that_count():
    states, weight, targets, hidden = problem(*SIZES["padded teacher"])
    top = top_k_of(hidden, 1.0, draws=9)

    def distance(logits, row):
        ids, drawn = top.ids_NK[row], top.tail_ids_NS[row]
        p, r = top.log_probs_NK[row].exp(), top.log_tail_N[row].exp()
        kept = 1 - p[ids >= V].sum()
        drawn = drawn[drawn < V]
        weights = torch.cat((p[ids < V], (r / len(drawn)).expand(len(drawn)))) / kept
        lost = torch.xlogy(p, p)[ids >= V].sum()
        return distance_to_soft(
            logits, torch.cat((ids[ids < V], drawn)), weights, (top.entropy_N[row] + lost) / kept + kept.log()
        )

    assert_equals(states, weight, targets, top, distance, kl_weight=1.0, ce_weight=0.2, chunk=5)


@pytest.mark.parametrize("power", [1.0, 0.6])
def test_drawn_tokens_teach_the_whole_divergence_in_expectation(power):
    """With the identity as weight, the gradient of the states is that of the logits: q - p."""
    log_probs = torch.log_softmax(torch.randn(1, 12, generator=torch.Generator().manual_seed(5)).double(), 1)
    n, generator = 40_000, torch.Generator().manual_seed(6)
    drawn = SampledTargets.draw(log_probs.expand(n, -1), 4, power=power, generator=generator)
    states = torch.zeros(n, 12, dtype=torch.float64, requires_grad=True)
    loss = fused_linear_distillation(
        states, torch.eye(12, dtype=torch.float64), torch.zeros(n, dtype=torch.long), drawn, kl_weight=1.0, ce_weight=0
    )
    gradient = torch.autograd.grad(loss.total, states)[0]
    error = 5 * gradient.std(0) / n**0.5
    assert ((gradient.mean(0) - (1 / 12 - log_probs.exp()[0])).abs() < error).all()
    full = (log_probs.exp() * (log_probs + torch.log(torch.tensor(12.0)))).sum()
    assert abs(loss.divergence / n - full) < 0.01


def test_counts_are_weights_that_sum_to_one():
    targets = SampledTargets.from_counts(torch.tensor([[3, 1, 0]]), torch.tensor([[5, 3, 0]]), 9)
    torch.testing.assert_close(targets.weights_NS, torch.tensor([[0.625, 0.375, 0.0]]))


@every_divergence
def test_the_chunk_does_not_matter(divergence):
    states, weight, targets, hidden = problem()
    for teacher in (hidden, top_k_of(hidden, 1.0)):
        losses = [
            fused_linear_distillation(
                states, weight, targets, teacher, kl_weight=1.0, ce_weight=0.3, divergence=divergence, chunk=chunk
            )
            for chunk in (1, 4, 64)
        ]
        gradients = [torch.autograd.grad(loss.total, (states, weight)) for loss in losses]
        for loss, gradient in zip(losses, gradients, strict=True):
            torch.testing.assert_close(loss.total, losses[0].total)
            torch.testing.assert_close(gradient, gradients[0])


@every_divergence
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(divergence):
    states, weight, targets, _ = problem()
    hidden = HiddenTargets(states.detach(), weight.detach())
    for teacher in (hidden, top_k_of(hidden, 1.0), top_k_of(hidden, 1.0, draws=3)):
        if divergence.kind == "forward_kl" and teacher is not hidden and teacher.tail_ids_NS.shape[1]:
            continue  # drawn tokens are right only in expectation
        loss = fused_linear_distillation(
            states, weight, targets, teacher, kl_weight=1.0, ce_weight=0.0, divergence=divergence
        )
        assert abs(loss.total.item()) < 1e-10
        if divergence.kind != "total_variation":  # which has a kink there
            assert all(g.abs().max() < 1e-9 for g in torch.autograd.grad(loss.total, (states, weight)))


@every_divergence
def test_a_coarse_teacher_never_sees_more_than_a_whole_one(divergence):
    states, weight, targets, hidden = problem()
    options = {"kl_weight": 1.0, "ce_weight": 0.0, "divergence": divergence}
    sums = [
        fused_linear_distillation(states, weight, targets, teacher, **options).divergence
        for teacher in (top_k_of(hidden, 1.0, k=2), top_k_of(hidden, 1.0, k=9), hidden)
    ]
    assert 0 < sums[0] < sums[1] < sums[2]
    everything = fused_linear_distillation(states, weight, targets, top_k_of(hidden, 1.0, k=V - 1), **options)
    torch.testing.assert_close(everything.divergence, sums[2])


@every_divergence
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_fp32_stays_close_to_float64_and_finite(divergence, scale):
    states, weight, targets, hidden = problem()
    narrow = [(x.detach() * s).float().requires_grad_() for x, s in ((states, scale), (weight, 1.0))]
    wide = [x.detach().double().requires_grad_() for x in narrow]
    low = HiddenTargets(hidden.states_NJ.float(), hidden.weight_VJ.float())
    for teacher, exact in ((low, hidden), (top_k_of(low, 1.0), top_k_of(hidden, 1.0))):
        options = {"kl_weight": 1.0, "ce_weight": 0.1, "divergence": divergence}
        loss = fused_linear_distillation(*narrow, targets, teacher, **options)
        expected = fused_linear_distillation(*wide, targets, exact, **options)
        torch.testing.assert_close(loss.total.double(), expected.total, rtol=1e-4, atol=1e-4)
        pairs = (torch.autograd.grad(one.total, leaves) for one, leaves in ((loss, narrow), (expected, wide)))
        for got, want in zip(*pairs, strict=True):
            assert got.isfinite().all()
            assert (got - want).norm() < 1e-3 * want.norm()


@every_divergence
@pytest.mark.parametrize("teacher_dtype", [torch.float32, torch.bfloat16])
def test_bf16_autocast_stays_close_to_fp32(divergence, teacher_dtype):
    states, weight, targets, hidden = problem(dtype=torch.float32, n=200)
    hidden = HiddenTargets(hidden.states_NJ.to(teacher_dtype), hidden.weight_VJ.to(teacher_dtype))
    options = {"kl_weight": 1.0, "ce_weight": 0.1, "divergence": divergence}
    exact = fused_linear_distillation(states, weight, targets, hidden, **options)
    with torch.autocast("cpu", torch.bfloat16):
        loss = fused_linear_distillation(states, weight, targets, hidden, **options)
    assert abs(loss.total.item() - exact.total.item()) < 0.02 * exact.total.item()
    wanted = torch.autograd.grad(exact.total, weight)[0]
    assert (torch.autograd.grad(loss.total, weight)[0] - wanted).norm() < 0.03 * wanted.norm()


def test_the_ends_of_a_mixture_are_the_kls():
    states, weight, targets, hidden = problem()

    def gradient(divergence):
        options = {"kl_weight": 1.0, "ce_weight": 0.0, "divergence": divergence}
        return torch.autograd.grad(fused_linear_distillation(states, weight, targets, hidden, **options).total, weight)

    torch.testing.assert_close(gradient(Divergence("jsd", beta=0)), gradient(Divergence("forward_kl")))
    torch.testing.assert_close(gradient(Divergence("jsd", beta=1)), gradient(Divergence("reverse_kl")))
    torch.testing.assert_close(gradient(Divergence("skew_kl", skew=0)), gradient(Divergence("forward_kl")))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "forward_kl"])
def test_drawn_tokens_refuse_what_they_cannot_estimate(name):
    states, weight, targets, hidden = problem()
    drawn = SampledTargets.draw(log_probs_of(hidden, 1.0), 4)
    with pytest.raises(ConfigError, match=rf"divergence = '{name}'.*allowed: forward_kl \(SampledTargets\)"):
        fused_linear_distillation(
            states, weight, targets, drawn, kl_weight=1.0, ce_weight=0.0, divergence=Divergence(name)
        )


@pytest.mark.parametrize(
    ("field", "values"),
    [("divergence", {"name": "kl"}), ("beta", {"beta": 1.5}), ("skew", {"skew": 1.0}), ("skew", {"skew": -0.1})],
)
def test_what_is_out_of_range_is_refused(field, values):
    with pytest.raises(ConfigError, match=f"{field} = .*allowed: "):
        Divergence(**values)
