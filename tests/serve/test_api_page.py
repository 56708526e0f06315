"""``docs/api.md``: its examples run, and it names every route and every field there is."""

import re
from pathlib import Path

from axk1.serve.database import open_database
from axk1.serve.protocol import ChatRequest, EmbeddingRequest
from axk1.serve.responses import router as responses
from axk1.serve.responses.protocol import ResponseRequest
from axk1.serve.responses.store import ResponseStore
from axk1.serve.router import router

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8000"


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M)[1]


def test_the_examples_run(roomy):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) > 5 and ADDRESS in blocks[0]
    program = "\n".join(blocks).replace(ADDRESS, roomy.url.removeprefix("http://")).replace('"student"', '"tiny"')
    exec(compile(program, "api.md", "exec"), {})


def test_all_routes_are_named(server, tmp_path):
    store = ResponseStore(open_database(f"sqlite:///{tmp_path}/axk1.db"))
    routes = [*router(server.service).routes, *responses.router(server.service, store).routes]
    real = {(next(iter(getattr(route, "methods", ["WebSocket"]))), route.path) for route in routes}
    named = re.findall(r"`(GET|POST|DELETE|WebSocket) (/[^`]*)`", section("Routes"))
    assert {(verb, path.replace("{name}", "{name:path}")) for verb, path in named} == real


def test_all_fields_are_named():
    for request, title in ((ChatRequest, "Chat completions"), (ResponseRequest, "Responses")):
        for name in request.model_fields:
            assert name in ("model", "messages") or re.search(rf"`{name}[`.]|\b{name}\b", section(title)), name
    for name in EmbeddingRequest.model_fields:
        assert name == "model" or f"`{name}`" in section("Embeddings")
