"""Reads the scores of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from axk1.eval.report.findings import Measure
from axk1.eval.report.run_folder import Missing, RunFolder
from axk1.eval.report.words import Words


@dataclass(frozen=True)
class Scores:
    measures: Sequence[Measure]
    note: Words
    table_note: Words
    missing: Sequence[Missing]


def read_scores(run: RunFolder) -> Scores:
    return Scores([], Words("", ""), Words("", ""), [])
