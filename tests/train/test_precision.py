import pytest
import torch

from axk1.core.errors import ConfigError
from axk1.core.progress import si
from axk1.train import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("bf16_rate", "chosen"), [(10.0, "bf16"), (1.1, "fp32"), (0.3, "fp32")])
def test_auto_takes_bf16_where_it_is_clearly_faster(monkeypatch, bf16_rate, chosen):
    rates = {torch.bfloat16: bf16_rate, torch.float32: 1.0}
    monkeypatch.setattr(precision, "matmul_rate", lambda dtype, device: rates[dtype])
    assert precision.choose_precision("auto", CPU) == chosen


def test_what_is_asked_for_is_taken_unmeasured(monkeypatch):
    monkeypatch.delattr(precision, "matmul_rate")
    assert precision.choose_precision("bf16", CPU) == "bf16"
    assert precision.choose_precision("fp32", CPU) == "fp32"
    assert precision.choose_precision("auto", torch.device("cuda")) == "bf16"


def test_the_rate_counts_operations():
    """A product of twice the size has eight times the operations, so its rate is no eighth of the other."""
    small, large = (precision.matmul_rate(torch.float32, CPU, size=size, seconds=0.02) for size in (128, 256))
    assert small > 1e8
    assert large > small / 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_named():
    assert precision.choose_device("auto") == CPU
    with pytest.raises(ConfigError, match="device = 'cuda'"):
        precision.choose_device("cuda")


@pytest.mark.parametrize(
    ("number", "text"),
    [(512, "512 B"), (999.6, "1 kB"), (2_950_000, "2.95 MB"), (34.64e9, "34.6 GB"), (1e21, "1e+03 EB")],
)
def test_quantities_have_prefixes(number, text):
    assert si(number, "B") == text
