"""The tables of docs/agents-measured.md are what the results say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_made_from_the_results():
    command = [sys.executable, str(ROOT / "benchmarks/make_agents_tables.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
