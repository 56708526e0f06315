"""The whole server: answers of a real (tiny, random) model over documents, metered like every other request."""

import pytest
from fastapi.testclient import TestClient
from little_search import LittleSearch
from tiny_model import network, tokenizer  # noqa: F401 - fixtures

from axk1.app import create_app
from axk1.engine.config import EngineConfig
from axk1.engine.llm_engine import LLMEngine
from axk1.serve.database import open_database
from axk1.serve.engine_service import EngineService

TEXT = "세종대왕은 1397년 5월 15일에 태어났다. 그는 1443년에 훈민정음을 창제하였다."


@pytest.fixture
def client(network, tokenizer):  # noqa: F811 - fixtures are taken by their names
    service = EngineService(LLMEngine(network, tokenizer, EngineConfig()), "tiny", max_waiting=8)
    app = create_app(service, open_database("sqlite://"), library=LittleSearch({"lives.txt": TEXT}))
    with TestClient(app, base_url="http://localhost") as client:
        yield client


def test_nothing_of_a_random_model_survives_and_the_source_is_quoted(client):
    answer = client.post("/v1/answers", json={"question": "훈민정음은 언제 창제되었나요?"}).json()
    assert [one["text"] for one in answer["sentences"]] == ["그는 1443년에 훈민정음을 창제하였다."]
    assert answer["reason"]
    assert set(answer["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_the_routes_stand_beside_those_of_the_model(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/search", "/v1/answers", "/v1/passages/{id}", "/v1/chat/completions"} <= set(paths)


def test_without_documents_there_are_no_such_routes(network, tokenizer):  # noqa: F811
    service = EngineService(LLMEngine(network, tokenizer, EngineConfig()), "tiny", max_waiting=8)
    with TestClient(create_app(service, open_database("sqlite://")), base_url="http://localhost") as client:
        assert client.post("/v1/search", json={"query": "a"}).status_code == 404
