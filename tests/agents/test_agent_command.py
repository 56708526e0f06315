"""``axk1 agent``: the plan, questions and confirmations in a terminal, leaving and going on."""

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from model_server import serving, turns

from axk1.agents.command import AgentConfig, ListConfig, agent, list_runs
from axk1.agents.run import Status
from axk1.core.chat_client import ChatClient
from axk1.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
MAIL = {"to": ["minsu@example.com"], "subject": "회의", "body": "봅시다."}


@asynccontextmanager
async def opened(address):
    async with ChatClient(address) as client:
        yield client


def rules(messages, _):
    if "메일" in messages[1]["content"]:
        return [("send_mail", MAIL)] if turns(messages) == 0 else "보냈습니다."
    return [("add_event", {"title": "회의"})] if turns(messages) == 0 else "잡았습니다."


@pytest.fixture
def config(tmp_path):
    with serving(rules) as url:

        def make(**options):
            return AgentConfig(model=url, workspace=tmp_path / "w", database=f"sqlite:///{tmp_path}/a.db", **options)

        yield make


def person(*lines):
    """Somebody who says these lines, then leaves."""
    left = list(lines)

    def read(_):
        if not left:
            raise EOFError
        return left.pop(0)

    return read


def test_it_asks_and_names_the_files(config, tools, capsys):
    run = agent(opened, config(goal="내일 회의 잡아줘"), read=person("오후 3시"), tools=tools)
    told = capsys.readouterr()
    assert run.status is Status.COMPLETED and "잡았습니다." in told.out and "events.json" in told.out
    assert "언제인가요?" in told.err and "CONFIRM" in told.err


def test_yes_never_agrees_to_a_mail(config, tools, inbox, capsys):
    asked = config(goal="minsu@example.com 에게 메일 보내줘", yes=True)
    run = agent(opened, asked, read=person(), tools=tools)
    assert run.status is Status.CONFIRMATION_REQUIRED and inbox.mails == []
    assert f"axk1 agent --resume {run.id}" in capsys.readouterr().err
    run = agent(opened, config(resume=run.id, say="네"), read=person(), tools=tools)
    assert run.status is Status.COMPLETED and len(inbox.mails) == 1


def test_yes_agrees_to_what_only_writes(config, tools, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("effects: {write: CONFIRM}")
    run = agent(opened, config(goal="내일 3시 회의", yes=True, policy=policy), read=person("내일 3시"), tools=tools)
    assert run.status is Status.COMPLETED


def test_runs_are_listed(config, tools, tmp_path, capsys):
    run = agent(opened, config(goal="회의 잡아줘"), read=person(), tools=tools)
    capsys.readouterr()
    listing = ListConfig(database=f"sqlite:///{tmp_path}/a.db", status=Status.INPUT_REQUIRED, json=True)
    assert [one.id for one in list_runs(listing)] == [run.id]
    assert run.id in capsys.readouterr().out


def test_a_goal_or_a_run_is_needed(config):
    with pytest.raises(ConfigError, match="goal = None"):
        AgentConfig()
    with pytest.raises(ConfigError, match="say"):
        AgentConfig(goal="x", say="y")
    with pytest.raises(ConfigError, match="model = None"):
        agent(opened, AgentConfig(goal="x"), read=person())


def test_the_command_line_with_the_built_in_tools(tmp_path):
    def writes(messages, _):
        return [("write_file", {"path": "memo.txt", "text": "우유"})] if turns(messages) == 0 else "적었습니다."

    with serving(writes) as url:
        words = ["agent", "메모장에 우유라고 적어줘", "--model", url, "--workspace", str(tmp_path / "w")]
        words += ["--database", f"sqlite:///{tmp_path}/a.db"]
        done = subprocess.run(
            [sys.executable, "-m", "axk1", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
        )
    assert done.returncode == 0, done.stderr
    assert "적었습니다." in done.stdout and (tmp_path / "w" / "memo.txt").read_text() == "우유"


def test_tools_of_other_programs_are_used(tmp_path, tools, capsys):
    def rules(messages, asked):
        names = [tool["function"]["name"] for tool in asked["tools"]]
        assert "sample__add" in names and "add_event" in names
        return [("sample__add", {"a": 19, "b": 23})] if turns(messages) == 0 else "42입니다."

    sample = str(Path(__file__).with_name("mcp_sample_server.py"))
    (tmp_path / "mcp.json").write_text(
        json.dumps({"mcpServers": {"sample": {"command": sys.executable, "args": [sample], "trusted": True}}})
    )
    (tmp_path / "policy.yaml").write_text("tools: {sample__remove: BLOCK}\n")
    with serving(rules) as url:
        config = AgentConfig(
            goal="19에 23을 더해줘", model=url, workspace=tmp_path / "w", database=f"sqlite:///{tmp_path}/a.db",
            mcp=tmp_path / "mcp.json", policy=tmp_path / "policy.yaml",
        )  # fmt: skip
        assert agent(opened, config, dry_run=True, tools=tools) is None
        run = agent(opened, config, read=person(), tools=tools)
    assert "sample" in capsys.readouterr().err
    assert run.status is Status.COMPLETED and "42" in json.dumps([step.content for step in run.steps], default=str)


def test_a_brief_student_reads_tools_in_a_line_and_writes_its_calls(tmp_path, tools):
    asked = []

    def rules(messages, request):
        asked.append(request)
        done = any(message["role"] == "tool" for message in messages)
        call = {"name": "answer", "arguments": {"text": "잡았습니다."}}
        return json.dumps(call if done else {"name": "add_event", "arguments": {"title": "회의"}}, ensure_ascii=False)

    with serving(rules) as url:
        config = AgentConfig(
            goal="내일 오후 3시에 회의 잡아줘", model=url, workspace=tmp_path / "w", brief=True,
            database=f"sqlite:///{tmp_path}/a.db",
        )  # fmt: skip
        run = agent(opened, config, read=person("내일 오후 3시"), tools=tools)
    assert run.status is Status.COMPLETED and run.answer == "잡았습니다." and run.files == ("events.json",)
    assert all("tools" not in request and request["response_format"] for request in asked)
    assert "add_event(title, start" in asked[0]["messages"][0]["content"]
