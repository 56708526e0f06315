"""One step of the loss of knowledge transfer, forward and backward: peak memory and CPU seconds against TRL and Liger.

    python benchmarks/distill_step.py [--quick] [--threads 2]

2,048 tokens, a vocabulary of 163,840, hidden sizes of 256 (student) and 512 (teacher), fp32. Every side is a process
of its own with the same inputs; what is counted lies above what imports and inputs take. A row counts only if loss and
both gradient norms agree. TRL and Liger come from the extra ``bench``; where a peer has a chunk size it is named, and
``--quick`` takes one of them. The goals are absolute, in MB and CPU seconds.
"""

import contextlib
import importlib.metadata
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import Row, arguments, publish, refuse_busy_machine

from axk1.core.runtime import ENVIRONMENT
from axk1.distill.divergence import Divergence
from axk1.distill.loss import fused_linear_distillation
from axk1.distill.targets import HiddenTargets, SampledTargets, TopKTargets

V, H, J, K, S = 163_840, 256, 512, 64, 12
GKD = "TRL generalized_jsd_loss"
TILES = "TRL _chunked_divergence_loss"
ASYNC = "TRL _chunked_jsd_loss"
LIGER = "Liger LigerFusedLinearJSDLoss"
CASES = {
    "dense, forward KL": (0.0, 2048, (GKD, TILES, f"{LIGER}, chunk 128", f"{TILES}, tile 64"), (310, 27)),
    "top 64 and tail, forward KL": (0.0, 2048, (f"{ASYNC}, chunk 256", f"{ASYNC}, chunk 64"), (210, 14)),
    "12 drawn tokens, forward KL": (0.0, 2048, (), (210, 14)),
    "dense, JSD 0.5": (0.5, 1024, (GKD, TILES, f"{LIGER}, chunk 128"), None),
    "top 64 and tail, JSD 0.5": (0.5, 1024, (f"{ASYNC}, chunk 64",), None),
}
"""Name: (beta, tokens, peers, goals in MB and CPU seconds)."""
AGREEMENT = 3e-4
"""How far losses and gradient norms may lie apart: the tail's mass in fp32 costs the peer 1e-4 against float64."""
QUICK = tuple(CASES)[:3]
UNITS = {"memory": ("peak memory", "MB"), "cpu": ("CPU time", "s"), "wall": ("wall time", "s")}


def main() -> None:
    """Runs all cases; with ``--quick`` the forward KL once."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--worker", nargs=2, metavar="X", help="for this program's own use")
    options = parser.parse_args()
    if options.worker:
        work(*options.worker, options.threads)
        return
    refuse_busy_machine(options.force)
    rounds, cases = (1, QUICK) if options.quick else (3, tuple(CASES))
    rows = [row for case in cases for row in compare(case, rounds, options.threads, options.quick)]
    publish("distill_step", rows, ("torch", *filter(installed, ("trl", "liger-kernel"))))


def compare(case: str, rounds: int, threads: int, quick: bool) -> list[Row]:
    """Measures one case, the sides in turn; of each peer's function only the first variant where it must be quick."""
    _, _, peers, goals = CASES[case]
    if quick:
        peers = tuple({peer.partition(",")[0]: peer for peer in reversed(peers)}.values())[::-1]
    taken: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for side in ("ours", *peers):
            result = measure(case, side, threads)
            if "skipped" in result:
                print(f"{case}: {side} is left out: {result['skipped']}")
                peers = tuple(peer for peer in peers if peer != side)
            else:
                taken.setdefault(side, []).append(result)
    for side in peers:
        for figure in ("loss", "states", "weight"):
            ours, other = taken["ours"][0][figure], taken[side][0][figure]
            assert math.isclose(ours, other, rel_tol=AGREEMENT), (
                f"{case}: {figure} is {ours} here and {other} in {side}"
            )
    rows = [row_of(case, figure, taken["ours"], taken[side], side) for side in peers for figure in UNITS]
    for figure, goal in zip(("memory", "cpu"), goals or (), strict=False):
        rows.append(row_of(case, figure, taken["ours"], [{figure: goal}], "the goal", 1.0))
    return rows


def row_of(case: str, figure: str, ours: list, peer: list, name: str, goal: float | None = None) -> Row:
    """One figure of both sides."""
    values = [[result[figure] for result in side] for side in (ours, peer)]
    (mine, other), spreads = map(statistics.median, values), [f"{min(v):,.1f} - {max(v):,.1f}" for v in values]
    return Row(case, *UNITS[figure], mine, other, name, other / mine, " / ".join(spreads), goal)


def measure(case: str, side: str, threads: int) -> dict[str, float]:
    """Runs one side in a process of its own."""
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, __file__, "--threads", str(threads), "--worker", case, side]
    run = subprocess.run(words, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{case}, {side}: {run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def installed(package: str) -> bool:
    """Whether a package is here."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version(package))
    return False


def work(case: str, side: str, threads: int) -> None:
    """The worker's process: prints the loss, the gradient norms, and what they cost."""
    torch.set_num_threads(threads)
    beta, n, _, _ = CASES[case]
    kind = case.split(",")[0]
    try:
        step = our_step if side == "ours" else peer_step(side)
    except ImportError as error:
        print(json.dumps({"skipped": f"it cannot be imported here ({error})"}))
        return
    step(kind, beta, *inputs(8, 256)).backward()  # what is loaded at the first call
    given = inputs(n, V)
    states, weight = given[:2]
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, cpu, wall = status("VmRSS"), time.process_time(), time.perf_counter()
    loss = step(kind, beta, *given)
    loss.backward()
    figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    figures |= {"memory": status("VmHWM") - before, "loss": float(loss.detach())}
    for name, leaf in (("states", states), ("weight", weight)):
        figures[name] = float(torch.linalg.vector_norm(leaf.grad, dtype=torch.float64))
    print(json.dumps(figures))


def status(name: str) -> float:
    """A figure of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


def inputs(n: int, vocabulary: int) -> tuple[torch.Tensor | tuple[torch.Tensor, ...], ...]:
    """States, weight and targets of the student; of the teacher, states and weight; top tokens; drawn tokens."""
    torch.manual_seed(0)
    states = torch.randn(n, H).requires_grad_()
    weight = torch.randn(vocabulary, H).mul_(H**-0.5).requires_grad_()
    targets = torch.randint(vocabulary, (n,))
    hidden = torch.randn(n, J), torch.randn(vocabulary, J).mul_(2 * J**-0.5)
    tokens = (torch.rand(n, K).argsort(1) + torch.arange(K)) % K * (vocabulary // K) + torch.randint(2, (n, 1))
    log_probs = torch.log_softmax(torch.randn(n, K + 1), 1)
    return states, weight, targets, hidden, (tokens, log_probs[:, :K].clone(), log_probs[:, K].clone())


def our_step(kind: str, beta: float, states, weight, targets, hidden, top) -> torch.Tensor:
    """The mean divergence by this package."""
    n, vocabulary = len(states), len(weight)
    if kind == "dense":
        teacher = HiddenTargets(*hidden)
    elif kind.startswith("top"):
        teacher = TopKTargets(*top, torch.empty(n, 0, dtype=torch.long), torch.zeros(n), vocabulary)
    else:
        teacher = SampledTargets.from_counts(top[0][:, :S], torch.ones(n, S), vocabulary)
    divergence = Divergence("jsd", beta=beta)
    options = {"kl_weight": 1.0, "ce_weight": 0.0, "divergence": divergence}
    return fused_linear_distillation(states, weight, targets, teacher, **options).total / n


def peer_step(side: str) -> Callable[..., torch.Tensor]:
    """The mean divergence by a peer. Raises ImportError where it is not installed, or wants what is not here."""
    name, _, chunk = side.partition(", ")
    size = int(chunk.split()[1]) if chunk else None
    return {GKD: gkd_step, TILES: tiles_step, ASYNC: async_step, LIGER: liger_step}[name](size)


def gkd_step(_size: int | None) -> Callable[..., torch.Tensor]:
    """Both sides' logits at once."""
    from trl.experimental.gkd import GKDTrainer

    def step(_kind, beta, states, weight, targets, hidden, _top):
        logits = states @ weight.T, hidden[0] @ hidden[1].T
        return GKDTrainer.generalized_jsd_loss(*logits, targets, beta=beta, num_items_in_batch=len(states))

    return step


def tiles_step(size: int | None) -> Callable[..., torch.Tensor]:
    """Tiles of tokens x vocabulary, computed again in the backward pass."""
    from trl.kernels import chunked_divergence
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    chunked_divergence.TOKEN_CHUNK_SIZE = size or chunked_divergence.TOKEN_CHUNK_SIZE

    def step(_kind, beta, states, weight, _targets, hidden, _top):
        mask = torch.ones(1, len(states), dtype=torch.long)
        return _chunked_divergence_loss(states[None], hidden[0][None], weight, hidden[1], mask, beta)[0]

    return step


def async_step(size: int | None) -> Callable[..., torch.Tensor]:
    """The top tokens and a bucket for the tail, chunks of tokens under activation checkpointing."""
    from trl.experimental.async_distillation.async_distillation_trainer import _chunked_jsd_loss

    def step(_kind, beta, states, weight, _targets, _hidden, top):
        mask = torch.ones_like(top[0], dtype=torch.bool)
        given = (states, weight, None, 1.0, None, *top[:2], mask)
        return _chunked_jsd_loss(*given, beta, 1.0, True, None, 1, size)[0] / len(states)

    return step


def liger_step(size: int | None) -> Callable[..., torch.Tensor]:
    """Chunks of tokens, the gradient in the forward pass."""
    from liger_kernel.chunked_loss.jsd_loss import LigerFusedLinearJSDLoss

    def step(_kind, beta, states, weight, targets, hidden, _top):
        weights = {"weight_hard_loss": 0.0, "weight_soft_loss": 1.0}
        loss = LigerFusedLinearJSDLoss(**weights, beta=beta, compiled=False, chunk_size=size)
        return loss(states, weight, *hidden, targets)

    return step


if __name__ == "__main__":
    main()
