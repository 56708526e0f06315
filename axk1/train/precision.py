"""On what, and in which arithmetic, to compute: chosen once at the start of a run and recorded with it."""

import os
import time

import torch

from axk1.core.config import require

BF16_ADVANTAGE = 1.3
"""How many times faster than fp32 a bf16 product must measure on a CPU before ``auto`` takes it."""


def choose_device(name: str) -> torch.device:
    """The device that the option ``device`` asks for; under ``torchrun``, each process of a machine has its own GPU.

    Raises:
        ConfigError: a GPU is wanted and there is none.
    """
    available = torch.cuda.is_available()
    require(name != "cuda" or available, "device", name, "cpu or auto (torch finds no GPU here)")
    if name == "cpu" or not available:
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """``bf16`` or ``fp32`` for the option ``precision``.

    ``auto`` takes bf16 on a GPU. On a CPU it depends on the matrix instructions (AMX, AVX512-BF16): without them
    bf16 is several times slower, so the two are measured.
    """
    if name != "auto":
        return name
    if device.type != "cpu":
        return "bf16"
    faster = matmul_rate(torch.bfloat16, device) > BF16_ADVANTAGE * matmul_rate(torch.float32, device)
    return "bf16" if faster else "fp32"


def matmul_rate(dtype: torch.dtype, device: torch.device, *, size: int = 768, seconds: float = 0.1) -> float:
    """Floating-point operations per second that a square matrix product reaches here, measured.

    The fastest product counts: where others use the machine, a mean would tell of them, and two measurements of one
    choice could not be compared.
    """
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(size, size, generator=generator).to(device, dtype)
    torch.mm(matrix, matrix)  # the first call sets up the kernels
    fastest, begun = float("inf"), time.perf_counter()
    _synchronize(device)
    while (start := time.perf_counter()) - begun < seconds:
        torch.mm(matrix, matrix)
        _synchronize(device)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * size**3 / fastest


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
