"""/v1/search, /v1/passages and /v1/answers, over HTTP's forms."""

import json

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from little_search import LittleSearch

from axk1.search.router import router
from axk1.serve import errors

TEXT = (
    "세종대왕은 1397년 5월 15일에 태어났다. 그는 1443년에 훈민정음을 창제하였다."
    "\n\n이순신은 1545년에 서울에서 태어났다."
)
QUESTION = "훈민정음은 언제 창제되었나요?"


@pytest.fixture(scope="module")
def client() -> TestClient:
    library = LittleSearch({"lives.txt": TEXT}, {"lives.txt": "2024-05-01"})
    app = FastAPI()
    errors.install(app)
    app.include_router(router(lambda: library, lambda _: None))
    return TestClient(app)


def test_search_and_the_passage_in_its_place(client):
    found = client.post("/v1/search", json={"query": "이순신", "limit": 3}).json()
    assert found["object"] == "list"
    [hit] = found["data"]
    assert set(hit) == set(
        ["id", "document", "title", "section", "page", "start", "end", "text", "date", "score", "ranks"]
    )
    assert TEXT[hit["start"] : hit["end"]] == hit["text"]
    opened = client.get(f"/v1/passages/{hit['id']}").json()
    assert opened["before"] + opened["text"] + opened["after"] == TEXT
    assert opened["date"] == "2024-05-01"


def test_an_answer(client):
    answer = client.post("/v1/answers", json={"question": QUESTION}).json()
    assert set(answer) == set(
        [
            "id",
            "object",
            "language",
            "answer",
            "sentences",
            "sources",
            "struck",
            "refused",
            "reason",
            "queries",
            "usage",
        ]
    )
    assert answer["object"] == "answer"
    [sentence] = answer["sentences"]
    assert "1443년" in sentence["text"]
    assert sentence["citations"] == [1]
    assert all(check["passed"] for check in sentence["checks"])
    [reference] = sentence["evidence"]
    assert TEXT[reference["start"] : reference["end"]].strip() == sentence["text"]
    assert answer["sources"][0]["number"] == 1
    assert answer["queries"][0] == QUESTION
    messages = [{"role": "user", "content": "세종대왕은 언제 태어났나요?"}, {"role": "assistant", "content": "1397년."}]
    followed = {"messages": [*messages, {"role": "user", "content": "그는 언제 훈민정음을 창제하였나요?"}]}
    assert "1443년" in client.post("/v1/answers", json=followed).json()["answer"]


def test_a_refusal_is_an_answer(client):
    answer = client.post("/v1/answers", json={"question": "Who founded Samsung?"}).json()
    assert answer["refused"]
    assert answer["sentences"] == answer["sources"] == []
    assert answer["language"] == "en"


def test_the_steps_are_streamed(client):
    with client.stream("POST", "/v1/answers", json={"question": QUESTION, "stream": True}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = [event.split("\n") for event in "".join(stream.iter_text()).strip().split("\n\n")]
    assert events[-1] == ["data: [DONE]"]
    names = [lines[0] for lines in events[:-1]]
    assert names == ["event: step"] * 4 + ["event: answer"]
    steps = [json.loads(lines[1].removeprefix("data: ")) for lines in events[:-1]]
    assert [step["step"] for step in steps[:-1]] == ["rewrite", "search", "read", "write"]
    assert "1443년" in steps[-1]["answer"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("search", {"query": ""}, "query"),
        ("search", {"query": "a", "limit": 0}, "limit"),
        ("search", {"query": "a", "since": "2024-13-01"}, "since"),
        ("search", {"query": "a", "until": "yesterday"}, "until"),
        ("search", {"query": "a", "unknown": 1}, "unknown"),
        ("answers", {"question": "a", "language": "fr"}, "language"),
        ("answers", {"question": "a", "max_sources": 99}, "max_sources"),
        ("answers", {"question": "a", "messages": [{"role": "user", "content": "b"}]}, None),
        ("answers", {}, None),
        ("answers", {"messages": [{"role": "assistant", "content": "b"}]}, None),
        ("answers", {"messages": [{"role": "user", "content": " "}]}, "messages"),
    ],
)
def test_errors_name_the_field(client, path, body, param):
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param


def test_no_such_passage(client):
    answer = client.get("/v1/passages/nothing")
    assert answer.status_code == 404
    assert "nothing" in answer.json()["error"]["message"]


def test_an_error_after_the_first_step_is_an_event(client):
    body = {"messages": [{"role": "user", "content": " "}], "stream": True}
    with client.stream("POST", "/v1/answers", json=body) as stream:
        text = "".join(stream.iter_text())
    assert "event: error" in text
    assert text.endswith("data: [DONE]\n\n")
