"""What a person sees while work goes on: a plan first, then progress with a rate and an ETA, then what comes next."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""Where plans, progress and errors go; results go to standard output."""


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{human(speed)} {task.fields['unit']}/s" if speed else "", style="cyan")


@contextlib.contextmanager
def progress(label: str, *, total: float | None, unit: str) -> Iterator["Meter"]:
    """Shows a bar with rate and ETA on a terminal, and a line every ten seconds where there is none.

    Args:
        label: what is being done.
        total: how many units there are in all; None when unknown.
        unit: the name of a unit, such as ``tokens`` or ``documents``.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        _RateColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    if console.is_terminal:
        with Progress(*columns, console=console, transient=False) as bar:
            yield Meter(label, total, unit, bar)
    else:
        meter = Meter(label, total, unit, None)
        yield meter
        meter.print_line()


class Meter:
    """Counts finished units and shows them. Make one with ``progress``."""

    def __init__(self, label: str, total: float | None, unit: str, bar: Progress | None) -> None:
        self.label, self.total, self.unit, self.note = label, total, unit, ""
        self.done = 0.0
        self._skipped = 0.0
        self._start = self._last_line = time.monotonic()
        self._bar = bar
        self._task = bar.add_task(label, total=total, unit=unit, note="") if bar else None

    def skip(self, amount: float) -> None:
        """Counts units that an earlier run finished, without letting them flatter the rate."""
        self._skipped += amount
        self.done += amount
        if self._bar:
            self._bar.update(self._task, completed=self.done)

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """Counts finished units; ``note`` is a short text shown beside the bar, such as the loss."""
        self.done += amount
        self.note = note or self.note
        if self._bar:
            self._bar.update(self._task, advance=amount, note=self.note)
        elif time.monotonic() - self._last_line > 10:
            self.print_line()

    def print_line(self) -> None:
        """Prints where the work stands, for logs."""
        self._last_line = time.monotonic()
        elapsed = max(self._last_line - self._start, 1e-9)
        rate = (self.done - self._skipped) / elapsed
        part = f" of {human(self.total)}" if self.total else ""
        left = self.total - self.done if self.total else 0
        eta = f", ETA {duration(left / rate)}" if left > 0 and rate else ""
        note = f"  {self.note}" if self.note else ""
        console.print(f"{self.label}: {human(self.done)}{part} {self.unit}, {human(rate)}/s{eta}{note}")


def print_plan(title: str, rows: Mapping[str, object]) -> None:
    """Prints what a command is about to do: one line per fact."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")  # a long path goes on in the next line, whole
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)


def print_next(command: str) -> None:
    """Prints the next command to run, as the last line of a stage."""
    console.print(f"[green]next:[/green] {command}")
    sys.stderr.flush()


def human(number: float | None) -> str:
    """A count for people: 950, 12.3 K, 4.56 M, 518.98 B."""
    if number is None:
        return "?"
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "K")):
        if abs(number) >= limit:
            scaled = number / (1e3 if unit == "K" else limit)
            return f"{scaled:.2f} {unit}" if scaled < 1000 else f"{scaled:.1f} {unit}"
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.2f}"


def si(number: float, unit: str) -> str:
    """A quantity with a decimal prefix: 512 B, 2.95 MB, 34.6 GFLOP."""
    prefixes = ("", "k", "M", "G", "T", "P", "E")
    step = 0
    while abs(number) >= 999.5 and step < len(prefixes) - 1:
        number, step = number / 1000, step + 1
    return f"{number:.3g} {prefixes[step]}{unit}"


def duration(seconds: float) -> str:
    """A time span for people: 0.4 s, 42 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
