"""The compiled products against plain torch in the same number format, and both against the unrounded weights."""

import platform
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.engine.kernel.compiler import kernel
from axk1.engine.kernel.packing import KINDS, pack, product, round_activations, unpack
from axk1.engine.quantised.modules import PackedWeight, QuantizedEmbedding, QuantizedExperts, QuantizedLinear

ERROR = {"bf16": 0.003, "int8": 0.008, "int4": 0.12}
"""Largest relative error of normal weights."""
needs_kernel = pytest.mark.skipif(kernel() is None, reason="no C++ compiler is here")


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(rows=st.integers(1, 70), columns=st.integers(1, 140), banks=st.integers(1, 3), seed=st.integers(0, 99))
def test_unpacking_gives_the_weights_back_up_to_their_rounding(kind, rows, columns, banks, seed):
    bank = draw(seed, banks, rows, columns)
    found = unpack(pack(bank, kind))
    assert found.shape == bank.shape
    largest = bank.abs().max()
    assert (found - bank).abs().max() <= largest * {"bf16": 0.004, "int8": 0.006, "int4": 0.11}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_rounding_is_as_fine_as_its_bits(kind):
    weight = draw(1, 64, 512)
    packed = pack(weight, kind)
    assert (unpack(packed)[0] - weight).norm() / weight.norm() < ERROR[kind]
    assert packed.nbytes * 8 / weight.numel() == {"bf16": 16, "int8": 8.5, "int4": 4.5}[kind]


def test_weights_of_zero_stay_zero():
    for kind in KINDS:
        assert not unpack(pack(torch.zeros(5, 40), kind)).any()


@needs_kernel
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", (1, 3))
@settings(max_examples=25)
@given(
    rows=st.integers(1, 40), columns=st.integers(1, 200), count=st.integers(1, 70), bias=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_kernel_multiplies_as_plain_torch_does(kind, threads, rows, columns, count, bias, seed):
    packed, x = pack(draw(seed, rows, columns), kind), draw(seed + 1, count, columns)
    extra = draw(seed + 2, rows) if bias else None
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = QuantizedLinear(PackedWeight(packed), extra)(x)
    finally:
        torch.set_num_threads(before)
    expected = product(x, packed) + (extra if bias else 0)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5 * columns**0.5)


@needs_kernel
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_s_result_does_not_depend_on_the_other_rows(kind):
    linear, x = QuantizedLinear(PackedWeight(pack(draw(0, 50, 96), kind))), draw(1, 30, 96)
    together = linear(x)
    for row in range(30):
        assert linear(x[row]).equal(together[row])


@needs_kernel
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(
    experts=st.integers(1, 9), hidden=st.integers(1, 70), inner=st.integers(1, 70), tokens=st.integers(1, 80),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_experts_equal_plain_torch(kind, experts, hidden, inner, tokens, seed):
    shapes = ((inner, hidden), (inner, hidden), (hidden, inner))
    banks = [PackedWeight(pack(draw(seed + n, experts, *s) * 0.3, kind)) for n, s in enumerate(shapes)]
    module, each = QuantizedExperts(*banks), min(experts, 3)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.stack([torch.randperm(experts, generator=generator)[:each] for _ in range(tokens)])
    x, weights = draw(seed + 3, tokens, hidden), torch.rand(tokens, each, generator=generator)
    expected = module._plain(x, weights, chosen)
    found = module(x, weights, chosen)
    # An inner value that falls between two roundings may go either way: one step of 127 in one place.
    assert (found - expected).norm() <= (1e-5 if kind == "bf16" else 3e-3) * expected.norm() + 1e-6


@needs_kernel
@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_is_the_unpacked_row(kind):
    packed = pack(draw(0, 37, 70), kind)
    ids = torch.tensor([[0, 36], [15, 16]])
    assert QuantizedEmbedding(PackedWeight(packed))(ids).equal(unpack(packed)[0][ids])
    with pytest.raises(AssertionError, match="range"):
        QuantizedEmbedding(PackedWeight(packed))(torch.tensor([37]))


def test_rounded_activations_are_within_half_a_step():
    x = draw(0, 9, 75) * torch.logspace(-3, 3, 9)[:, None]
    groups = torch.nn.functional.pad(x, (0, 21)).unflatten(-1, (-1, 32))
    step = (groups.abs().amax(-1, keepdim=True) / 127).expand_as(groups).flatten(-2)[..., :75]
    assert ((round_activations(x) - x).abs() <= step * 0.501).all()


def test_a_machine_without_a_compiler_runs_in_plain_torch_and_says_so(tmp_path):
    script = """
import torch
from axk1.engine.quantised.modules import PackedWeight, QuantizedLinear
from axk1.engine.kernel.packing import pack, product
packed, x = pack(torch.randn(20, 40), "int4"), torch.randn(3, 40)
assert QuantizedLinear(PackedWeight(packed))(x).equal(product(x, packed))
"""
    environment = {"PATH": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "AXK1_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("plain torch") == 1


@needs_kernel
def test_two_processes_build_the_kernel_once(tmp_path):
    script = "from axk1.engine.kernel.compiler import kernel; assert kernel() is not None"
    environment = {"PYTHONPATH": ":".join(sys.path), "AXK1_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("building" in text for text in said) == 1
    assert len(list(tmp_path.glob("kernels/*.so"))) == 1
    assert not list(tmp_path.glob("kernels/*.building"))


@needs_kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names instruction sets of x86-64")
@pytest.mark.parametrize("instructions", ("-mavx2 -mfma", "-msse2"))
def test_older_processors_get_the_same_products(tmp_path, instructions):
    """A compiler that is told of fewer instructions stands for an older processor."""
    compiler = tmp_path / "c++"
    compiler.write_text(
        '#!/bin/sh\nfor word do shift; [ "$word" = -march=native ] && set -- "$@" '
        f'{instructions} || set -- "$@" "$word"; done\nexec {shutil.which("g++") or shutil.which("c++")} "$@"\n'
    )
    compiler.chmod(0o755)
    script = """
import torch
from axk1.engine.kernel.compiler import kernel
from axk1.engine.quantised.modules import PackedWeight, QuantizedLinear
from axk1.engine.kernel.packing import KINDS, pack, product
assert kernel() is not None
torch.manual_seed(0)
for kind in KINDS:
    packed, x = pack(torch.randn(45, 150), kind), torch.randn(21, 150)
    torch.testing.assert_close(QuantizedLinear(PackedWeight(packed))(x), product(x, packed), rtol=2e-5, atol=2e-4)
"""
    environment = {"PYTHONPATH": ":".join(sys.path), "AXK1_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"}
    environment["CXX"] = str(compiler)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
