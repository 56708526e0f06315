"""The two ways of running routed experts, one expert per thread and all in grouped products, are one function."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.model import experts as module
from axk1.model import workers
from axk1.model.experts import _GroupedExperts, _ThreadedExperts, routed_experts, some_routed_experts


@settings(max_examples=25, deadline=None, derandomize=True)
@given(tokens=st.integers(1, 300), experts=st.integers(2, 6), chosen=st.integers(1, 2), seed=st.integers(0, 99))
def test_threads_and_grouped_products_agree_forwards_and_backwards(tokens, experts, chosen, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(tokens, experts, generator=generator)
    indices = scores.topk(chosen).indices
    results = []
    for function in (_ThreadedExperts, _GroupedExperts):
        generator.manual_seed(seed)
        draw = [(tokens, 16), (tokens, chosen), (experts, 16, 16), (experts, 16, 8), (tokens, 16)]
        x, weights, gate_up, down, grad = (torch.randn(shape, generator=generator) for shape in draw)
        leaves = [t.requires_grad_() for t in (x, weights, gate_up, down)]
        out = function.apply(x, weights, indices, gate_up, down)
        out.backward(grad)
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for left, right in zip(*results, strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("products", ["_threaded_products", "_grouped_products"])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(tokens=st.integers(0, 90), cuts=st.sets(st.integers(1, 6), max_size=3), seed=st.integers(0, 99))
def test_groups_of_experts_add_up_to_all_of_them(products, tokens, cuts, seed):
    generator = torch.Generator().manual_seed(seed)
    experts, chosen = 7, 3
    indices = torch.rand(tokens, experts, generator=generator).topk(chosen).indices
    draw = [(tokens, 16), (tokens, chosen), (experts, 16, 16), (experts, 16, 8)]
    x, weights, gate_up, down = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in draw)
    total = torch.zeros_like(x)
    with pytest.MonkeyPatch.context() as patch:
        if products == "_grouped_products":  # of a GPU; in float32, since it has no float64
            patch.setattr(module, "_threaded_products", module._grouped_products)
            x, weights, gate_up, down, total = (t.float() for t in (x, weights, gate_up, down, total))
        edges = [0, *sorted(cuts), experts]
        for first, last in itertools.pairwise(edges):
            here = (gate_up[first:last], down[first:last])
            total += some_routed_experts(x, weights, indices.to(torch.int16), first, *here)
    expected = routed_experts(x, weights, indices, gate_up, down)
    torch.testing.assert_close(total, expected, atol=1e-4, rtol=1e-5)


def test_gradients_of_the_experts_are_the_slopes():
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 4), (5, 2), (3, 6, 4), (3, 4, 3)]
    leaves = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    indices = torch.tensor([[0, 1], [1, 2], [0, 2], [2, 1], [0, 1]])
    assert torch.autograd.gradcheck(
        lambda x, w, g, d: _ThreadedExperts.apply(x, w, indices, g, d), leaves, fast_mode=False
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_workers_do_every_item_once_and_raise_what_went_wrong(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        out = torch.zeros(50)

        def one(index: int) -> None:
            out[index] += index

        workers.for_each(one, range(50))
        assert torch.equal(out, torch.arange(50.0))

        def fails(index: int) -> None:
            if index == 17:
                raise ValueError("item 17")

        with pytest.raises(ValueError, match="item 17"):
            workers.for_each(fails, range(50))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
