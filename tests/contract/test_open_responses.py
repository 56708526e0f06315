"""The compliance suite of Open Responses against ``axk1 serve``, where a checkout of it is at hand.

    OPEN_RESPONSES=path/to/openresponses python -m pytest tests/contract/test_open_responses.py

The checkout needs ``bun`` and ``zod`` beside it (``npm install bun@1.4.5 zod@3.25.76``). ``OPEN_RESPONSES_MODEL`` names
the checkpoint that answers; the suite wants whole answers, so it must have learned to end them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import free_port, listening_program

SUITE = os.environ.get("OPEN_RESPONSES")
MODEL = Path(os.environ.get("OPEN_RESPONSES_MODEL") or "out/nano/student")
NOT_FOR_US = {"image-input": "the model cannot see", "tool-calling": "a small model does not choose to call a tool"}

pytestmark = [
    pytest.mark.skipif(SUITE is None, reason="OPEN_RESPONSES names no checkout of the compliance suite"),
    pytest.mark.skipif(not MODEL.exists(), reason=f"there is no checkpoint {MODEL} (make quickstart, or name another)"),
]


@pytest.fixture
def url(tmp_path):
    port = free_port()
    words = ["serve", str(MODEL), "--served-model-name", "model", "--port", str(port)]
    words += ["--database", f"sqlite:///{tmp_path}/axk1.db"]
    with listening_program([sys.executable, "-m", "axk1", *words], port):
        yield f"http://127.0.0.1:{port}"


def run(url: str, cases: list[str]) -> dict[str, list[str]]:
    """Runs some cases, or all; returns all results by the case, empty where it has passed."""
    bun = Path(SUITE) / "node_modules/.bin/bun"
    words = ["run", "bin/compliance-test.ts", "--base-url", f"{url}/v1", "--api-key", "k", "--model", "model", "--json"]
    words += ["--filter", ",".join(cases)] if cases else []
    command = [str(bun) if bun.exists() else "bun", *words]
    done = subprocess.run(command, cwd=SUITE, capture_output=True, text=True, timeout=600)
    results = json.loads(done.stdout)["results"]
    return {result["id"]: result["errors"] or [] if result["status"] != "passed" else [] for result in results}


def test_every_case_that_a_model_of_text_can_pass(url):
    results = run(url, [])
    assert len(results) == 17 and results["image-input"]
    for _ in range(3):  # drawn at temperature 1, a small model talks to the end of its context now and then
        again = [case for case, errors in results.items() if errors and case not in NOT_FOR_US]
        results |= run(url, again) if again else {}
    failed = {case: errors for case, errors in results.items() if errors}
    assert set(failed) <= set(NOT_FOR_US), failed
