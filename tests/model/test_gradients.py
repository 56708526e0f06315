"""Every gradient that is written out by hand against plain autograd, and the same gradients run after run."""

import pytest
import torch
import torch.nn.functional as F

from axk1.model.config import ModelConfig
from axk1.model.experts import _GroupedExperts, _ThreadedExperts, routed_experts
from axk1.model.mlp import _SwiGLU
from axk1.model.norm import _RMSNorm
from axk1.model.rope import rotate_halves, rotate_pairs
from axk1.model.transformer import Transformer


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def draw(*shapes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def assert_same(function, plain, leaves, **tolerance):
    """The values and gradients of two functions agree for a random gradient of the output."""
    results = []
    for each in (function, plain):
        out = each(*leaves)
        (slope,) = draw(out.shape, dtype=out.dtype, seed=1)
        results.append((out, *torch.autograd.grad(out, leaves, slope.detach())))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, **tolerance)


def plain_norm(x, weight):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


def plain_experts(experts_TK):
    def function(x, weights_TK, gate_up, down):
        rows = []
        for token, (weights, chosen) in enumerate(zip(weights_TK, experts_TK.tolist(), strict=True)):
            pairs = [(gate_up[e] @ x[token]).chunk(2) for e in chosen]
            outs = [down[e] @ (F.silu(gate) * up) for e, (gate, up) in zip(chosen, pairs, strict=True)]
            rows.append((weights[:, None] * torch.stack(outs)).sum(0))
        return torch.stack(rows)

    return function


def plain_pairs(x, cos, sin):
    size = x.shape[-1] - 2 * cos.shape[-1]
    first, second = x[..., size::2], x[..., size + 1 :: 2]
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
    turned = torch.stack((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return torch.cat((x[..., :size], turned.flatten(-2)), dim=-1)


def plain_halves(x, cos, sin):
    size = x.shape[-1] - 2 * cos.shape[-1]
    first, second = x[..., size:].chunk(2, dim=-1)
    cos, sin = cos.unsqueeze(2), sin.unsqueeze(2)
    return torch.cat((x[..., :size], first * cos - second * sin, second * cos + first * sin), dim=-1)


def test_the_norm(threads):
    leaves = draw((3, 5, 8), (8,))
    assert_same(lambda x, w: _RMSNorm.apply(x, w, 1e-6), plain_norm, leaves)
    assert torch.autograd.gradcheck(lambda x, w: _RMSNorm.apply(x, w, 1e-6), draw((2, 4), (4,)))


def test_swiglu(threads):
    assert_same(_SwiGLU.apply, lambda gate, up: F.silu(gate) * up, draw((3, 5, 8), (3, 5, 8)))
    assert torch.autograd.gradcheck(_SwiGLU.apply, draw((2, 3), (2, 3)))


@pytest.mark.parametrize(("rotate", "plain"), [(rotate_pairs, plain_pairs), (rotate_halves, plain_halves)])
@pytest.mark.parametrize("size", [8, 11, 14])
def test_the_rotation(rotate, plain, size):
    angles = draw((2, 3, 4))[0].detach()
    leaves = draw((2, 3, 2, size))
    assert_same(lambda x: rotate(x, angles.cos(), angles.sin()), lambda x: plain(x, angles.cos(), angles.sin()), leaves)


def test_pairs_that_begin_at_an_odd_place_in_memory():
    angles = draw((2, 3, 4))[0].detach()
    (wide,) = draw((2, 3, 1, 9))
    turned = rotate_pairs(wide[..., 1:], angles.cos(), angles.sin())
    torch.testing.assert_close(turned, plain_pairs(wide[..., 1:], angles.cos(), angles.sin()))


@pytest.mark.parametrize("function", [_ThreadedExperts, _GroupedExperts])
@pytest.mark.parametrize("experts_TK", [[[0, 1], [1, 2], [2, 0]], [[3, 1], [1, 3], [3, 1]], [[0, 1, 2, 3]] * 3])
def test_experts_also_without_tokens_and_when_all_are_chosen(threads, function, experts_TK):
    dtype = torch.float64 if function is _ThreadedExperts else torch.float32  # grouped_mm has no float64
    chosen = torch.tensor(experts_TK)
    leaves = draw((3, 16), chosen.shape, (4, 16, 16), (4, 16, 8), dtype=dtype)
    tolerance = {} if dtype == torch.float64 else {"atol": 1e-4, "rtol": 1e-4}
    assert_same(lambda x, w, g, d: function.apply(x, w, chosen, g, d), plain_experts(chosen), leaves, **tolerance)


def test_experts_under_bf16_autocast_stay_close_to_float64(threads):
    chosen = torch.rand(40, 4, generator=torch.Generator().manual_seed(0)).topk(2).indices
    leaves = draw((40, 16), (40, 2), (4, 16, 16), (4, 16, 8), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = routed_experts(leaves[0], leaves[1], chosen, *leaves[2:])
    got = torch.autograd.grad(out.float().square().sum(), leaves)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    expected = torch.autograd.grad(plain_experts(chosen)(*exact).square().sum(), exact)
    assert out.dtype == torch.bfloat16
    for left, right in zip(got, expected, strict=True):
        assert left.dtype == torch.float32
        assert (left - right).norm() / right.norm() < 0.03


def model_and_tokens():
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=16, n_routed_experts=6,
        num_experts_per_tok=2, moe_intermediate_size=16, max_position_embeddings=64, initializer_range=0.2,
    )  # fmt: skip
    return Transformer(config), torch.randint(0, 64, (4, 24))


def gradients(model, ids):
    loss = model(ids).logsumexp(-1).mean()
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


def test_the_same_input_gives_bitwise_the_same_gradients(threads):
    model, ids = model_and_tokens()
    first = gradients(model, ids)
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, gradients(model, ids), strict=True))


def test_one_thread_and_two_give_the_same_gradients():
    model, ids = model_and_tokens()
    before, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(gradients(model.double(), ids))
    finally:
        torch.set_num_threads(before)
    # Norms and routing are in float32 or wider, whatever the model: what is left is the order of the sums.
    for left, right in zip(*results, strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-6)


def test_without_gradients_the_logits_are_the_same(threads):
    model, ids = model_and_tokens()
    expected = model(ids)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), expected.detach())
