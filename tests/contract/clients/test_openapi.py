"""schemathesis against our own OpenAPI page: whatever it thinks of, no route fails, and answers are as documented."""

import subprocess
import sys

import httpx
from serving import serve


def test_no_route_fails_whatever_is_asked(tiny, tmp_path):
    with serve(tiny, "--max-model-len", "64") as server:
        words = [f"{server.url}/openapi.json", "--url", server.url, "--checks", "all", "--max-examples", "12"]
        words += ["--phases", "examples,coverage,fuzzing", "--seed", "1", "--suppress-health-check", "all"]
        # What a request may ask depends on the model too (its context, its tokens), which no page can say.
        # Starlette tells only the first route's method of a path that has several.
        words += ["--exclude-checks", "positive_data_acceptance,allow_header_conformance"]
        command = [sys.executable, "-m", "schemathesis.cli", "run", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert "Traceback" not in server.log.read_text()
