"""Runs of an agent whose process is killed again and again: is every mail sent exactly once?

    python benchmarks/agent_kills.py [--kills 200] [--database sqlite|postgresql] [--seed 1] [--quick]

A run sends mails through a real SMTP server and writes events, by turns, with a person's yes before each mail. Its
process gets SIGKILL at a random moment, and another one goes on, until the run ends; then the next run begins, until
there were enough kills. The mail server takes its time between having a mail and saying so, so that many kills fall
where the sender cannot know. The model is a server of rules: what it says follows from the conversation alone.
"""

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from harness import Row, arguments, publish
from sqlalchemy import Engine

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests" / "agents"), str(HERE.parent / "tests" / "serve")]
from model_server import serving, turns  # noqa: E402 - it lies among the tests
from postgres import Postgres  # noqa: E402
from programs import free_port  # noqa: E402
from small_tools import Inbox, add_event, find_contact, list_events, mail_tool  # noqa: E402

from axk1.agents.audit import broken_at  # noqa: E402
from axk1.agents.loop import Runner  # noqa: E402
from axk1.agents.run import CallState, Input, Run, Status  # noqa: E402
from axk1.agents.store import RunStore  # noqa: E402
from axk1.core.chat_client import ChatClient  # noqa: E402
from axk1.serve.database import open_database  # noqa: E402

MAILS = 6
"""Mails of a run, and as many events."""
ADDRESSES = [f"person{number}@example.com" for number in range(MAILS)]
GOAL = f"Write to {', '.join(ADDRESSES)}, and put these into the calendar for tomorrow at 3pm: {', '.join('ABCDEF')}"
LONGEST_LIFE = 0.4
"""How long a process lives at most before it is killed, as a share of the time that a whole run takes undisturbed."""


def rules(messages: Any, _: Any) -> Any:
    """A mail, then an event beside a look into the calendar, and so on; the same for the same conversation."""
    turn, address = turns(messages), ADDRESSES
    if turn >= 2 * MAILS:
        return "All are written to."
    if turn % 2 == 0:
        return [("send_mail", {"to": [address[turn // 2]], "subject": f"Mail {turn // 2}", "body": "Hello."})]
    event = {"title": "ABCDEF"[turn // 2], "start": messages[0]["content"].split("Now: ")[1][:10] + "T15:00"}
    return [("find_contact", {"name": f"{turn}"}), ("list_events", {}), ("add_event", tomorrow(event))]


def tomorrow(event: dict[str, Any]) -> dict[str, Any]:
    """The event a day later."""
    start = datetime.datetime.fromisoformat(event["start"]) + datetime.timedelta(days=1)
    return {**event, "start": start.isoformat()}


def worker(where: dict[str, Any]) -> None:
    """Forks processes that carry runs on, and kills them; prints a line of JSON for each run.

    The first run is left alone, here: so all that is imported and prepared once is there before the first fork.
    """
    chance = random.Random(where["seed"])
    runner, database = _runner(where)
    kills, longest = -1, 0.0
    while kills < where["kills"]:
        run_id = asyncio.run(runner.open(GOAL)).id
        told = {"run": run_id, "kills": 0}
        if kills < 0:
            began, kills = time.monotonic(), 0
            asyncio.run(_carry_on(runner, run_id))
            longest = LONGEST_LIFE * (time.monotonic() - began)
        database.dispose()  # a connection must not live in two processes
        while True:
            child = os.fork()
            if child == 0:
                os._exit(0 if asyncio.run(_carry_on(runner, run_id)) else 3)
            if _ended(child, chance.uniform(0, longest)):
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            told["kills"] += 1
        kills += told["kills"]
        print(json.dumps(told), flush=True)


def _ended(child: int, seconds: float) -> bool:
    """Whether a process ends by itself within some time. Raises RuntimeError where it failed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            if status != 0:
                raise RuntimeError(f"the process failed with status {status}")
            return True
        time.sleep(0.002)
    return False


def _runner(where: dict[str, Any]) -> tuple[Runner, Engine]:
    tools = [find_contact, list_events, add_event, mail_tool(where["port"], Path(where["inbox"]))]
    database = open_database(where["database"])
    named = {one.name: one for one in tools}
    model = ChatClient(where["model"])
    return Runner(model, named, RunStore(database), workspace=Path(where["workspace"])), database


async def _carry_on(runner: Runner, run_id: str) -> bool:
    """A process's life: goes on, says yes to each mail, until the run ends."""
    run = await runner.resume(run_id)
    while run.status is Status.CONFIRMATION_REQUIRED:
        run = await runner.give(run_id, Input(confirm=True))
    return run.status is Status.COMPLETED


def measure(kills: int, database: str, seed: int) -> dict[str, Any]:
    """Kills processes and counts what came of it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder}/axk1.db"
        if database == "postgresql":
            postgres = Postgres()
            stack.callback(postgres.stop)
            url = postgres.new_database()
        inbox = Inbox(folder / "received", answer_seconds=0.03)
        port = free_port()
        controller = Controller(inbox, hostname="127.0.0.1", port=port)
        controller.start()
        stack.callback(controller.stop)
        where = {"database": url, "port": port, "inbox": str(inbox.folder), "workspace": str(folder / "work")}
        where |= {"model": stack.enter_context(serving(rules)), "kills": kills, "seed": seed}
        began = time.monotonic()
        command = [sys.executable, __file__, "--worker", json.dumps(where)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        told = [json.loads(line) for line in done.stdout.splitlines()]
        store = RunStore(open_database(url))
        runs = [store.run("", one["run"]) for one in told]
        figures = _counted(runs, inbox, Path(where["workspace"]))
        return {"kills": sum(one["kills"] for one in told), "seconds": time.monotonic() - began, **figures}


def _counted(runs: list[Run], inbox: Inbox, workspace: Path) -> dict[str, Any]:
    mails = [(run, call) for run in runs for call in run.calls if call.tool == "send_mail"]
    wanted = [f"<{run.id}.{call.number}@axk1.test>" for run, call in mails]
    received = [found for mail in inbox.mails for found in re.findall(r"<\S+@axk1\.test>", mail)]
    events = json.loads((workspace / "events.json").read_text())
    calls = [(run, call) for run in runs for call in run.calls]
    results = [(run.id, step.call_id) for run in runs for step in run.steps if step.type == "result"]
    recovered = "the mail was sent before the interruption"
    return {
        "runs": len(runs),
        "mails": len(wanted),
        "lost": len(set(wanted) - set(received)),
        "twice": len(received) - len(set(received)),
        "unexpected": len(set(received) - set(wanted)),
        "events_lost": len(runs) * MAILS - len(events),
        "events_twice": len(events) - len({one["id"] for one in events}),
        "calls_not_done": sum(call.state is not CallState.DONE for _, call in calls),
        "results_not_one_per_call": abs(len(results) - len(calls)) + len(results) - len(set(results)),
        "trails_broken": sum(broken_at(run.id, run.steps) is not None for run in runs),
        "mails_found_sent": sum(call.content == recovered for _, call in calls),
    }


def main() -> None:
    """Kills on each database and publishes the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print the counts as JSON and write nothing")
    options = parser.parse_args()
    if options.worker:
        worker(json.loads(options.worker))
        return
    kills = 20 if options.quick else options.kills
    names = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    found = {name: measure(kills, name, options.seed) for name in names}
    if options.json:
        print(json.dumps(found))
        return
    rows = [
        Row(f"{figures['kills']} kills, {name}", metric.replace("_", " "), "", value, None, "none", None, "")
        for name, figures in found.items()
        for metric, value in figures.items()
        if metric != "kills"
    ]
    publish("agent_kills", rows, ("sqlalchemy", "psycopg", "aiosmtpd", "httpx"))


if __name__ == "__main__":
    main()
