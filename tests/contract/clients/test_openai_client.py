"""The ``openai`` client, sync and async; every answer and every raw chunk against its types, taken strictly."""

import asyncio
import json

import httpx
import openai
import pytest
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

MESSAGES = [{"role": "user", "content": "What is 2 + 3?"}]
CHAT = {"model": "m", "messages": MESSAGES, "max_completion_tokens": 12, "seed": 3}
TEXT = {"model": "m", "prompt": ["The committee", "제3조"], "max_tokens": 8, "seed": 3}
VARIANTS = [{}, {"n": 2}, {"logprobs": True, "top_logprobs": 2}, {"temperature": 0, "stop": ["\n", "."]}]
TEXT_VARIANTS = [{}, {"n": 2}, {"logprobs": 2}, {"echo": True}, {"temperature": 0, "stop": "e"}]
OURS = {"reasoning_content", "stop_reason", "prompt_logprobs", "max_model_len"}
"""Fields of vLLM's that OpenAI does not have."""


def check(kind: type, body: dict) -> None:
    """Validates with the client's own types, no conversions; refuses fields that neither OpenAI nor vLLM has."""
    parsed = kind.model_validate_json(json.dumps(body), strict=True)
    assert not set(extras(parsed)) - OURS


def extras(value):
    """Names of all fields that the types do not know."""
    if isinstance(value, openai.BaseModel):
        yield from value.model_extra or {}
        for name in type(value).model_fields:
            yield from extras(getattr(value, name))
    elif isinstance(value, list):
        for each in value:
            yield from extras(each)


def events(url: str, body: dict) -> list[dict]:
    """The raw events of a stream, the last of which must be [DONE]."""
    answer = httpx.post(url, json={**body, "stream": True, "stream_options": {"include_usage": True}}, timeout=100)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *found, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in found]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=100) as client:
        yield client


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_chat_answers_and_chunks_are_of_openai_s_types(server, variant):
    url, body = f"{server.url}/v1/chat/completions", {**CHAT, **variant}
    whole = httpx.post(url, json=body, timeout=100).json()
    check(ChatCompletion, whole)
    chunks = events(url, body)
    for chunk in chunks:
        check(ChatCompletionChunk, chunk)
    assert len({chunk["id"] for chunk in chunks}) == 1
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")  # the cache may hold more the second time
    assert chunks[-1]["choices"] == [] and all(chunks[-1]["usage"][name] == whole["usage"][name] for name in counts)
    for choice in whole["choices"]:
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert parts[0]["delta"]["role"] == "assistant"
        assert "".join(c["delta"].get("content") or "" for c in parts) == choice["message"]["content"]
        assert [c["finish_reason"] for c in parts if c["finish_reason"]] == [choice["finish_reason"]]
        logprobs = [entry for c in parts if c["logprobs"] for entry in c["logprobs"]["content"]]
        assert logprobs == (choice["logprobs"] or {"content": []})["content"]


@pytest.mark.parametrize("variant", TEXT_VARIANTS, ids=str)
def test_text_answers_and_chunks_are_of_openai_s_types(server, variant):
    url, body = f"{server.url}/v1/completions", {**TEXT, **variant}
    whole = httpx.post(url, json=body, timeout=100).json()
    check(Completion, whole)
    chunks = events(url, body)
    for chunk in chunks[:-1]:  # OpenAI itself sends no finish_reason before the last chunk; its type has no null
        ended = [choice for choice in chunk["choices"] if choice["finish_reason"]]
        check(Completion, {**chunk, "choices": ended})
    for choice in whole["choices"]:
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in parts) == choice["text"]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]
    assert chunks[-1]["usage"] == whole["usage"]


def test_sync_and_async_streams_say_what_the_whole_answer_says(server, client):
    whole = client.chat.completions.create(**CHAT).choices[0].message.content
    with client.chat.completions.stream(**CHAT) as stream:
        assert "".join(event.delta for event in stream if event.type == "content.delta") == whole

    async def stream_async() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=100) as client:
            chunks = [chunk async for chunk in await client.chat.completions.create(**CHAT, stream=True)]
        return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)

    assert asyncio.run(stream_async()) == whole


def test_models_are_of_openai_s_type(client, server):
    for card in httpx.get(f"{server.url}/v1/models").json()["data"]:
        check(Model, card)
    assert client.models.retrieve("m").id == "m"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (openai.NotFoundError, {"model": "another"}),
        (openai.BadRequestError, {"max_completion_tokens": 0}),
        (openai.BadRequestError, {"temperature": -1}),
        (openai.BadRequestError, {"messages": [{"content": "no role"}]}),
    ],
)
def test_errors_arrive_as_the_client_s_own(client, kind, fields):
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**{**CHAT, **fields})
    assert raised.value.body["message"] and raised.value.type
