"""A front before servers that are processes of their own: they share the load, die, and come back."""

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from programs import free_port, until
from running_server import listening

from axk1.engine.llm import LLM
from axk1.engine.sampling_params import SamplingParams
from axk1.serve.upstream.server import Upstream
from axk1.serve.upstream.service import UpstreamService

ENDLESS = {"model": "tiny", "prompt": "a", "max_tokens": 400, "ignore_eos": True, "stream": True, "n": 16}


def in_flight(url: str) -> float:
    page = httpx.get(f"{url}/metrics").text
    return sum(float(value) for value in re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} (.*)$", page, re.M))


def events(answer: httpx.Response):
    return (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {"))


class Pair:
    """Two upstreams as processes behind a front."""

    def __init__(self, checkpoint, serve, front, ports):
        self.front, self.urls, self._ports = front, [f"http://127.0.0.1:{port}" for port in ports], ports
        self._start = lambda port: serve(str(checkpoint), port=port)
        self._processes = [None, None]

    def kill(self, place):
        self._processes[place].kill()
        self._processes[place].wait()

    def revive(self):
        """Starts those that do not run, and waits until the front has found both."""
        dead = [
            place for place in (0, 1) if self._processes[place] is None or self._processes[place].poll() is not None
        ]
        with ThreadPoolExecutor() as threads:
            started = threads.map(self._start, [self._ports[place] for place in dead])
            for place, process in zip(dead, started, strict=True):
                self._processes[place] = process
        until(lambda: len(re.findall(r"upstream_up\{.*\} 1.0", httpx.get(f"{self.front}/metrics").text)) == 2)


@pytest.fixture(scope="module")
def processes(checkpoint, serve):
    ports = [free_port(), free_port()]
    with listening(UpstreamService([Upstream(f"http://127.0.0.1:{port}/v1") for port in ports])) as front:
        yield Pair(checkpoint, serve, front, ports)


@pytest.fixture
def pair(processes):
    processes.revive()
    return processes


def aborted(pair: Pair) -> float:
    pages = [httpx.get(f"{url}/metrics").text for url in pair.urls]
    return sum(float(re.search(r"request_aborted_total\{.*\} (.*)", page)[1]) for page in pages)


def served(front: str) -> dict[str, float]:
    """Requests that ended well, by upstream."""
    page = httpx.get(f"{front}/metrics").text
    found = re.findall(r'requests_total\{.*status="200",upstream="(.*?)/v1"\} (.*)', page)
    return {url: float(count) for url, count in found}


def test_a_client_that_leaves_frees_the_place_at_a_process(pair):
    with httpx.stream("POST", f"{pair.front}/v1/completions", json=ENDLESS, timeout=100) as answer:
        next(events(answer))
    until(lambda: aborted(pair) == 16)
    until(lambda: sum(map(in_flight, pair.urls)) == 0)
    page = httpx.get(f"{pair.front}/metrics").text
    assert re.search(r'requests_total\{route="completions",status="left",upstream=".*"\} 1', page)


def test_two_upstreams_share_the_load_and_one_that_dies_is_found_again(pair, checkpoint):
    prompts = [f"제{i}조 예산은 {i}일에" for i in range(50)]
    params = [SamplingParams(seed=i, max_tokens=12, skip_special_tokens=True) for i in range(50)]
    model = LLM.load(checkpoint)
    expected = [model.generate([p], each)[0].text for p, each in zip(prompts, params, strict=True)]

    async def one(client, place):
        stream = await client.completions.create(
            model="tiny", prompt=prompts[place], seed=place, max_tokens=12, stream=True
        )
        return "".join([choice.text async for chunk in stream for choice in chunk.choices])

    async def fifty():
        async with openai.AsyncOpenAI(base_url=f"{pair.front}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, place) for place in range(50)))

    before = served(pair.front)
    assert asyncio.run(fifty()) == expected
    after = served(pair.front)
    assert [after[url] - before.get(url, 0) for url in pair.urls] == [25, 25]
    pair.kill(0)
    assert asyncio.run(fifty()) == expected, "the other one answers for both"
    pair.revive()
    pair.kill(1)
    assert asyncio.run(fifty()) == expected, "the one that came back answers for both"


def test_an_upstream_that_is_killed_in_the_middle_ends_the_stream_with_an_error(pair):
    with httpx.stream("POST", f"{pair.front}/v1/completions", json=ENDLESS, timeout=100) as answer:
        pieces = events(answer)
        assert next(pieces)["choices"]
        busy = next(place for place, url in enumerate(pair.urls) if in_flight(url))
        pair.kill(busy)
        *_, last = pieces
    assert last["error"]["code"] == "upstream_disconnected" and pair.urls[busy] in last["error"]["message"]
    answer = httpx.post(
        f"{pair.front}/v1/completions", json={**ENDLESS, "stream": False, "max_tokens": 2, "n": 1}, timeout=100
    )
    assert answer.status_code == 200, "the other one goes on"


def test_the_command_waits_for_its_upstream_and_serves_it_under_a_name(checkpoint, serve):
    there, here = free_port(), free_port()
    front = serve("--upstream", f"http://127.0.0.1:{there}/v1", "--served-model-name", "mine", port=here)
    url = f"http://127.0.0.1:{here}"
    ask = {"model": "mine", "prompt": "a", "max_tokens": 2}
    answer = httpx.post(f"{url}/v1/completions", json=ask)
    assert answer.status_code == 503 and f"http://127.0.0.1:{there}/v1 cannot be reached" in answer.text
    assert int(answer.headers["retry-after"]) >= 1 and httpx.get(f"{url}/health").status_code == 503
    serve(str(checkpoint), port=there)
    until(lambda: httpx.get(f"{url}/health").status_code == 200)
    answer = httpx.post(f"{url}/v1/completions", json=ask, headers={"x-request-id": "my-id"})
    assert answer.json()["model"] == "mine" and answer.headers["x-request-id"] == "my-id"
    assert httpx.post(f"{url}/v1/completions", json={**ask, "model": "tiny"}).status_code == 404
    assert [card["id"] for card in httpx.get(f"{url}/v1/models").json()["data"]] == ["mine"]
    assert httpx.get(url).status_code == 200, "the page"
    front.terminate()
    assert "Traceback" not in front.communicate()[1]
