"""``axk1 serve --agent-mcp``: agents of a server use tools of MCP servers; both are processes of their own."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from model_server import results, serving
from programs import free_port, listening_program, until

from axk1 import cli
from axk1.agents.mcp.connection import ServerLost
from axk1.core.errors import ConfigError

SAMPLE = Path(__file__).with_name("mcp_sample_server.py")


def rules(messages, _):
    done = results(messages)
    if not done:
        return [("sample__add", {"a": 2, "b": 40})]
    if len(done) == 1:
        return [("sample__note", {"text": done[0]})]
    return "적었습니다."


@pytest.fixture
def mcp(tmp_path):
    """A table of servers that is written with changes."""

    def written(**changes):
        servers = {"sample": {"command": sys.executable, "args": [str(SAMPLE)], **changes}}
        (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
        return str(tmp_path / "mcp.json")

    return written


@contextmanager
def served(folder, model, *words):
    port = free_port()
    words = [*words, "--port", str(port), "--database", f"sqlite:///{folder}/axk1.db", "--workspace", str(folder)]
    command = [sys.executable, "-m", "axk1", "serve", "--upstream", model, *words]
    url = f"http://127.0.0.1:{port}/v1/agents"
    with listening_program(command, port, log=folder / "log"), httpx.Client(base_url=url, timeout=60) as client:
        yield client


def waited(client, run_id):
    until(lambda: client.get(f"/runs/{run_id}").json()["status"] != "running")
    return client.get(f"/runs/{run_id}").json()


def test_a_run_uses_them_and_goes_on_after_the_server_was_killed(tmp_path, mcp):
    (tmp_path / "policy.yaml").write_text("tools: {sample__add: ALLOW}\n")
    with serving(rules) as model:
        words = ["--agent-mcp", mcp(), "--agent-policy", str(tmp_path / "policy.yaml")]
        with served(tmp_path, model, *words) as client:
            run_id = client.post("/runs", json={"goal": "2와 40을 더해 적어줘"}).json()["id"]
            run = waited(client, run_id)
            # The policy lets it add; noting is a stranger's word for what may be sending, so it asks.
            assert run["status"] == "confirmation_required" and "42" in run["confirmation"]["preview"]
        with served(tmp_path, model, *words) as client:
            client.post(f"/runs/{run_id}/input", json={"confirm": True, "call_id": run["confirmation"]["call_id"]})
            run = waited(client, run_id)
            assert run["status"] == "completed" and run["answer"] == "적었습니다."
            told = [str(step["content"]) for step in run["steps"] if step["type"] == "result"]
            assert len(told) == 2 and "42" in told[0] and "noted" in told[1]
    assert "sample__add, sample__remove, sample__note" in (tmp_path / "log").read_text()


def test_what_is_wrong_is_said_before_it_serves(tmp_path, mcp):
    with serving(rules) as model:
        words = ["serve", "--upstream", model, "--dry-run", "--agent-mcp"]
        (tmp_path / "policy.yaml").write_text("tools: {sample__ad: ALLOW}\n")
        with pytest.raises(ConfigError, match="sample__ad is no tool, did you mean 'sample__add'"):
            cli.dispatch([*words, mcp(), "--agent-policy", str(tmp_path / "policy.yaml")])
        with pytest.raises(ConfigError, match=r"mcpServers.sample.allow_sampling = True is not allowed"):
            cli.dispatch([*words, mcp(allow_sampling=True)])
        with pytest.raises(ServerLost, match="the MCP server sample"):
            cli.dispatch([*words, mcp(args=["-c", "raise SystemExit('broken')"])])
