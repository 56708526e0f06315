"""Requests through a server that meters: every path, every way in which an answer ends, what clients are told."""

import asyncio
import inspect
import json
from collections.abc import Iterator

import httpx
import openai
import pytest
from programs import until
from running_server import Running, start
from sqlalchemy import select
from websockets.sync.client import connect

from axk1.serve.database import open_database
from axk1.serve.service import ModelService
from axk1.serve.tenants.directory import Directory
from axk1.serve.tenants.limits import Limits
from axk1.serve.tenants.metered import MeteredService
from axk1.serve.tenants.report import audit_rows, usage_rows
from axk1.serve.tenants.tables import Hold, LedgerEntry

CHAT = {"messages": [{"role": "user", "content": "제3조 예산은"}], "seed": 5}
LONG = {"max_tokens": 400, "ignore_eos": True}


class Metered:
    """A server with tenants, and its database."""

    def __init__(self, running: Running, url: str) -> None:
        self.running, self.url = running, running.url
        self.database = open_database(url)
        self.directory = Directory(self.database)
        self.count = 0

    def key(self, key_limits=None, **limits) -> str:
        """The key of a fresh organisation."""
        self.count += 1
        name = f"org {self.count}"
        self.directory.add(name, time_zone="UTC", limits=Limits(**limits))
        return self.directory.add_key(name, limits=Limits(**(key_limits or {})))[1]

    def client(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=100)

    def post(self, key: str, path: str, body: dict, **options) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, **{"timeout": 100, **options})

    def entries(self, key: str, step: str = "settled") -> list:
        mine = (LedgerEntry.key == key.split("_")[1]) & (LedgerEntry.step == step)
        with self.database.connect() as connection:
            return list(connection.execute(select(LedgerEntry.__table__).where(mine).order_by(LedgerEntry.id)))

    def open_requests(self, key: str) -> int:
        with self.database.connect() as connection:
            return len(connection.execute(select(Hold.request).where(Hold.key == key.split("_")[1])).all())


@pytest.fixture(scope="module")
def metered(network, tokenizer, tmp_path_factory) -> Iterator[Metered]:
    url = f"sqlite:///{tmp_path_factory.mktemp('state')}/axk1.db"
    for running in start(network, tokenizer, database=url, with_tenants=True):
        yield Metered(running, url)


def test_no_method_of_a_models_service_escapes_the_meter():
    names = {name for name, _ in inspect.getmembers(ModelService, inspect.isfunction) if not name.startswith("_")}
    asking = {name for name in names if "caller" in inspect.signature(getattr(ModelService, name)).parameters}
    assert asking == {"chat", "complete", "embed"}, "a new path must be metered, and tested below"
    assert names <= set(vars(MeteredService))


PATHS = {
    "chat": ("/v1/chat/completions", CHAT | {"max_tokens": 9}),
    "completions": ("/v1/completions", {"prompt": ["제3조", "The committee"], "max_tokens": 7, "seed": 1, "n": 2}),
    "responses": ("/v1/responses", {"input": "제3조 예산은", "max_output_tokens": 9, "model": "tiny"}),
    "embeddings": ("/v1/embeddings", {"input": ["제3조", "The committee"], "model": "tiny"}),
}


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_metered_as_it_says(metered, path):
    key = metered.key(tokens_per_day=10_000)
    address, body = PATHS[path]
    usage = metered.post(key, address, body).raise_for_status().json()["usage"]
    (entry,) = metered.entries(key)
    prompt, completion = (usage.get(f"{a}_tokens", usage.get(f"{b}_tokens", 0)) for a, b in
                          (("prompt", "input"), ("completion", "output")))  # fmt: skip
    assert (entry.prompt_tokens, entry.completion_tokens) == (prompt, completion) and prompt > 0
    assert (entry.model, entry.outcome, entry.estimated) == ("tiny", "done", False)
    assert metered.open_requests(key) == 0


@pytest.mark.parametrize("path", ["chat", "completions", "responses"])
def test_a_stream_costs_what_a_whole_answer_costs(metered, path):
    address, body = PATHS[path]
    keys = [metered.key(tokens_per_day=10_000) for _ in range(2)]
    body = {**body, "temperature": 0}
    metered.post(keys[0], address, body).raise_for_status()
    metered.post(keys[1], address, {**body, "stream": True}).raise_for_status()
    whole, stream = ([(e.prompt_tokens, e.completion_tokens) for e in metered.entries(key)] for key in keys)
    assert whole == stream and len(whole) == 1


def test_a_websocket_is_metered_and_its_key_may_end_while_it_is_open(metered):
    key = metered.key(tokens_per_day=10_000)
    address = metered.url.replace("http", "ws") + "/v1/responses"
    ask = json.dumps({"type": "response.create", "input": "제3조", "model": "tiny", "max_output_tokens": 5})
    with connect(address, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
        socket.send(ask)
        while (event := json.loads(socket.recv(timeout=60)))["type"] not in (
            "response.completed",
            "response.incomplete",
        ):
            pass
        (entry,) = metered.entries(key)  # it is there before the end is told
        assert entry.completion_tokens == event["response"]["usage"]["output_tokens"]
        metered.directory.revoke(key)
        socket.send(ask)
        refused = json.loads(socket.recv(timeout=60))
    assert (refused["type"], refused["status"], refused["error"]["code"]) == ("error", 401, "invalid_api_key")


def test_the_end_of_an_answer_is_told_when_it_is_on_disk(metered):
    key = metered.key()
    body = CHAT | {"max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", f"{metered.url}/v1/chat/completions", json=body, headers=headers, timeout=100) as answer:
        for line in answer.iter_lines():
            chunk = json.loads(line[6:]) if line.startswith("data: {") else {}
            ends = any(choice["finish_reason"] for choice in chunk.get("choices", ()))
            if ends or chunk.get("usage") or line == "data: [DONE]":
                assert len(metered.entries(key)) == 1
    assert metered.open_requests(key) == 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["chat", "completions"])
def test_a_client_that_leaves_pays_what_was_written_once(metered, path, stream):
    key = metered.key(tokens_per_day=100_000)
    address, body = PATHS[path]
    body, headers = {**body, **LONG, "stream": stream, "n": 2}, {"Authorization": f"Bearer {key}"}
    engine = metered.running.service.engine.engine
    before = engine.generation_tokens
    if stream:
        with httpx.stream("POST", metered.url + address, json=body, headers=headers, timeout=100) as answer:
            lines = answer.iter_lines()
            for _ in range(20):
                next(lines)
    else:
        with pytest.raises(httpx.ReadTimeout):
            metered.post(key, address, body, timeout=httpx.Timeout(100, read=0.3))
    until(metered.running.idle)
    until(lambda: metered.entries(key))
    (entry,) = metered.entries(key)
    texts = 4 if path == "completions" else 2
    written = engine.generation_tokens - before
    assert entry.outcome == "left" and entry.prompt_tokens > 0 and entry.completion_tokens > 0
    assert written - texts <= entry.completion_tokens <= written, "all but the pass that was running"
    assert metered.open_requests(key) == 0


def test_a_client_that_leaves_before_the_first_token_pays_its_prompt(metered):
    key = metered.key(tokens_per_day=100_000)
    body = {"prompt": [[9] * 500 for _ in range(40)], "max_tokens": 3, "stream": True}
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", f"{metered.url}/v1/completions", json=body, headers=headers, timeout=100):
        pass  # its headers have come
    until(lambda: metered.entries(key))
    (entry,) = metered.entries(key)
    assert entry.outcome == "left" and entry.tokens <= 0 and metered.open_requests(key) == 0
    assert entry.prompt_tokens % 500 == 0 and entry.prompt_tokens + entry.completion_tokens <= 40 * 503
    until(metered.running.idle)


def test_what_the_service_refuses_costs_nothing(metered):
    key = metered.key(tokens_per_day=100_000)
    for body, status in (({"model": "other"}, 404), ({"temperature": -1}, 400), ({"max_tokens": 3, "n": 500}, 400)):
        assert metered.post(key, "/v1/chat/completions", CHAT | body).status_code == status
    until(lambda: len(metered.entries(key, "released")) == 3)
    assert metered.entries(key) == [] and metered.open_requests(key) == 0
    nul = metered.post(key, "/v1/chat/completions", CHAT | {"model": "a\0b"})
    assert nul.status_code == 404


def test_success_and_refusal_tell_limit_remaining_and_reset(metered):
    key = metered.key(requests_per_minute=50, tokens_per_month=1000, key_limits={"tokens_per_day": 700})
    answer = metered.post(key, "/v1/completions", {"prompt": [[5] * 10], "max_tokens": 5, "ignore_eos": True})
    told = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit")}
    assert told.pop("x-ratelimit-reset-requests") in [f"{s}s" for s in range(61)] + ["1m0s"]
    assert told.pop("x-ratelimit-reset-tokens")[-1] == "s"
    assert told == {
        "x-ratelimit-limit-requests": "50", "x-ratelimit-remaining-requests": "49",
        "x-ratelimit-limit-tokens": "700", "x-ratelimit-remaining-tokens": "685",
    }  # fmt: skip
    large = metered.post(key, "/v1/completions", {"prompt": [[5] * 10], "max_tokens": 400, "n": 2})
    assert (large.status_code, large.json()["error"]["code"]) == (400, "request_too_large")
    refused = metered.post(key, "/v1/completions", {"prompt": [[5] * 10], "max_tokens": 340, "n": 2})
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "insufficient_quota"
    assert refused.json()["error"]["type"] == "rate_limit_error" and "700" in refused.json()["error"]["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 86_400 and refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "685"


def test_an_answer_whose_length_is_open_ends_with_the_budget(metered):
    key = metered.key(tokens_per_day=120)
    body = CHAT | {"ignore_eos": True}
    answer = metered.client(key).chat.completions.create(model="tiny", extra_body={"ignore_eos": True}, **CHAT)
    assert answer.choices[0].finish_reason == "length" and answer.usage.total_tokens == 120
    assert metered.post(key, "/v1/chat/completions", body).status_code == 429
    assert [(e.prompt_tokens + e.completion_tokens) for e in metered.entries(key)] == [120]


def test_parallel_calls_through_two_servers_cannot_overspend(metered, network, tokenizer):
    key = metered.key(tokens_per_day=200)
    body = {"prompt": [[5] * 10], "max_tokens": 10, "ignore_eos": True}

    async def main(urls):
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=100) as client:
            asked = [client.post(f"{urls[n % 2]}/v1/completions", json=body) for n in range(40)]
            return await asyncio.gather(*asked)

    for other in start(network, tokenizer, database=metered.database.url.render_as_string(), with_tenants=True):
        answers = asyncio.run(main([metered.url, other.url]))
    good = [answer for answer in answers if answer.status_code == 200]
    assert len(good) == 10 and all(answer.status_code == 429 for answer in answers if answer not in good)
    assert sum(entry.prompt_tokens + entry.completion_tokens for entry in metered.entries(key)) == 200


def test_a_key_counts_requests_in_its_minute(metered):
    key = metered.key(key_limits={"requests_per_minute": 3})
    client = metered.client(key)
    ends = []
    for _ in range(8):
        try:
            client.completions.create(model="tiny", prompt="a", max_tokens=1)
            ends.append("")
        except openai.RateLimitError as refused:
            assert 1 <= int(refused.response.headers["retry-after"]) <= 60
            ends.append(refused.code)
    assert 3 <= ends.count("") <= 6  # a minute may have ended in between
    assert set(ends) == {"", "rate_limit_exceeded"}


def test_a_move_and_a_revocation_count_for_the_next_request(metered):
    key, other = metered.key(), metered.key(tokens_per_day=0)
    body = {"prompt": "a", "max_tokens": 1}
    assert metered.post(key, "/v1/completions", body).status_code == 200
    metered.directory.move(key, f"org {metered.count}")
    assert metered.post(key, "/v1/completions", body).status_code == 429
    metered.directory.change(f"org {metered.count}", tokens_per_day=None)
    assert metered.post(key, "/v1/completions", body).status_code == 200
    metered.directory.revoke(key)
    assert metered.post(key, "/v1/completions", body).status_code == 401
    assert metered.post(other, "/v1/completions", body).status_code == 200
    names = [row.organisation for row in usage_rows(metered.database) if row.key == key.split("_")[1]]
    assert sorted(names) == sorted([f"org {metered.count - 1}", f"org {metered.count}"])


@pytest.mark.parametrize("stream", [True, False])
def test_texts_are_kept_only_where_the_tenant_wants_it(metered, stream):
    secret = "열려라 참깨"
    for keep in (False, True):
        key = metered.key()
        name, body = f"org {metered.count}", {"max_tokens": 5, "stream": stream, "temperature": 0}
        metered.directory.change(name, keep_text=keep)
        metered.post(key, "/v1/chat/completions", {"messages": [{"role": "user", "content": secret}], **body})
        metered.post(key, "/v1/completions", {"prompt": secret, **body})
        written = list(audit_rows(metered.database, metered.directory.find(name)))
        kept = [json.loads(row["text"]) for row in written if "text" in row]
        assert len([row for row in written if row["event"] == "request"]) == 2
        assert (secret in json.dumps(written, ensure_ascii=False) + str(kept)) is keep
        assert all(each["answered"][0] for each in kept) and len(kept) == 2 * keep
    metered.directory.change(name, keep_text=False)
    assert not any("text" in row for row in audit_rows(metered.database, metered.directory.find(name)))


def test_nothing_is_answered_that_cannot_be_metered(network, tokenizer, tmp_path):
    url = f"sqlite:///{tmp_path}/axk1.db"
    for running in start(network, tokenizer, database=url, with_tenants=True):
        metered = Metered(running, url)
        key = metered.key()
        with metered.database.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE holds RENAME TO away")
        refused = metered.post(key, "/v1/completions", {"prompt": "a", "max_tokens": 1})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "metering_unavailable")
        assert running.idle() and running.service.engine.engine.generation_tokens == 0
        with metered.database.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO holds")
        assert metered.post(key, "/v1/completions", {"prompt": "a", "max_tokens": 1}).status_code == 200
    assert len(metered.entries(key)) == 1


def test_what_the_cache_knows_of_one_tenant_another_cannot_learn(metered):
    """The time and the count of a cached beginning would tell who guesses what somebody else has sent."""
    body = {"prompt": "제7조 예산은 49일에 놓인다. The committee met on day 21. " * 4, "max_tokens": 1}

    def cached(key: str) -> int:
        count = metered.post(key, "/v1/completions", body).json()["usage"]
        return count["prompt_tokens_details"]["cached_tokens"]

    owner, other = metered.key(), metered.key()
    assert cached(owner) == 0 and cached(owner) > 0
    assert cached(other) == 0 and cached(other) > 0
