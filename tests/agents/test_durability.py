"""Processes are killed; others go on. Every mail goes exactly once, or the person is asked."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from model_server import turns
from small_tools import mail_tool

from axk1.agents.acting import Change
from axk1.agents.run import CallState, Input, Status
from axk1.agents.tool import ToolRefusal

ROOT = Path(__file__).resolve().parents[2]
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}


def send_once(messages, _):
    return [("send_mail", MAIL)] if not turns(messages) else "sent"


def test_random_kills_lose_nothing_and_do_nothing_twice():
    command = [sys.executable, str(ROOT / "benchmarks/agent_kills.py")]
    words = ["--kills", "15", "--database", "sqlite", "--json", "--seed", "7"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)["sqlite"]
    assert found["kills"] >= 15 and found["mails"] >= 6
    wrong = ("lost", "twice", "unexpected", "events_lost", "events_twice", "calls_not_done", "trails_broken")
    assert {name: found[name] for name in (*wrong, "results_not_one_per_call")} == dict.fromkeys(
        (*wrong, "results_not_one_per_call"), 0
    )


def interrupted(runner, store, *, sent: bool):
    """A run whose process died behind ``started``: before the mail went, or behind."""
    run = asyncio.run(runner.start("write to a@example.com"))
    lease = store.take("", run.id, "elsewhere|1|1|x", 60)
    call = replace(run.waiting, state=CallState.STARTED)
    change = Change([call], [], {"status": Status.RUNNING})
    store.record(lease, steps=change.steps, calls=change.calls, **change.changed)
    if sent:
        asyncio.run(runner._actor.execute(run, call))
    store.leave(lease)
    return run


def test_a_mail_that_went_before_the_crash_is_found(runner_of, store, inbox):
    runner = runner_of(send_once)
    run = interrupted(runner, store, sent=True)
    run = asyncio.run(runner.resume(run.id))
    assert run.status is Status.COMPLETED and len(inbox.mails) == 1
    assert "before the interruption" in run.calls[0].content


def test_a_mail_that_did_not_go_is_sent(runner_of, store, inbox):
    runner = runner_of(send_once)
    run = asyncio.run(runner.resume(interrupted(runner, store, sent=False).id))
    assert run.status is Status.COMPLETED and len(inbox.mails) == 1


def test_where_nobody_can_know_the_person_decides(runner_of, store, inbox, tools):
    sender = replace(mail_tool(inbox.port, inbox.folder), recover=None)
    runner = runner_of(send_once, tools={**tools, "send_mail": sender})
    run = asyncio.run(runner.resume(interrupted(runner, store, sent=True).id))
    assert run.status is Status.CONFIRMATION_REQUIRED and "nobody can know" in run.waiting.preview
    run = asyncio.run(runner.give(run.id, Input(confirm=False)))
    assert run.status is Status.COMPLETED and len(inbox.mails) == 1


def test_a_recovery_that_cannot_know_asks_too(runner_of, store, inbox, tools):
    def recover(context, **_):
        raise ToolRefusal("the mail server keeps no copies")

    sender = replace(mail_tool(inbox.port, inbox.folder), recover=recover)
    runner = runner_of(send_once, tools={**tools, "send_mail": sender})
    run = asyncio.run(runner.resume(interrupted(runner, store, sent=False).id))
    assert run.status is Status.CONFIRMATION_REQUIRED and "keeps no copies" in run.waiting.preview
    run = asyncio.run(runner.give(run.id, Input(text="네")))
    assert run.status is Status.COMPLETED and len(inbox.mails) == 1


def test_a_paused_run_goes_on_in_another_process_with_its_question(runner_of, store):
    def rules(messages, _):
        return [("add_event", {"title": "회의"})] if not turns(messages) else "끝"

    run = asyncio.run(runner_of(rules).start("회의 잡아줘"))
    other = runner_of(rules)
    assert asyncio.run(other.resume(run.id)).question.text == "언제인가요?"
    assert asyncio.run(other.give(run.id, Input(text="내일 3시"))).status is Status.COMPLETED


def test_a_run_that_is_held_is_not_run_twice(runner_of, store):
    runner = runner_of(send_once)
    run = asyncio.run(runner.open("write to a@example.com"))
    both = asyncio.run(_both(runner, run.id))
    assert sorted(type(one).__name__ for one in both) == ["Run", "RunBusy"]
    assert runner.store.run("", run.id).usage.turns == 1


async def _both(runner, run_id):
    return await asyncio.gather(runner.resume(run_id), runner.resume(run_id), return_exceptions=True)
