"""Clients that leave, many at once, more than fit, and what the metrics say of them."""

import asyncio
import re
import threading

import httpx
import openai
import pytest
from programs import until
from running_server import start

from axk1.engine.config import SpeculativeConfig
from axk1.engine.sampling_params import SamplingParams

ENDLESS = {"max_tokens": 400, "extra_body": {"ignore_eos": True}, "seed": 1}


@pytest.fixture(params=["chat", "completion"])
def body(request):
    if request.param == "chat":
        return "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}
    return "/v1/completions", {"prompt": "a"}


@pytest.mark.parametrize("pieces", [0, 3])
def test_a_client_that_leaves_a_stream_frees_its_place(server, body, pieces):
    path, fields = body
    before = server.service.engine.aborted
    fields = {**fields, "max_tokens": 400, "ignore_eos": True, "stream": True, "n": 2}
    with httpx.stream("POST", server.url + path, json=fields, timeout=100) as answer:
        lines = answer.iter_lines()
        for _ in range(pieces):
            next(lines)
    until(lambda: server.service.engine.aborted == before + 2)
    until(server.idle)


def test_a_client_that_leaves_before_the_whole_answer_frees_its_place(server, body):
    path, fields = body
    before = server.service.engine.aborted
    fields = {**fields, "max_tokens": 400, "ignore_eos": True, "n": 8}

    async def main():
        async with httpx.AsyncClient(timeout=100) as client:
            waiting = asyncio.ensure_future(client.post(server.url + path, json=fields))
            await asyncio.to_thread(until, lambda: server.service.engine.unfinished == 8)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(main())
    until(lambda: server.service.engine.aborted == before + 8)
    until(server.idle)


def test_a_client_that_leaves_while_it_waits_is_forgotten(narrow):
    async def main():
        client = narrow.asynchronous
        running = await client.completions.create(model="tiny", prompt="a", stream=True, **ENDLESS)
        await anext(aiter(running))
        waiting = asyncio.ensure_future(client.completions.create(model="tiny", prompt="b", **ENDLESS))
        await asyncio.to_thread(until, lambda: narrow.service.engine.unfinished == 2)
        waiting.cancel()
        await asyncio.to_thread(until, lambda: narrow.service.engine.unfinished == 1)
        await running.close()

    asyncio.run(main())
    until(narrow.idle)


def test_fifty_streams_at_once_say_what_each_would_alone(server):
    prompts = [f"제{i}조 예산은 {i}일에" for i in range(50)]
    params = [SamplingParams(seed=i, max_tokens=12, skip_special_tokens=True) for i in range(50)]
    expected = [server.llm.generate([p], each)[0].text for p, each in zip(prompts, params, strict=True)]

    async def one(client, place):
        stream = await client.completions.create(
            model="tiny", prompt=prompts[place], seed=place, max_tokens=12, stream=True
        )
        return "".join([choice.text async for chunk in stream for choice in chunk.choices])

    async def main():
        async with server.asynchronous as client:
            return await asyncio.gather(*(one(client, place) for place in range(50)))

    assert asyncio.run(main()) == expected
    until(server.idle)


def test_a_full_queue_is_429_with_the_time_to_come_again(narrow):
    async def main():
        client = narrow.asynchronous
        streams = [await client.completions.create(model="tiny", prompt="a", stream=True, **ENDLESS) for _ in range(2)]
        with pytest.raises(openai.RateLimitError) as refused:
            await client.completions.create(model="tiny", prompt="a")
        assert int(refused.value.response.headers["retry-after"]) >= 1
        assert refused.value.code == "queue_full"
        for stream in streams:
            await stream.close()

    asyncio.run(main())
    until(narrow.idle)
    assert narrow.client.completions.create(model="tiny", prompt="a", max_tokens=2).usage.completion_tokens <= 2


def test_the_event_loop_answers_while_a_long_prompt_goes_through(server):
    long = {"prompt": [[5] * 500 for _ in range(40)], "max_tokens": 3, "echo": True, "logprobs": 5}
    sender = threading.Thread(
        target=httpx.post, args=(f"{server.url}/v1/completions",), kwargs={"json": long, "timeout": 100}
    )
    before, seen = server.service.engine.engine.prompt_tokens, 0
    sender.start()
    until(lambda: not server.idle())
    while not server.idle():
        seen += httpx.get(f"{server.url}/health").status_code == 200
    sender.join()
    assert server.service.engine.engine.prompt_tokens >= before + 40 * 500
    assert seen > 3, "health waited for the prompt"


def test_metrics_carry_vllm_s_names_and_count(network, tokenizer):
    for server in start(network, tokenizer):
        answer = server.client.completions.create(model="tiny", prompt=["제3조 예산은 21일에 놓인다"] * 2, n=2)
        page = httpx.get(f"{server.url}/metrics").text
    values = {
        name: float(value) for name, value in re.findall(r"^(vllm:\w+?)\{model_name=\"tiny\"\} (.*)$", page, re.M)
    }
    assert values["vllm:generation_tokens_total"] == answer.usage.completion_tokens
    assert values["vllm:prompt_tokens_total"] + values["vllm:prefix_cache_hits_total"] == 2 * answer.usage.prompt_tokens
    assert values["vllm:prefix_cache_queries_total"] == 2 * answer.usage.prompt_tokens
    assert values["vllm:time_to_first_token_seconds_count"] == 4
    assert values["vllm:inter_token_latency_seconds_count"] == answer.usage.completion_tokens - 4
    assert values["vllm:e2e_request_latency_seconds_count"] == 4
    assert (values["vllm:num_requests_running"], values["vllm:num_requests_waiting"]) == (0, 0)
    assert values["vllm:kv_cache_usage_perc"] == 0 and values["vllm:num_preemptions_total"] == 0
    ended = re.findall(r'^vllm:request_success_total\{finished_reason="\w+",model_name="tiny"\} (.*)$', page, re.M)
    assert sum(map(float, ended)) == 4


def test_speculation_is_counted_and_changes_no_answer(server, network, tokenizer):
    asked = {"model": "tiny", "prompt": "제3조 예산은 21일에 놓인다. 제3조 예산은", "max_tokens": 60, "logprobs": 2}
    fields = {**asked, "temperature": 0, "extra_body": {"ignore_eos": True}}
    expected = server.client.completions.create(**fields)
    speculative_config = SpeculativeConfig(method="ngram", prompt_lookup_min=1)
    for other in start(network, tokenizer, speculative_config=speculative_config):
        whole = other.client.completions.create(**fields)
        options = {"include_usage": True}
        *chunks, last = list(other.client.completions.create(**fields, stream=True, stream_options=options))
        page = httpx.get(f"{other.url}/metrics").text
    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks) == expected.choices[0].text
    assert whole.choices[0].logprobs.tokens == expected.choices[0].logprobs.tokens
    assert whole.choices[0].logprobs.token_logprobs == pytest.approx(expected.choices[0].logprobs.token_logprobs)
    assert last.usage.completion_tokens == whole.usage.completion_tokens == 60
    drafts, drafted, accepted = (
        float(re.search(rf"^vllm:spec_decode_num_{name}_total\{{.*}} (.*)$", page, re.M)[1])
        for name in ("drafts", "draft_tokens", "accepted_tokens")
    )
    assert 0 < drafts <= drafted and 0 < accepted <= drafted
    passes = float(re.search(r"^vllm:generation_tokens_total\{.*} (.*)$", page, re.M)[1]) - accepted
    assert passes < 120, "accepted tokens save passes"
    assert "spec_decode" not in httpx.get(f"{server.url}/metrics").text
