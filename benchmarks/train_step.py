"""Training tokens per second: our network and trainer against transformers' ``AXK1ForCausalLM``.

    python benchmarks/train_step.py [--quick] [--threads 2]

Both sides start from the same weights, take the same random batches, and use fused AdamW with the same settings; their
first losses must agree. Each side is a process of its own, and they take steps in turn. The peer runs with each of its
experts implementations that finishes a step in seconds (``batched_mm`` copies an expert's weights for every token and
takes over a minute) and each precision; its fastest one counts.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from harness import Row, arguments, median_and_spread, publish, refuse_busy_machine

from axk1.core.runtime import ENVIRONMENT
from axk1.model.checkpoint import load_model, save_model
from axk1.model.config import ModelConfig
from axk1.model.transformer import Transformer
from axk1.train.objective import CrossEntropy, TorchBatch
from axk1.train.parts import Parts

FIELD = ModelConfig(
    vocab_size=8192, hidden_size=256, num_hidden_layers=6, num_attention_heads=4, intermediate_size=768,
    q_lora_rank=96, kv_lora_rank=64, qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=64, n_routed_experts=32,
    num_experts_per_tok=4, moe_intermediate_size=128, max_position_embeddings=1024,
)  # fmt: skip
NANO = Path(__file__).parents[1] / "recipes/nano/teacher.json"
CASES = {"22 M, 32 experts, 8 x 256": (FIELD, 8, 256), "nano teacher, 4 x 512": (ModelConfig.load(NANO), 4, 512)}
PEERS = [(experts, precision) for experts in ("eager", "grouped_mm") for precision in ("fp32", "bf16")]
GOAL = 2.0


def main() -> None:
    """Runs all cases."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--worker", nargs=5, metavar="X", help="for this program's own use")
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.threads)
        return
    refuse_busy_machine(options.force)
    rounds = 5 if options.quick else 12
    rows = [row for case in CASES for row in compare(case, rounds, options.threads)]
    publish("train_step", rows, ("torch", "transformers"))


def compare(case: str, rounds: int, threads: int) -> list[Row]:
    """Times one case; the peer's fastest variant counts."""
    config, rows, length = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        save_model(Transformer(config), folder)
        sides = {"ours": Worker(folder, "ours", "fp32", rows, length, threads)}
        sides |= {f"transformers {e}, {p}": Worker(folder, e, p, rows, length, threads) for e, p in PEERS}
        try:
            first = {name: worker.step()["loss"] for name, worker in sides.items()}
            for name, loss in first.items():
                tolerance = 1e-4 if name == "ours" or "fp32" in name else 2e-2
                assert abs(loss - first["ours"]) < tolerance, f"the losses differ: {first}"
            for worker in sides.values():
                worker.step()  # the second warm-up step, with the optimizer's state in place
            taken = {name: [] for name in sides}
            for _ in range(rounds):
                for name, worker in sides.items():
                    taken[name].append(worker.step())
        finally:
            for worker in sides.values():
                worker.process.kill()
    speeds = {name: median_and_spread([rows * length / s["wall"] for s in steps]) for name, steps in taken.items()}
    best = max((name for name in sides if name != "ours"), key=lambda name: speeds[name][0])
    memory = {name: taken[name][-1]["rss_mb"] for name in ("ours", best)}
    spread = f"{speeds['ours'][1]} / {speeds[best][1]}"
    ours, peer = speeds["ours"][0], speeds[best][0]
    return [
        Row(case, "training speed", "tokens/s", ours, peer, best, ours / peer, spread, GOAL),
        Row(case, "peak memory", "MB", memory["ours"], memory[best], best, memory[best] / memory["ours"], ""),
    ]


class Worker:
    """One side, in a process of its own, that takes a step when told to."""

    def __init__(self, folder: str, side: str, precision: str, rows: int, length: int, threads: int) -> None:
        words = [sys.executable, __file__, "--threads", str(threads), "--worker"]
        environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(
            [*words, folder, side, precision, str(rows), str(length)], env=environment, **pipes
        )

    def step(self) -> dict[str, float]:
        """Takes one step and returns its seconds, its loss and the peak memory so far."""
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def work(words: list[str], threads: int) -> None:
    """The worker's process: answers every line of standard input with a step."""
    folder, side, precision, rows, length = words[0], words[1], words[2], int(words[3]), int(words[4])
    torch.set_num_threads(threads)
    make = our_step if side == "ours" else peer_step
    model, gradient = make(folder, side, precision, threads)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    model.train()
    torch.manual_seed(1)
    for _ in sys.stdin:
        tokens = torch.randint(0, model.config.vocab_size, (rows, length + 1))
        start = time.perf_counter()
        loss = gradient(tokens)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wall, memory = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps({"wall": wall, "loss": loss, "rss_mb": round(memory)}), flush=True)


def our_step(folder: str, _side: str, precision: str, threads: int):
    """Our network, through the trainer's own gradient, a part of the batch per thread."""
    model = load_model(folder)
    parts = Parts(model, CrossEntropy(), precision=precision, alone=True)

    def gradient(tokens: torch.Tensor) -> float:
        rows, length = tokens.shape[0], tokens.shape[1] - 1
        positions = torch.arange(length).expand(rows, length)
        segments = torch.ones(rows, length, dtype=torch.int32)
        batch = [
            TorchBatch(0, t[:, :-1], t[:, 1:], p, s, None, rows * length, rows * length, rows)
            for t, p, s in zip(*(x.chunk(threads) for x in (tokens, positions, segments)), strict=True)
        ]
        return float(parts.gradients(batch)["loss"])

    return model, gradient


def peer_step(folder: str, experts: str, precision: str, _threads: int):
    """transformers' network with its own loss."""
    from transformers import AXK1ForCausalLM

    options = {"experts_implementation": experts, "attn_implementation": "sdpa", "dtype": torch.float32}
    model = AXK1ForCausalLM.from_pretrained(folder, **options)

    def gradient(tokens: torch.Tensor) -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            inputs, targets = tokens[:, :-1], tokens[:, 1:].contiguous()
            loss = model(input_ids=inputs, labels=inputs, shift_labels=targets, use_cache=False).loss
        loss.backward()
        return float(loss.detach())

    return model, gradient


if __name__ == "__main__":
    main()
