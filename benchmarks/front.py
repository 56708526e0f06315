"""What a front adds to a request: ``axk1 serve --upstream`` beside LiteLLM's proxy, before an upstream without cost.

    python benchmarks/front.py --litellm ENVIRONMENT/bin/python

LiteLLM pins much, so it wants an environment of its own (``pip install 'litellm[proxy]'``); without it its rows say so.
All three ways are asked in turn in each round: straight, through our front, through LiteLLM, by the same client.
"""

import contextlib
import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import Row, arguments, publish, refuse_busy_machine

HERE = Path(__file__).parent
CASES = [("whole", 1), ("whole", 16), ("stream of 64 pieces", 1), ("stream of 64 pieces", 16)]
KEY = f"sk-{secrets.token_hex(32)}"
"""LiteLLM does not start without one."""
LITELLM = """model_list:
  - model_name: "null"
    litellm_params: {{model: openai/null, api_base: "http://127.0.0.1:{port}/v1", api_key: none}}
litellm_settings: {{telemetry: false}}
"""


def main() -> None:
    """Runs all cases and publishes the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--litellm", help="python of an environment that has litellm[proxy]")
    options = parser.parse_args()
    refuse_busy_machine(options.force)
    with contextlib.ExitStack() as stack:
        words = ["-m", "uvicorn", "--app-dir", str(HERE), "--log-level", "error", "null_upstream:app"]
        null, _ = stack.enter_context(running([sys.executable, *words]))
        front, _ = stack.enter_context(
            running([sys.executable, "-m", "axk1", "serve", "--upstream", f"http://127.0.0.1:{null}/v1"])
        )
        ports = {"straight": null, "ours": front}
        if options.litellm:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "config.yaml").write_text(LITELLM.format(port=null))
            command = [options.litellm, str(Path(options.litellm).parent / "litellm"), "--host", "127.0.0.1"]
            ports["peer"] = stack.enter_context(running([*command, "--config", str(folder / "config.yaml")]))[0]
        rounds = 3 if options.quick else 20
        rows = [row for kind, at_once in CASES for row in _case(kind, at_once, ports, rounds)]
    publish("front", rows, ("fastapi", "httpx", "uvicorn"))


def _case(kind: str, at_once: int, ports: dict[str, int], rounds: int) -> list[Row]:
    """One kind of request with some at once -> rows for the median and the 99th percentile of the added time."""
    taken: dict[str, list[float]] = {name: [] for name in ports}
    for turn in range(rounds + 1):
        for name, port in ports.items():
            found = ask_many(port, streamed=kind != "whole", at_once=at_once)
            taken[name] += found if turn else []  # the first round warms up
    rows = []
    for metric, share in (("p50", 0.5), ("p99", 0.99)):
        figures = {name: quantile(times, share) * 1000 for name, times in taken.items()}
        ours = figures["ours"] - figures["straight"]
        peer = figures["peer"] - figures["straight"] if "peer" in figures else float("nan")
        name = "LiteLLM proxy" if "peer" in figures else "LiteLLM proxy: not installed here, see --litellm"
        spread = ", ".join(f"{who} {figure:.2f} ms" for who, figure in figures.items())
        case = f"{kind}, {at_once} at once"
        rows.append(Row(case, f"latency added, {metric}", "ms", ours, peer, name, peer / ours, spread))
    return rows


def ask_many(port: int, *, streamed: bool, at_once: int, requests: int = 64, key: str = KEY) -> list[float]:
    """Seconds that each of some requests took."""
    body = json.dumps({"model": "null", "messages": [{"role": "user", "content": "good morning"}], "stream": streamed})

    def one_client(count: int) -> list[float]:
        connection, taken = http.client.HTTPConnection("127.0.0.1", port, timeout=60), []
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        for _ in range(count):
            begun = time.perf_counter()
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            taken.append(time.perf_counter() - begun)
            assert answer.status == 200 and (b"[DONE]" in text) == streamed, text[:300]
        connection.close()
        return taken

    with ThreadPoolExecutor(at_once) as clients:
        return [seconds for each in clients.map(one_client, [requests // at_once] * at_once) for seconds in each]


def quantile(values: list[float], share: float) -> float:
    """The value below which a share of them lies."""
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


@contextlib.contextmanager
def running(command: list[str], key: str = KEY) -> Iterator[tuple[int, subprocess.Popen]]:
    """A server as a process, with its port, as soon as it answers. Args: key: one that it lets in."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "LITELLM_MASTER_KEY": KEY}
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        while True:
            with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as it:
                it.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
                if it.getresponse().status == 200:
                    break
            if process.poll() is not None:
                sys.exit(f"error: {' '.join(command)} ended with {process.returncode}")
            time.sleep(0.1)
        yield port, process
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
