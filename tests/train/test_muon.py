import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.train.muon import STACK_ELEMENTS, Muon, newton_schulz


def parameter(*shape: int, seed: int = 0) -> torch.nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    value = torch.nn.Parameter(torch.randn(shape, generator=generator))
    value.grad = torch.randn(shape, generator=generator)
    return value


def step(optimizer: torch.optim.Optimizer, times: int = 3) -> None:
    for index in range(times):
        for group in optimizer.param_groups:
            for number, param in enumerate(group["params"]):
                generator = torch.Generator().manual_seed(100 * index + number)
                param.grad = torch.randn(param.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_equals_torch_for_matrices(shape):
    ours, theirs = parameter(*shape), parameter(*shape)
    step(Muon([ours], lr=0.02, weight_decay=0.1, dtype=torch.bfloat16))
    step(torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_fp32_iterations_agree_with_torch_within_bf16():
    ours, theirs = parameter(24, 40), parameter(24, 40)
    step(Muon([ours], lr=0.02), times=1)
    step(torch.optim.Muon([theirs], lr=0.02, adjust_lr_fn="match_rms_adamw"), times=1)
    change = (ours - parameter(24, 40)).norm()
    assert (ours - theirs).norm() < 0.03 * change


def test_a_stack_equals_its_matrices_apart():
    stack = parameter(5, 12, 20)
    apart = [torch.nn.Parameter(part.clone()) for part in stack.detach()]
    together, separate = Muon([stack], lr=0.02), Muon(apart, lr=0.02)
    for index in range(3):
        stack.grad = torch.randn(5, 12, 20, generator=torch.Generator().manual_seed(index))
        for part, grad in zip(apart, stack.grad, strict=True):
            part.grad = grad.clone()
        together.step()
        separate.step()
    torch.testing.assert_close(stack.detach(), torch.stack([part.detach() for part in apart]), rtol=0, atol=1e-6)


def test_two_matrices_in_a_slice_are_updated_apart():
    fused = parameter(3, 2 * 8, 12)
    halves = [torch.nn.Parameter(half.clone()) for half in fused.detach().chunk(2, dim=1)]
    for half, grad in zip(halves, fused.grad.chunk(2, dim=1), strict=True):
        half.grad = grad.clone()
    Muon([{"params": [fused], "matrices_per_slice": 2}], lr=0.02).step()
    Muon(halves, lr=0.02).step()
    torch.testing.assert_close(fused.detach(), torch.cat([h.detach() for h in halves], dim=1), rtol=0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=8))
def test_shapes_that_share_a_product_do_not_disturb_each_other(shapes):
    together = [parameter(*shape, seed=i) for i, shape in enumerate(shapes)]
    alone = [parameter(*shape, seed=i) for i, shape in enumerate(shapes)]
    Muon(together, lr=0.02).step()
    for param in alone:
        Muon([param], lr=0.02).step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_stacks_beyond_the_limit_are_cut(monkeypatch):
    shapes = [(2, 8, 12), (12, 8), (3, 8, 12), (8, 12)]
    whole, cut = ([parameter(*shape, seed=i) for i, shape in enumerate(shapes)] for _ in range(2))
    Muon(whole, lr=0.02).step()
    monkeypatch.setitem(STACK_ELEMENTS, "cpu", 200)
    Muon(cut, lr=0.02).step()
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_singular_values_come_near_one():
    stack = torch.randn(4, 16, 48, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.05, 1, 48)
    values = torch.linalg.svdvals(newton_schulz(stack, 5))
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_the_update_has_the_size_of_an_adamw_update():
    param = parameter(64, 96)
    before = param.detach().clone()
    Muon([param], lr=1.0, weight_decay=0.0).step()
    rms = (param.detach() - before).square().mean().sqrt()
    assert rms == pytest.approx(0.2, rel=0.2)


def test_a_vector_is_refused():
    with pytest.raises(ValueError, match="not shape"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
