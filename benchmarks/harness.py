"""What every benchmark shares: facts about the machine, refusing a busy one, rows, the table and the JSON file."""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
BUSY = 0.15
"""Share of the machine that other programs may use before a benchmark refuses to start."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison. A ratio above 1 always means that ours is better."""

    case: str
    metric: str
    unit: str
    ours: float | None
    peer: float | None
    """None where a side could not be measured; its name then says why."""
    peer_name: str
    ratio: float | None
    spread: str
    """Smallest to largest of both sides."""
    goal: float | None = None
    """The ratio that was aimed at."""

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None where there is none."""
        return None if self.goal is None or self.ratio is None else self.ratio >= self.goal


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less of everything: ends within two minutes")
    parser.add_argument("--force", action="store_true", help="run although other programs use the machine")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each side")
    return parser


def refuse_busy_machine(force: bool) -> None:
    """Leaves with exit code 2 when others use more than ``BUSY`` of the cores that this process may use."""
    before = _busy_seconds()
    time.sleep(2)
    share = (_busy_seconds() - before) / 2 / len(os.sched_getaffinity(0))
    if share > BUSY and not force:
        print(
            f"error: other programs use {share:.0%} of the machine; allowed: {BUSY:.0%}\nrepair: stop them, or --force"
        )
        sys.exit(2)


def _busy_seconds() -> float:
    """Seconds that this process's cores have been at work since the machine started."""
    busy = 0
    for line in Path("/proc/stat").read_text().splitlines():
        match = re.match(r"cpu(\d+) (.*)", line)
        if match and int(match[1]) in os.sched_getaffinity(0):
            user, nice, system, _idle, _wait, *rest = map(int, match[2].split())
            busy += user + nice + system + sum(rest[:2])
    return busy / os.sysconf("SC_CLK_TCK")


def median_and_spread(values: list[float]) -> tuple[float, str]:
    """The median, and the smallest and largest value in words."""
    return statistics.median(values), f"{min(values):,.0f} - {max(values):,.0f}"


def figure(value: float | None, unit: str) -> str:
    """A measured value in words; nothing for one that could not be measured."""
    return "" if value is None else f"{value:,.4g} {unit}"


def goal_reached(goal: float | None, met: bool | None) -> str:
    """A goal and whether it was reached, in words; nothing where there is no goal."""
    return "" if goal is None else f"{goal:g} x: { {True: 'met', False: 'missed', None: 'not measured'}[met] }"


def publish(name: str, rows: list[Row], packages: tuple[str, ...]) -> Path:
    """Prints the table and writes ``results/NAME-<machine>.json``."""
    table = Table(title=name, title_justify="left")
    for column in ("case", "metric", "ours", "peer", "", "ratio", "spread, ours / peer", "goal"):
        table.add_column(column)
    for row in rows:
        sides = [figure(value, row.unit) for value in (row.ours, row.peer)]
        figures = [*sides, row.peer_name, "" if row.ratio is None else f"{row.ratio:.2f} x"]
        table.add_row(row.case, row.metric, *figures, row.spread, goal_reached(row.goal, row.met))
    Console(width=150).print(table)
    machine = _machine()
    words = re.sub(r"[^a-z0-9]+", "-", f"{machine['cpu']} {machine['cores']} cores".lower()).strip("-")
    path = RESULTS / f"{name}-{words}.json"
    path.parent.mkdir(exist_ok=True)
    document = {
        "benchmark": name,
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_without_place, sys.argv[1:])]),
        "commit": _commit(),
        "machine": machine,
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}},
        "date": time.strftime("%Y-%m-%d"),
        "rows": [{**dataclasses.asdict(row), "met": row.met} for row in rows],
    }
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path.relative_to(Path(__file__).parents[1])}")
    return path


def _without_place(word: str) -> str:
    """A word of a command, without where on this machine something lies."""
    return Path(word).name.upper() if Path(word).is_absolute() else word


def _machine() -> dict[str, object]:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*:\s*(.*)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cpu = re.sub(r"\(R\)|CPU |@", "", name[1]).strip() if name else platform.processor()
    return {
        "cpu": " ".join(cpu.split()),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": None,
        "memory_gb": round(memory),
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
