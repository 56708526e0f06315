"""What keys, limits and the ledger cost a request: ``axk1 serve`` with tenants beside the same server without.

    python benchmarks/metering.py [--quick]

All sides stand before an upstream without cost, on SQLite or on the PostgreSQL that the tests start, which waits for
the disk here. The organisation has a limit of every kind. The sides are asked in turn in each round, by one client and
by sixteen at once. The last row tells what the disk alone takes for what every answer has to wait for.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from front import ask_many, quantile, running
from harness import Row, arguments, publish, refuse_busy_machine

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "serve"))
from postgres import Postgres, PostgresUnavailable  # noqa: E402 - it lies among the tests

CLIENTS = (1, 16)
PLAIN = "without tenants"
LIMITS = ("requests-per-minute", "tokens-per-minute", "tokens-per-day", "tokens-per-month")
ROUNDS, REQUESTS = 12, 64


def main() -> None:
    """Runs all cases and publishes the table."""
    options = arguments(__doc__.splitlines()[0]).parse_args()
    refuse_busy_machine(options.force)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls, absent = databases(stack, folder)
        words = ["-m", "uvicorn", "--app-dir", str(HERE), "--log-level", "error", "null_upstream:app"]
        null, _ = stack.enter_context(running([sys.executable, *words]))
        upstream = ["--upstream", f"http://127.0.0.1:{null}/v1"]
        sides = {PLAIN: Side(stack, [*upstream, "--database", f"sqlite:///{folder}/plain.db"], "none")}
        for name, url in urls.items():
            sides[name] = Side(stack, [*upstream, "--database", url], tenant(url))
        rounds = 3 if options.quick else ROUNDS
        rows = [row for at_once in CLIENTS for row in case(sides, at_once, rounds)]
        waits = [1e3 * seconds for seconds in disk(folder)]
    rows += [Row("all", "latency added, p50", "ms", None, None, why, None, "") for why in absent]
    spread = f"{min(waits):.2f} - {max(waits):.2f} ms"
    rows.append(Row("fsync of 4 KiB", "time", "ms", None, statistics.median(waits), "the disk alone", None, spread))
    publish("metering", rows, ("fastapi", "sqlalchemy", "psycopg", "uvicorn"))


def databases(stack: contextlib.ExitStack, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Addresses of empty databases, and why others are not among them."""
    found = {"SQLite": f"sqlite:///{folder}/metered.db"}
    try:
        postgres = Postgres(fsync=True)
    except PostgresUnavailable as error:
        return found, [str(error)]
    stack.callback(postgres.stop)
    return {**found, "PostgreSQL": postgres.new_database()}, []


def tenant(url: str) -> str:
    """A key of a new organisation with limits that nobody reaches."""
    limits = [word for name in LIMITS for word in (f"--{name}", "1000000000")]
    axk1 = [sys.executable, "-m", "axk1", "tenants"]
    subprocess.run([*axk1, "add", "bench", *limits, "--database", url], check=True, capture_output=True)
    made = [*axk1, "key", "bench", *limits, "--database", url, "--json"]
    return json.loads(subprocess.run(made, check=True, capture_output=True, text=True).stdout)["key"]


class Side:
    """One server."""

    def __init__(self, stack: contextlib.ExitStack, words: list[str], key: str) -> None:
        """Args: stack: ends the server; words: options of ``axk1 serve``; key: opens it."""
        self._key = key
        command = [sys.executable, "-m", "axk1", "serve", *words]
        self._port, self._process = stack.enter_context(running(command, key))

    def round(self, at_once: int) -> tuple[list[float], float]:
        """Seconds that each request took, and CPU seconds of the server for one of them."""
        before = self._cpu()
        taken = ask_many(self._port, streamed=False, at_once=at_once, requests=REQUESTS, key=self._key)
        return taken, (self._cpu() - before) / len(taken)

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def case(sides: dict[str, Side], at_once: int, rounds: int) -> list[Row]:
    """Latency and CPU time of a request with so many clients."""
    for side in sides.values():
        side.round(at_once)  # warms up
    found: dict[str, list[tuple[list[float], float]]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides) if turn % 2 else list(sides)[::-1]:
            found[name].append(sides[name].round(at_once))
    latency = {name: [seconds for taken, _ in each for seconds in taken] for name, each in found.items()}
    cpu = {name: [1e3 * seconds for _, seconds in each] for name, each in found.items()}
    rows = []
    for name in [side for side in sides if side != PLAIN]:
        title = f"{name}, {at_once} client{'s' if at_once > 1 else ''}"
        for metric, share in (("p50", 0.5), ("p99", 0.99)):
            own, other = (1e3 * quantile(latency[side], share) for side in (name, PLAIN))
            rows.append(Row(title, f"latency, {metric}", "ms", own, other, PLAIN, other / own, ""))
        own, other = (statistics.median(cpu[side]) for side in (name, PLAIN))
        spread = " / ".join(f"{min(cpu[side]):.1f} - {max(cpu[side]):.1f}" for side in (name, PLAIN))
        rows.append(Row(title, "CPU time of a request", "ms", own, other, PLAIN, other / own, spread))
    return rows


def disk(folder: Path) -> list[float]:
    """Seconds that it takes to have a page on the disk."""
    waits = []
    with (folder / "page").open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(4096))
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            waits.append(time.perf_counter() - begun)
    return waits


if __name__ == "__main__":
    main()
