"""The tables of docs/one-machine-teacher.md are what the planner and the results say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_made_from_the_planner_and_the_results():
    command = [sys.executable, str(ROOT / "benchmarks/make_stream_tables.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120, env=None, cwd=ROOT)
    assert checked.returncode == 0, checked.stderr
