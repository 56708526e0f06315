"""The routes under ``/v1/agents``: a real server, real tools, a model of rules behind it as its upstream."""

import json
import threading
import time

import httpx
import pytest
from model_server import serving, turns
from programs import until
from running_server import listening

from axk1.agents.host import Equipment
from axk1.agents.run import Status
from axk1.agents.store import RunStore
from axk1.serve.database import open_database
from axk1.serve.tenants.directory import Directory
from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.service import UpstreamService

MAIL = {"to": ["minsu@example.com"], "subject": "회의", "body": "봅시다."}


def rules(messages, _):
    goal = messages[1]["content"]
    if "메일" in goal:
        return [("send_mail", MAIL)] if turns(messages) == 0 else "보냈습니다."
    if turns(messages) == 0:
        return [("add_event", {"title": "회의"})]
    return "잡았습니다."


@pytest.fixture
def place(tmp_path, tools):
    with serving(rules) as model:
        yield f"sqlite:///{tmp_path}/axk1.db", Equipment(tools, tmp_path / "work"), model


def opened(place, **options):
    """The address of a server there."""
    url, equipment, model = place
    return listening(UpstreamService([Upstream(model)]), database=url, equipment=equipment, **options)


@pytest.fixture
def client(place):
    with (
        opened(place) as url,
        httpx.Client(base_url=f"{url}/v1/agents/runs", timeout=30, follow_redirects=True) as client,
    ):
        yield client


def waited(client, run_id, headers=None):
    """The run when it no longer works."""
    run = {}

    def ready():
        run.update(client.get(f"/{run_id}", headers=headers).json())
        return run["status"] != "running"

    until(ready)
    return run


def events_of(client, run_id, headers=None):
    """The events of a stream to its end: (id, event, data)."""
    found = []
    with client.stream("GET", f"/{run_id}/events", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        event = {}
        for line in stream.iter_lines():
            if line == "data: [DONE]":
                return found
            if not line and event:
                found.append((event.get("id"), event.get("event"), json.loads(event["data"])))
                event = {}
            elif line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value
    return found


def test_a_run_asks_and_goes_on(client):
    made = client.post("", json={"goal": "내일 회의 잡아줘"}).json()
    assert made["object"] == "agent.run" and made["status"] == "running" and made["language"] == "ko"
    run = waited(client, made["id"])
    assert run["status"] == "input_required" and run["confirmation"] is None
    assert run["question"]["slots"] == [{"name": "start", "question": "언제인가요?"}]
    given = client.post(f"/{run['id']}/input", json={"text": "오후 3시"})
    assert given.status_code == 200 and given.json()["status"] == "running"
    run = waited(client, run["id"])
    assert run["status"] == "completed" and run["answer"] == "잡았습니다." and run["undoable"] == ["call_2"]
    assert [one["path"] for one in run["files"]] == ["events.json"] and run["usage"]["turns"] == 2
    file = client.get(f"/{run['id']}/files/events.json")
    assert file.json()[0]["title"] == "회의" and len(file.content) == run["files"][0]["bytes"]
    undone = client.post(f"/{run['id']}/undo", json={"call_id": "call_2"}).json()
    assert undone["undoable"] == [] and client.get(f"/{run['id']}/files/events.json").json() == []


def test_events_are_told_live_and_again_from_any_number(client):
    run_id = client.post("", json={"goal": "minsu@example.com 에게 메일 보내줘"}).json()["id"]
    waited(client, run_id)
    live = []
    reader = threading.Thread(target=lambda: live.extend(events_of(client, run_id)))
    reader.start()
    time.sleep(0.5)
    confirmation = client.get(f"/{run_id}").json()["confirmation"]
    assert confirmation["preview"] == "to minsu@example.com: 회의\n봅시다." and confirmation["expires_at"]
    client.post(f"/{run_id}/input", json={"confirm": True, "call_id": confirmation["call_id"]})
    reader.join(timeout=30)
    assert not reader.is_alive()
    steps = [data for _, event, data in live if event == "step"]
    assert [step["number"] for step in steps] == list(range(1, len(steps) + 1))
    assert [step["type"] for step in steps] == ["input", "call", "confirmation", "input", "result", "answer"]
    states = [data["status"] for _, event, data in live if event == "run"]
    assert states[0] == "confirmation_required" and states[-1] == "completed"
    again = events_of(client, run_id, headers={"Last-Event-ID": "4"})
    assert [number for number, event, _ in again if event == "step"] == ["5", "6"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "", {"goal": " "}, 400, "goal"),
        ("POST", "", {"goal": "x", "tool": []}, 400, "tool"),
        ("POST", "", {"goal": "x", "tools": ["send_mial"]}, 400, "did you mean 'send_mail'"),
        ("POST", "", {"goal": "x", "limits": {"max_turn": 3}}, 400, "did you mean 'max_turns'"),
        ("POST", "", {"goal": "x", "limits": {"max_turns": 0}}, 400, "max_turns"),
        ("POST", "", {"goal": "x\0y"}, 400, "NUL"),
        ("GET", "/run_none", None, 404, "run_none"),
        ("GET", "/run_none/events", None, 404, "run_none"),
        ("POST", "/RUN/input", {"confirm": True}, 400, "it takes text or slots"),
        ("POST", "/RUN/input", {"text": "a", "confirm": True}, 400, "one of text, slots, confirm"),
        ("POST", "/RUN/input", {"slots": {"x": 1}}, 400, "slots.x"),
        ("POST", "/RUN/undo", {"call_id": "call_9"}, 400, "call_9"),
        ("GET", "/RUN/files/..%2F..%2Faxk1.db", None, 404, "no file"),
        ("GET", "/RUN/files//etc/passwd", None, 404, "no file"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(client, method, path, body, status, said):
    run_id = client.post("", json={"goal": "회의 잡아줘"}).json()["id"]
    waited(client, run_id)
    answer = client.request(method, path.replace("RUN", run_id), json=body)
    assert answer.status_code == status and said in answer.json()["error"]["message"]


def test_runs_are_listed_newest_first_and_cancelled(client):
    ids = [client.post("", json={"goal": f"회의 {n} 잡아줘"}).json()["id"] for n in range(3)]
    page = client.get("", params={"limit": 2}).json()
    assert [run["id"] for run in page["data"]] == ids[:0:-1] and page["has_more"]
    rest = client.get("", params={"after": page["last_id"]}).json()
    assert [run["id"] for run in rest["data"]] == ids[:1] and not rest["has_more"]
    waited(client, ids[0])
    assert client.post(f"/{ids[0]}/cancel").json()["status"] == "cancelled"


def test_a_run_goes_on_when_its_server_is_started_again(place):
    with opened(place) as url, httpx.Client(base_url=f"{url}/v1/agents/runs", follow_redirects=True) as client:
        run_id = client.post("", json={"goal": "회의 잡아줘"}).json()["id"]
        waited(client, run_id)
    store = RunStore(open_database(place[0]))
    lease = store.take("", run_id, "another machine|1|1|x", 0.01)  # which dies when it has taken it up
    store.record(lease, status=Status.RUNNING, question=None)
    with opened(place) as url, httpx.Client(base_url=f"{url}/v1/agents/runs", follow_redirects=True) as client:
        assert waited(client, run_id)["status"] == "completed"


def test_a_tenant_never_reaches_anothers_run(place, tmp_path):
    database = open_database(place[0])
    directory = Directory(database)
    keys = []
    for name in ("하나", "둘"):
        directory.add(name, time_zone="Asia/Seoul")
        keys.append(directory.add_key(name)[1])
    database.dispose()
    mine, other = ({"Authorization": f"Bearer {key}"} for key in keys)
    with (
        opened(place, with_tenants=True) as url,
        httpx.Client(base_url=f"{url}/v1/agents/runs", timeout=30, follow_redirects=True) as client,
    ):
        assert client.get("").status_code == 401
        run_id = client.post("", json={"goal": "회의 잡아줘"}, headers=mine).json()["id"]
        waited(client, run_id, mine)
        client.post(f"/{run_id}/input", json={"text": "내일 3시"}, headers=mine)
        run = waited(client, run_id, mine)
        assert run["status"] == "completed"
        attempts = [
            ("GET", "", None), ("GET", "/events", None), ("POST", "/input", {"text": "x"}), ("POST", "/cancel", None),
            ("POST", "/undo", {"call_id": "call_2"}), ("GET", "/files/events.json", None),
        ]  # fmt: skip
        for method, path, body in attempts:
            assert client.request(method, f"/{run_id}{path}", json=body, headers=other).status_code == 404, path
        assert client.get("", headers=other).json()["data"] == []
        assert client.get("", params={"after": run_id}, headers=other).status_code == 404
        assert client.get(f"/{run_id}/files/events.json", headers=mine).status_code == 200
    folders = {path.name for path in (tmp_path / "work").iterdir()}
    assert len(folders) == 1 and not folders & {"everybody"}
