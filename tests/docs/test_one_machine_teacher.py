"""The tables of docs/one-machine-teacher.md are what the planner and the results say."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_made_from_the_planner_and_the_results():
    command = [sys.executable, str(ROOT / "benchmarks/make_stream_tables.py"), "--check"]
    checkout = {**os.environ, "PYTHONPATH": str(ROOT)}  # the planner of this checkout, wherever axk1 is installed from
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120, env=checkout)
    assert checked.returncode == 0, checked.stderr
