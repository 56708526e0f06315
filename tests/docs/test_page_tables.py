"""The tables in the pages of the docs are what the results say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("maker", sorted(path.name for path in (ROOT / "benchmarks").glob("make_*_tables.py")))
def test_tables_are_made_from_the_results(maker):
    command = [sys.executable, str(ROOT / "benchmarks" / maker), "--check"]
    checkout = {**os.environ, "PYTHONPATH": str(ROOT)}  # the planner of this checkout, wherever axk1 is installed from
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120, env=checkout)
    assert checked.returncode == 0, checked.stderr
