"""One stream on a CPU: our engine with weights of 8 and 4 bits against llama.cpp at the same bits and transformers.

    python benchmarks/decode.py [--quick] [--threads 2] [--llama-cpp FOLDER] [--models FOLDER]

Two models: SmolLM2-135M-Instruct, and a random mixture of experts with latent attention, 666 M parameters, 8 layers.
Every side continues 16 random tokens greedily by 128 and reads a prompt of 256. The sides take turns, in processes of
their own with the same threads and CPU runtime; llama.cpp is taken at the best of its ways to hold weights and to
let threads wait. ``--llama-cpp`` (or the environment variable LLAMA_CPP) names the folder with ``llama-bench`` and
``llama-quantize``, which the sdist of llama-cpp-python builds with cmake in ``vendor/llama.cpp``.
"""

import argparse
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from decode_models import experts, quantised_gguf, smollm2
from harness import Row, arguments, median_and_spread, publish, refuse_busy_machine

from axk1.core.runtime import ENVIRONMENT
from axk1.engine.llm import LLM
from axk1.engine.quantised.modules import PackedWeight, QuantizedEmbedding, QuantizedExperts
from axk1.engine.sampling_params import SamplingParams
from axk1.model.attention import LatentAttention
from axk1.model.config import ModelConfig
from axk1.model.inspect import inspect_model
from axk1.train.precision import matmul_rate

PROMPT, NEW, LONG = 16, 128, 256
"""Tokens before decoding, tokens decoded, tokens of the prompt that measures prefill."""
BITS = {"int8": "Q8_0", "int4": "Q4_0"}
"""Our number formats and llama.cpp's."""
LLAMA_GOAL, TRANSFORMERS_GOAL = 1.3, 5.0
_HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
MODES = {
    "mapped file": (["-lm", "mmap"], {}),
    "plain memory": (["-lm", "none"], {}),
    "huge pages": (["-lm", "none"], _HUGE),
    "huge pages, threads sleep": (["-lm", "none", "--poll", "0"], _HUGE),
}
"""How llama.cpp may hold its weights and its threads wait: options and environment."""
Speeds = dict[str, list[float]]
"""``decode`` and ``prefill`` in tokens per second, one value a round."""


class Worker:
    """A side that keeps its model in a process of its own and answers one round at a time."""

    def __init__(self, side: str, folder: Path, weights: str, threads: int) -> None:
        words = [sys.executable, __file__, "--worker", side, str(folder), weights, str(threads)]
        environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(words, env=environment, **pipes)
        self.facts = self._read()

    def round(self) -> dict[str, float]:
        """Tokens per second of one round."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> dict[str, float]:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"a side ended with {self._process.wait()}; its message stands above")


def work(side: str, folder: Path, weights: str, threads: int) -> None:
    """What a worker does: loads, says what it holds, and measures whenever a line comes."""
    torch.set_num_threads(threads)
    generate, facts = _ours(folder, weights) if side == "ours" else _transformers(folder)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(10, 250, (1000, LONG), generator=generator).tolist()
    generate(prompts.pop()[:PROMPT], 8)
    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        first = _seconds(generate, prompts.pop()[:PROMPT], 1)
        decode = (NEW - 1) / (_seconds(generate, prompts.pop()[:PROMPT], NEW) - first)
        prefill = LONG / _seconds(generate, prompts.pop(), 1)
        print(json.dumps({"decode": decode, "prefill": prefill}), flush=True)


def _seconds(generate, prompt: list[int], count: int) -> float:
    begun = time.perf_counter()
    generate(prompt, count)
    return time.perf_counter() - begun


def _ours(folder: Path, weights: str):
    llm = LLM.load(folder, weights=weights, max_num_seqs=1)

    def generate(prompt: list[int], count: int) -> None:
        (written,) = llm.generate([prompt], SamplingParams(max_tokens=count, temperature=0, ignore_eos=True))
        assert len(written.token_ids) == count

    return generate, {"bytes": _bytes_of_a_token(llm.model)}


def _bytes_of_a_token(model: torch.nn.Module) -> float:
    """Weights that one decoded token reads: of experts those that it meets, of the embedding nearly nothing.

    Of latent attention's up-projection it reads the two banks of the absorbed form alone.
    """
    total, seen = 0.0, set()
    unread = [m for m in model.modules() if isinstance(m, QuantizedEmbedding)]
    unread += [m.kv_b_proj for m in model.modules() if isinstance(m, LatentAttention)]
    shares = {id(part): 0.0 for m in unread for part in m.modules()}
    shares.pop(id(model.lm_head.packed), None)  # tied: read as the output matrix
    for bank in (m for m in model.modules() if isinstance(m, QuantizedExperts)):
        share = model.config.num_experts_per_tok / model.config.n_routed_experts
        shares |= {id(each): share for each in bank.modules()}
    for weight in (m for m in model.modules() if isinstance(m, PackedWeight)):
        if id(weight) not in seen:
            seen.add(id(weight))
            total += shares.get(id(weight), 1.0) * (weight.data.nbytes + weight.scales.nbytes)
    return total


def _transformers(folder: Path):
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None

    @torch.inference_mode()
    def generate(prompt: list[int], count: int) -> None:
        written = model.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False, pad_token_id=0)
        assert written.shape[1] == len(prompt) + count

    return generate, {}


def llama_round(folder: Path, file: Path, mode: str, threads: int) -> dict[str, float]:
    """Tokens per second of llama.cpp by its own benchmark, which warms up before it measures."""
    options, environment = MODES[mode]
    words = [str(folder / "llama-bench"), "-m", str(file), "-p", str(LONG), "-n", str(NEW), "-r", "1", "-o", "json"]
    words += ["-t", str(threads), *options]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env={**os.environ, **ENVIRONMENT, **environment}
    )
    found = {("decode" if test["n_gen"] else "prefill"): test["avg_ts"] for test in json.loads(done.stdout)}
    return {name: found[name] for name in ("decode", "prefill")}


def read_rate(threads: int) -> float:
    """Bytes per second at which this machine reads memory in huge pages."""
    torch.set_num_threads(threads)
    memory = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    values = torch.frombuffer(memory, dtype=torch.int64).fill_(1)
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        values.sum()
        best = min(best, time.perf_counter() - begun)
    return values.nbytes / best


def compare(name: str, model: Path, gguf: Path, llama: Path | None, options: argparse.Namespace) -> list[Row]:
    """All rows of one model."""
    sides: dict[str, Speeds] = {}
    workers = {kind: Worker("ours", model, kind, options.threads) for kind in BITS}
    workers["transformers"] = Worker("transformers", model, "fp32", options.threads)
    files = {kind: quantised_gguf(llama / "llama-quantize", gguf, BITS[kind]) for kind in BITS} if llama else {}
    for number in range(1 if options.quick else 5):
        turns = [(side, worker.round) for side, worker in workers.items()]
        for kind, file in files.items():
            turns += [
                (f"{kind} {mode}", lambda f=file, m=mode: llama_round(llama, f, m, options.threads)) for mode in MODES
            ]
        for side, measure in turns if number % 2 else turns[::-1]:
            for metric, value in measure().items():
                sides.setdefault(side, {}).setdefault(metric, []).append(value)
            print(f"{name}, round {number + 1}, {side}: {sides[side]['decode'][-1]:,.1f} tokens/s", flush=True)
    for worker in workers.values():
        worker.close()
    rows = []
    for kind in BITS:
        rows += rows_of(name, kind, sides, workers[kind].facts["bytes"], model, options.threads)
    return rows


def rows_of(name: str, kind: str, sides: dict[str, Speeds], weights: float, model: Path, threads: int) -> list[Row]:
    """The rows of one model at one number format."""
    case, own = f"{name}, {kind}", sides[kind]
    peers = [(f"{kind} {mode}", f"llama.cpp {BITS[kind]}, {mode}") for mode in MODES if f"{kind} {mode}" in sides]
    rows = []
    for metric, goal in (("decode", LLAMA_GOAL), ("prefill", None)):
        speed, spread = median_and_spread(own[metric])
        if peers:
            best, title = max(peers, key=lambda peer: median_and_spread(sides[peer[0]][metric])[0])
            other, others = median_and_spread(sides[best][metric])
            rows.append(Row(case, metric, "tokens/s", speed, other, title, speed / other, f"{spread} / {others}", goal))
        else:
            rows.append(Row(case, metric, "tokens/s", speed, None, "absent: llama.cpp", None, spread, goal))
        other, others = median_and_spread(sides["transformers"][metric])
        wanted = TRANSFORMERS_GOAL if metric == "decode" else None
        title = "transformers generate, fp32"
        rows.append(Row(case, metric, "tokens/s", speed, other, title, speed / other, f"{spread} / {others}", wanted))
    decode, rate = median_and_spread(own["decode"])[0], read_rate(threads)
    reading = weights * decode / 1e9
    title = f"reading memory alone; a token reads {weights / 1e6:,.0f} MB"
    rows.append(Row(case, "decode", "GB/s", reading, rate / 1e9, title, reading / (rate / 1e9), ""))
    allowed = matmul_rate(torch.float32, torch.device("cpu"))
    allowed /= inspect_model(ModelConfig.load(model), context=LONG).flops_forward
    speed = median_and_spread(own["prefill"])[0]
    rows.append(Row(case, "prefill", "tokens/s", speed, allowed, "fp32 matrix products alone", speed / allowed, ""))
    return rows


def main() -> None:
    """Measures and publishes."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, default=os.environ.get("LLAMA_CPP"), help="folder of llama-bench")
    parser.add_argument("--models", type=Path, help="folder to keep the models in; nothing makes them anew")
    options = parser.parse_args()
    refuse_busy_machine(options.force)
    llama = None if options.llama_cpp is None else Path(options.llama_cpp).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.models or Path(scratch)
        rows = compare("SmolLM2-135M", *smollm2(folder), llama, options)
        rows += compare("0.67 B mixture of experts", *experts(folder), llama, options)
    publish("decode", rows, ("torch", "transformers", "gguf"))


if __name__ == "__main__":
    if "--worker" in sys.argv:
        side, folder, weights, threads = sys.argv[2:]
        work(side, Path(folder), weights, int(threads))
    else:
        main()
