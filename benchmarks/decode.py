"""One stream on the CPU: tokens a second of our engine, of llama.cpp and of transformers' ``generate``.

    python benchmarks/decode.py --llama-cpp DIR [--quick] [--threads 2]

``--quick`` takes SmolLM2 alone.

DIR holds llama.cpp's ``llama-bench`` and ``llama-quantize`` (or set ``LLAMA_CPP``); its source distribution
``llama-cpp-python`` builds them with cmake. Without them the rows say so. Every side writes greedily after a prompt of
16 tokens (llama-bench: after none), with as many threads, and the sides take turns. llama.cpp runs at its best of
memory-mapped weights, read weights, and read weights in huge pages, each with and without our settings of the CPU
runtime; transformers at its best of float32 and bfloat16. All sides have the same weights; llama.cpp has the same bits.
"""

import json
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
from axk1.engine.quantised.modules import PackedWeight
from axk1.engine.sampling_params import SamplingParams
from axk1.model.config import ModelConfig

CASES = {"SmolLM2-135M": smollm2, "666 M experts, latent attention": experts}
BITS = {"int8": "Q8_0", "int4": "Q4_0"}
HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
LOADS = {"mmap": ("mmap", {}), "no mmap": ("none", {}), "no mmap, huge pages": ("none", HUGE)}
PROMPT, LONG_PROMPT = 16, 256
GOALS = {"llama.cpp": 1.3, "transformers": 5.0}


def main() -> None:
    """Runs all cases."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, default=os.environ.get("LLAMA_CPP"), help="folder of llama-bench")
    parser.add_argument("--models", type=Path, help="folder that keeps the models for the next run")
    parser.add_argument("--worker", nargs=3, metavar="X", help="for this program's own use")
    options = parser.parse_args()
    if options.worker:
        work(*options.worker, options.threads)
        return
    refuse_busy_machine(options.force)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.models or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        cases = list(CASES)[:1] if options.quick else CASES  # to make the experts takes longer than to measure SmolLM2
        rows = [row for case in cases for row in compare(case, folder, options)]
    publish("decode", rows, ("torch", "transformers", "gguf"))


def compare(case: str, folder: Path, options) -> list[Row]:
    """Times one model in all number formats."""
    model, file = CASES[case](folder)
    tokens, rounds = (64, 2) if options.quick else (128, 9)
    plain = best_of(
        {kind: Worker(model, "transformers", kind, options.threads) for kind in ("float32", "bfloat16")}, tokens // 2
    )
    read, multiply = ceilings(options.threads)
    rows = []
    try:
        for bits, kind in BITS.items():
            peer = None
            if options.llama_cpp is not None:
                tool, bench = (Path(options.llama_cpp) / name for name in ("llama-quantize", "llama-bench"))
                peer = LlamaCpp(
                    bench, quantised_gguf(tool, file, kind), options.threads, tokens, trials=1 if options.quick else 2
                )
            ours = Worker(model, "ours", bits, options.threads)
            try:
                rows += measure(f"{case}, {bits}", ours, peer, plain, tokens, rounds, read, multiply)
            finally:
                ours.process.kill()
    finally:
        plain.process.kill()
    return rows


def measure(case, ours, peer, plain, tokens, rounds, read, multiply) -> list[Row]:
    """Lets the sides take turns, and makes their rows."""
    facts = ours.ask("facts")
    taken = {"ours": [], "llama.cpp": [], "transformers": [], "ours, prompt": [], "llama.cpp, prompt": []}
    for number in range(rounds + 1):
        found = {"ours": ours.ask(f"write {tokens}"), "ours, prompt": ours.ask(f"read {LONG_PROMPT}")}
        if peer is not None:
            found |= dict(zip(("llama.cpp, prompt", "llama.cpp"), peer.run(), strict=True))
        if number <= rounds // 3:  # it is slow, and its figures are steady
            found["transformers"] = plain.ask(f"write {tokens // 4}")
        if number:  # the first turn warms up
            for name, value in found.items():
                taken[name].append(value)
    speed, spread = median_and_spread(taken["ours"])
    name = "llama.cpp: not here, give --llama-cpp" if peer is None else f"llama.cpp {peer.kind}, {peer.mode}"
    rows = [row(case, "decode", "tokens/s", taken["ours"], taken["llama.cpp"], name, "llama.cpp")]
    rows.append(
        row(
            case,
            "decode",
            "tokens/s",
            taken["ours"],
            taken["transformers"],
            f"transformers {plain.kind}",
            "transformers",
        )
    )
    prompt = row(case, f"prompt of {LONG_PROMPT}", "tokens/s", taken["ours, prompt"], taken["llama.cpp, prompt"], name)
    rows.append(prompt)
    gigabytes = speed * facts["bytes"] / 1e9
    each = f"{facts['bytes'] / 1e6:.0f} MB a token"
    rows.append(Row(case, f"weights read, {each}", "GB/s", gigabytes, read, "torch.sum", gigabytes / read, spread))
    rate = 2e-9 * prompt.ours * facts["weights"]
    rows.append(Row(case, "products of the prompt", "GFLOP/s", rate, multiply, "torch.mm float32", rate / multiply, ""))
    return rows


def row(case, metric, unit, ours, peer, name, goal=None) -> Row:
    """Medians of both sides; a peer that is not here has none."""
    (speed, spread), (other, others) = median_and_spread(ours), median_and_spread(peer) if peer else (0.0, "none")
    ratio = speed / other if other else 0.0
    return Row(
        case, metric, unit, speed, other, name, ratio, f"{spread} / {others}", GOALS.get(goal) if other else None
    )


class Worker:
    """One side in a process of its own, which answers line by line."""

    def __init__(self, model: Path, side: str, kind: str, threads: int) -> None:
        self.kind = kind
        words = [sys.executable, __file__, "--threads", str(threads), "--worker", str(model), side, kind]
        environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(words, env=environment, **pipes)

    def ask(self, line: str):
        """Sends a line and returns what comes back."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        while True:
            answer = self.process.stdout.readline()
            if answer.startswith("= "):
                return json.loads(answer[2:])
            if not answer:
                raise RuntimeError(f"the side {self.kind} has ended")


def best_of(workers: dict[str, Worker], tokens: int) -> Worker:
    """The faster side after a warm-up; the others end."""
    speeds = {name: max(worker.ask(f"write {tokens // 4}") for _ in range(2)) for name, worker in workers.items()}
    best = max(speeds, key=speeds.get)
    for name, worker in workers.items():
        if name != best:
            worker.process.kill()
    return workers[best]


class LlamaCpp:
    """llama-bench in the way of loading, and with the settings, that are fastest here."""

    def __init__(self, bench: Path, file: Path, threads: int, tokens: int, *, trials: int) -> None:
        """Args: trials: how often each way is tried before the fastest is chosen."""
        self.kind = file.stem.rsplit("-", 1)[1]
        self._command = [str(bench), "-m", str(file), "-t", str(threads), "-r", "1", "-o", "json"]
        self._sizes = ["-p", str(LONG_PROMPT), "-n", str(tokens)]
        self._modes = {
            f"{load}{', passive' if settings else ''}": (how, {**extra, **settings})
            for load, (how, extra) in LOADS.items()
            for settings in ({}, ENVIRONMENT)
        }
        trial = ["-p", "0", "-n", "48"]
        speeds = {mode: max(self._tests(mode, trial)[True] for _ in range(trials)) for mode in self._modes}
        self.mode = max(speeds, key=speeds.get)

    def run(self) -> tuple[float, float]:
        """Tokens a second of a prompt, and of writing."""
        tests = self._tests(self.mode, self._sizes)
        return tests[False], tests[True]

    def _tests(self, mode: str, sizes: list[str]) -> dict[bool, float]:
        how, settings = self._modes[mode]
        # What this process was started with must not decide how the peer's threads wait.
        plain = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT and "OMP_" not in name}
        command = [*self._command, *sizes, "-lm", how]
        done = subprocess.run(command, env={**plain, **settings}, capture_output=True, check=True)
        return {bool(test["n_gen"]): test["avg_ts"] for test in json.loads(done.stdout)}


def ceilings(threads: int) -> tuple[float, float]:
    """The machine's reading of memory in GB/s and its matrix products in GFLOP/s, the best of five each."""
    torch.set_num_threads(threads)
    numbers, square = torch.ones(1 << 28, dtype=torch.float32), torch.randn(2048, 2048)
    return (
        numbers.nbytes / 1e9 / min(_seconds(numbers.sum) for _ in range(5)),
        2 * 2048**3 / 1e9 / min(_seconds(lambda: square @ square) for _ in range(5)),
    )


def _seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def work(model: str, side: str, kind: str, threads: int) -> None:
    """The worker's process: answers every line of standard input with a figure."""
    torch.set_num_threads(threads)
    write, read, facts = ours(model, kind) if side == "ours" else transformers(model, kind)
    for line in sys.stdin:
        what, *count = line.split()
        answer = facts if what == "facts" else (write if what == "write" else read)(int(count[0]))
        print("=", json.dumps(answer), flush=True)


def ours(model: str, kind: str):
    """Our engine; a new prompt each time, so that the prefix cache finds nothing."""
    llm = LLM.load(model, weights=kind)
    words = llm.tokenizer.vocab_size

    def speed(prompt: int, tokens: int) -> float:
        ids = torch.randint(0, words, (prompt,)).tolist()
        params = SamplingParams(max_tokens=tokens, temperature=0.0, ignore_eos=True)
        sequence = llm.engine.add_request("one", ids, params)[0]
        seconds = _seconds(llm.engine.step)
        if tokens == 1:
            return prompt / seconds
        start = time.perf_counter()
        while sequence.finish_reason is None:
            llm.engine.step()
        return (tokens - 1) / (time.perf_counter() - start)

    return lambda n: speed(PROMPT, n + 1), lambda n: speed(n, 1), _facts(llm)


def _facts(llm: LLM) -> dict[str, float]:
    """Bytes and weights that a token's matrices take: chosen experts only, a tied embedding once."""
    config: ModelConfig = llm.model.config
    size = weights = 0
    for name, module in llm.model.named_modules():
        if not isinstance(module, PackedWeight) or "kv_b_proj" in name:
            continue
        if name.startswith("embed_tokens") and module is not llm.model.lm_head.packed:
            continue
        share = config.num_experts_per_tok / config.n_routed_experts if ".experts." in name else 1.0
        size += share * module.packed.nbytes
        weights += share * module.shape[0] * module.shape[1] * module.shape[2]
    head = config.vocab_size * config.hidden_size  # a prompt needs it for its last token alone
    return {"bytes": size, "weights": weights - head}


def transformers(model: str, kind: str):
    """transformers' ``generate``, greedy."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, kind)).eval()

    def write(tokens: int) -> float:
        ids = torch.randint(0, 256, (1, PROMPT))
        options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)}
        first = _seconds(lambda: network.generate(ids, max_new_tokens=1, min_new_tokens=1, **options))
        both = _seconds(lambda: network.generate(ids, max_new_tokens=tokens + 1, min_new_tokens=tokens + 1, **options))
        return tokens / (both - first)

    return write, None, {}


if __name__ == "__main__":
    main()
