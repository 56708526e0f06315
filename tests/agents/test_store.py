"""Leases, transactions and tenants on SQLite and on PostgreSQL."""

import asyncio
import multiprocessing
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import update

from axk1.agents.audit import broken_at, lines
from axk1.agents.lease import is_dead, new_owner
from axk1.agents.limits import Limits, Usage
from axk1.agents.run import Call, CallState, NoSuchRun, Question, Run, RunBusy, Status, Step
from axk1.agents.store import RunStore, StoredStep
from axk1.serve.database import open_database

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=timezone(timedelta(hours=9)))


def new_run(name: str, tenant: str = "", *, at: datetime = NOW) -> Run:
    return Run(name, tenant, "key", "목표", "ko", Status.RUNNING, at, "/nowhere", ["add_event"])


def step(kind: str = "input", content="목표") -> Step:
    return Step(0, kind, NOW, content=content, message={"role": "user", "content": content}, by="key")


def test_what_is_recorded_comes_back(any_store: RunStore):
    any_store.create(new_run("run_1"), [step()])
    lease = any_store.take("", "run_1", new_owner(), 60)
    call = Call(1, "call_1", "add_event", {"title": "회의"}, CallState.STARTED, NOW, expires_at=NOW, files=("a.txt",))
    question = Question("call_1", "add_event", [{"name": "start", "question": "언제?"}])
    any_store.record(lease, steps=[step("call"), step("result", {"a": [1, None]})], calls=[call])
    done = replace(call, state=CallState.DONE, content={"b": 1.5}, undo={"id": "x"}, untrusted=True)
    usage = Usage(turns=1, cost=0.25)
    run = any_store.record(
        lease, calls=[done], status=Status.INPUT_REQUIRED, question=question, usage=usage, leave=True
    )
    again = any_store.run("", "run_1")
    assert again == run and again.calls == [replace(done, files=["a.txt"])] and again.question == question
    assert [one.number for one in again.steps] == [1, 2, 3] and again.steps[2].content == {"a": [1, None]}
    assert again.limits == Limits() and again.usage == usage and again.created_at == NOW
    assert broken_at("run_1", again.steps) is None


def test_one_process_at_a_time(any_store: RunStore):
    any_store.create(new_run("run_1"), [step()])
    first = any_store.take("", "run_1", "elsewhere|1|1|a", 60)
    with pytest.raises(RunBusy):
        any_store.take("", "run_1", "elsewhere|2|2|b", 60)
    assert any_store.unfinished("agent") == []
    any_store.leave(first)
    assert [run.id for run in any_store.unfinished("agent")] == ["run_1"]


def test_a_lease_that_ended_is_taken_and_its_holder_writes_nothing_more(any_store: RunStore):
    any_store.create(new_run("run_1"), [step()])
    stalled = any_store.take("", "run_1", "elsewhere|1|1|a", 0.05)
    time.sleep(0.1)
    other = any_store.take("", "run_1", "elsewhere|2|2|b", 60)
    for attempt in (lambda: any_store.record(stalled, steps=[step()]), lambda: any_store.renew(stalled)):
        with pytest.raises(RunBusy, match="taken over"):
            attempt()
    any_store.leave(stalled)  # takes nothing from the other
    assert len(any_store.record(other, steps=[step()]).steps) == 2


def _take(url: str, barrier, taken) -> None:
    from axk1.serve.database import open_database

    store = RunStore(open_database(url))
    barrier.wait()
    try:
        store.take("", "run_1", new_owner(), 60)
        taken.put(True)
    except RunBusy:
        taken.put(False)
    barrier.wait()  # who has it lives until all have tried


def test_of_processes_that_want_a_run_at_once_one_gets_it(any_store: RunStore):
    any_store.create(new_run("run_1"), [step()])
    context = multiprocessing.get_context("spawn")
    barrier, taken = context.Barrier(3), context.Queue()
    url = any_store._database.url.render_as_string(hide_password=False)
    workers = [context.Process(target=_take, args=(url, barrier, taken)) for _ in range(3)]
    for worker in workers:
        worker.start()
    got = [taken.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(got) == [False, False, True]
    assert any_store.unfinished("agent")  # whose owner has gone


def test_an_owner_of_this_machine_that_is_gone_is_dead():
    mine = new_owner()
    place, pid, started, _ = mine.split("|")
    assert not is_dead(mine) and is_dead(f"{place}|{pid}|{int(started) - 1}|x") and is_dead(f"{place}|4194303|1|x")
    assert not is_dead(f"another/machine|{pid}|1|x") and not is_dead("nonsense")


def test_tenants_see_only_their_own(any_store: RunStore):
    for number, tenant in enumerate(["a", "b", "a"]):
        any_store.create(new_run(f"run_{number}", tenant, at=NOW + timedelta(minutes=number)), [step()])
    assert [run.id for run in any_store.runs("a")] == ["run_2", "run_0"]
    assert [run.id for run in any_store.runs("a", before="run_2")] == ["run_0"]
    attempts = [
        lambda: any_store.run("b", "run_0"),
        lambda: any_store.steps("b", "run_0"),
        lambda: any_store.take("b", "run_0", new_owner(), 1),
        lambda: any_store.cancel("b", "run_0"),
        lambda: any_store.runs("b", before="run_0"),
    ]
    for attempt in attempts:
        with pytest.raises(NoSuchRun):
            attempt()


def test_a_changed_step_is_seen(any_store: RunStore):
    any_store.create(new_run("run_1"), [step(content=f"{n}") for n in range(4)])
    assert len(list(lines("run_1", any_store.run("", "run_1").steps))) == 4
    with any_store._database.begin() as connection:
        connection.execute(update(StoredStep).where(StoredStep.number == 3).values(content="other"))
    assert broken_at("run_1", any_store.run("", "run_1").steps) == 3


def test_the_loop_runs_on_either_database(any_store: RunStore, runner_of, inbox):
    from model_server import turns

    from axk1.agents.run import Input

    def rules(messages, _):
        mail = {"to": ["a@example.com"], "subject": "s", "body": "b"}
        return [("send_mail", mail)] if not turns(messages) else "sent"

    runner = runner_of(rules, store=any_store)
    run = asyncio.run(runner.start("write to a@example.com"))
    run = asyncio.run(runner.give(run.id, Input(confirm=True)))
    assert run.status is Status.COMPLETED and len(inbox.mails) == 1


class LateRenewal(RunStore):
    """Renews a lease only once the last step has given it back."""

    def __init__(self, database) -> None:
        super().__init__(database)
        self.renewing, self.left = threading.Event(), threading.Event()

    def renew(self, lease):
        self.renewing.set()
        self.left.wait(10)
        super().renew(lease)

    def record(self, lease, *, leave=False, **given):
        if leave:
            assert self.renewing.wait(10)
        run = super().record(lease, leave=leave, **given)
        if leave:
            self.left.set()
            time.sleep(0.3)  # the renewal fails before the loop hears that all is recorded
        return run


def test_a_renewal_that_comes_too_late_breaks_no_run_that_has_ended(runner_of, tmp_path):
    store = LateRenewal(open_database(f"sqlite:///{tmp_path}/late.db"))
    runner = runner_of(lambda *_: "done", store=store, lease_seconds=0.2)
    run = asyncio.run(runner.start("hello"))
    assert run.status is Status.COMPLETED and run.answer == "done"
