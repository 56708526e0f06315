"""``/v1/responses`` through the real client: one answer whether whole, streamed or fetched again, and its chains."""

import json
import typing

import httpx
import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.types import responses as types
from programs import until

QUESTION = "예산은 14일에?"
DIRECT = {"reasoning": {"effort": "none"}, "extra_body": {"seed": 3}}


def ask(server, given=QUESTION, **options):
    options = {"max_output_tokens": 20, **DIRECT, **options}
    return server.client.responses.create(model="tiny", input=given, **options)


def events_of(server, given=QUESTION, agent="anybody", **fields):
    """The events of a stream as they stand on the wire, each checked against OpenAI's own type."""
    body = {"model": "tiny", "input": given, "stream": True, "seed": 3, "max_output_tokens": 20, **fields}
    events, headers = [], {"User-Agent": agent}
    with httpx.stream("POST", f"{server.url}/v1/responses", json=body, headers=headers, timeout=100) as answer:
        assert answer.status_code == 200, answer.read()
        name = None
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: {"):
                events.append(json.loads(line.removeprefix("data: ")))
                assert events[-1]["type"] == name
        assert line == "" or line == "data: [DONE]"
    kinds = {each.model_fields["type"].annotation.__args__[0]: each for each in typing.get_args(STREAM_EVENT)}
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        if event["type"] in kinds:
            kinds[event["type"]].model_validate(event)
    return events


STREAM_EVENT = typing.get_args(types.ResponseStreamEvent)[0]


def rebuilt(events):
    """The items that a stream's deltas add up to, by the rules of the specification."""
    items = []
    for event in events:
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert event["output_index"] == len(items) and event["item"]["status"] == "in_progress"
                items.append(event["item"])
            case "content_part.added":
                assert event["content_index"] == len(items[-1]["content"]) and event["item_id"] == items[-1]["id"]
                items[-1]["content"].append(event["part"])
            case "output_text.delta" | "reasoning.delta" | "reasoning_text.delta":
                items[-1]["content"][event["content_index"]]["text"] += event["delta"]
            case "output_text.done" | "reasoning.done" | "reasoning_text.done":
                assert items[-1]["content"][event["content_index"]]["text"] == event["text"]
            case "function_call_arguments.delta":
                items[-1]["arguments"] += event["delta"]
            case "function_call_arguments.done":
                assert items[-1]["arguments"] == event["arguments"]
            case "output_item.done":
                items[-1]["status"] = event["item"]["status"]
                assert streamed(items[-1]) == streamed(event["item"])
    return items


def streamed(item):
    """An item without what comes with its end only."""
    parts = [{k: v for k, v in part.items() if k != "logprobs"} for part in item.get("content", ())]
    return {**item, "content": parts, "encrypted_content": None}


def plain(response):
    """A response without what differs from one time to the next."""
    body = response if isinstance(response, dict) else response.to_dict()
    output = [{k: v for k, v in item.items() if k != "id"} for item in body["output"]]
    usage = {**body["usage"], "input_tokens_details": None}
    return {**body, "output": output, "usage": usage, "id": 0, "created_at": 0, "completed_at": 0}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reasoning": {"effort": "none"}},
        {"reasoning": {"effort": "high"}, "max_output_tokens": 200, "include": ["reasoning.encrypted_content"]},
        {"reasoning": {"effort": "none"}, "include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"reasoning": {"effort": "none"}, "temperature": 0, "instructions": "제3조", "metadata": {"a": "b"}},
    ],
)
def test_a_stream_adds_up_to_the_whole_response_and_both_are_kept(server, fields):
    events = events_of(server, **fields)
    kinds = [event["type"] for event in events]
    last = events[-1]["response"]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == f"response.{last['status']}" and last["status"] in ("completed", "incomplete")
    assert sum(kind.endswith((".completed", ".incomplete", ".failed")) for kind in kinds) == 1
    assert [streamed(item) for item in rebuilt(events)] == [streamed(item) for item in last["output"]]
    body = {"model": "tiny", "input": QUESTION, "seed": 3, "max_output_tokens": 20, **fields}
    whole = httpx.post(f"{server.url}/v1/responses", json=body, timeout=100).json()
    types.Response.model_validate(whole)
    assert plain(whole) == plain(last)
    for each in (last, whole):
        assert httpx.get(f"{server.url}/v1/responses/{each['id']}").json() == each
    if "top_logprobs" in fields:
        found = whole["output"][0]["content"][0]["logprobs"]
        assert len(found) == whole["usage"]["output_tokens"] and len(found[0]["top_logprobs"]) == 2
        assert found == [one for event in events for one in event.get("logprobs", ()) if "delta" in event]


def test_the_answer_is_that_of_the_chat(server):
    answer = ask(server, instructions="제3조")
    messages = [{"role": "system", "content": "제3조"}, {"role": "user", "content": QUESTION}]
    body = {"chat_template_kwargs": {"enable_thinking": False}}
    options = {"max_tokens": 20, "seed": 3, "extra_body": body}
    chat = server.client.chat.completions.create(model="tiny", messages=messages, **options)
    assert answer.output_text == chat.choices[0].message.content
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
    )
    cut = chat.choices[0].finish_reason == "length"
    assert answer.status == ("incomplete" if cut else "completed")
    assert (answer.incomplete_details and answer.incomplete_details.reason) == ("max_output_tokens" if cut else None)


def test_reasoning_stands_apart_and_can_be_sent_back(server):
    close = str(server.llm.tokenizer.special_tokens["</think>"])
    options = {"extra_body": {"seed": 1, "logit_bias": {close: 4}}, "reasoning": {"effort": "low"}}
    answer = ask(server, include=["reasoning.encrypted_content"], **options)
    reasoning, message = answer.output
    assert reasoning.content[0].text and message.content[0].text == answer.output_text
    assert 0 < answer.usage.output_tokens_details.reasoning_tokens < answer.usage.output_tokens
    user, sealed = {"role": "user", "content": QUESTION}, reasoning.to_dict() | {"content": None}
    sealed["summary"] = []
    inputs = [[user, each, message.to_dict()] for each in (reasoning.to_dict(), sealed)]
    counts = [ask(server, each, reasoning={"effort": "low"}).usage.input_tokens for each in inputs]
    assert counts[0] == counts[1] > ask(server, [user, message.to_dict()]).usage.input_tokens


def test_deltas_of_reasoning_have_the_name_that_the_client_knows(server):
    kinds = {event["type"] for event in events_of(server)}
    assert "response.reasoning.delta" in kinds and "response.reasoning_text.delta" not in kinds
    with server.client.responses.stream(model="tiny", input="a", max_output_tokens=20) as stream:
        kinds = {event.type for event in stream}
    assert "response.reasoning_text.delta" in kinds and "response.reasoning.delta" not in kinds


def test_the_client_s_own_stream_and_helpers(server):
    events = []
    with server.client.responses.stream(model="tiny", input=QUESTION, reasoning={"effort": "none"}) as stream:
        events.extend(stream)
        final = stream._state._completed_response if events[-1].type == "response.completed" else events[-1].response
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == final.output_text
    assert final.output_text


def test_a_chain_is_what_sending_everything_again_is(server):
    first = ask(server, [{"role": "developer", "content": "제1조"}, {"role": "user", "content": "하나"}], temperature=0)
    second = ask(server, "둘", previous_response_id=first.id, temperature=0)
    third = ask(server, "셋", previous_response_id=second.id, temperature=0, instructions="제5조")
    said = [each.to_dict()["output"] for each in (first, second)]
    given = [{"role": "developer", "content": "제1조"}, {"role": "user", "content": "하나"}, *said[0]]
    given += [{"role": "user", "content": "둘"}, *said[1], {"role": "user", "content": "셋"}]
    again = ask(server, given, temperature=0, instructions="제5조", store=False)
    assert again.output_text == third.output_text and again.usage.input_tokens == third.usage.input_tokens
    listed = server.client.responses.input_items.list(third.id, order="asc", limit=3)
    items = [each.to_dict() for each in listed]  # the client turns the pages
    assert [item.get("content") for item in items] == [
        [{"type": "input_text", "text": text}] if role != "assistant" else part
        for role, text, part in [
            ("developer", "제1조", None),
            ("user", "하나", None),
            ("assistant", None, said[0][0]["content"]),
            ("user", "둘", None),
            ("assistant", None, said[1][0]["content"]),
            ("user", "셋", None),
        ]
    ]
    assert third.previous_response_id == second.id and len({item["id"] for item in items}) == len(items)
    newest = server.client.responses.input_items.list(third.id, limit=1)
    assert newest.data[0].id == items[-1]["id"] and newest.has_more


def test_what_is_deleted_or_was_never_kept_is_not_found(server):
    first = ask(server)
    second = ask(server, "b", previous_response_id=first.id)
    server.client.responses.delete(first.id)
    unkept = ask(server, store=False)
    assert unkept.to_dict()["store"] is False
    assert server.client.responses.retrieve(second.id).id == second.id
    for name in (first.id, unkept.id, "resp_never"):
        for call in (server.client.responses.retrieve, server.client.responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                list(call(name))
    for name in (first.id, second.id, unkept.id, "resp_never"):  # a chain is as long as its first link lives
        with pytest.raises(openai.NotFoundError) as refused:
            ask(server, "c", previous_response_id=name)
        assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")
    assert httpx.delete(f"{server.url}/v1/responses/{first.id}").status_code == 404


def test_too_long_a_conversation_is_refused_or_loses_its_oldest_turns(server):
    turns = [{"role": "system", "content": "제9조"}]
    for number in range(30):
        turns += [
            {"role": "user", "content": f"{number} 예산은?"},
            {"role": "assistant", "content": "예산은 14일에 놓인다."},
        ]
    turns.append({"role": "user", "content": "마지막?"})
    with pytest.raises(openai.BadRequestError, match="more than fit"):
        ask(server, turns)
    answer = ask(server, turns, truncation="auto")
    assert 0 < answer.usage.input_tokens < 512
    with pytest.raises(openai.BadRequestError, match="more than fit"):
        ask(server, "조" * 3000, truncation="auto")
    kept = server.client.responses.input_items.list(answer.id, order="asc", limit=100)
    assert len(kept.data) == len(turns)  # what is kept is what was sent


def test_a_client_that_leaves_ends_the_writing(server):
    with server.client.responses.stream(model="tiny", input="a") as stream:
        next(iter(stream))
    until(server.idle)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"role": "wizard", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "1"}]}, "input"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "compaction", "encrypted_content": "abc"}]}, "input[0].encrypted_content"),
        ({"input": [{"type": "reasoning", "encrypted_content": "eJw="}]}, "input[0].encrypted_content"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"max_tool_calls": 2}, "max_tool_calls"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": {"type": "function", "name": "f"}}, None),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"reasoning": {"effort": "utmost"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"include": ["file_search_call.results"]}, "include"),
        ({"truncation": "middle"}, "truncation"),
        ({"metadata": {"a": "b" * 600}}, None),
        ({"stream_options": {"include_obfuscation": False}}, None),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"temperature": -1}, "temperature"),
        ({"temprature": 1}, "temprature"),
    ],
)
def test_wrong_and_unsupported_fields_are_named(server, fields, param):
    answer = httpx.post(f"{server.url}/v1/responses", json={"model": "tiny", "input": "a", **fields}, timeout=100)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert param is None or param in error["param"]


def test_an_image_is_refused_since_the_model_cannot_see(server):
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    with pytest.raises(openai.BadRequestError, match="cannot see"):
        ask(server, [{"role": "user", "content": [{"type": "input_text", "text": "?"}, image]}])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARTS = ["input_text", "output_text", "input_image", "refusal"]
PART = st.fixed_dictionaries({"type": st.sampled_from(PARTS)}, optional={"text": JSON})
ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "reasoning", "function_call", "function_call_output", "compaction", "x"])},
    optional={
        "role": st.sampled_from(["user", "assistant", "system", "wizard"]),
        "content": JSON | st.lists(PART, max_size=2),
        "encrypted_content": JSON,
        "call_id": st.just("c") | JSON,
        "name": st.just("f") | JSON,
        "arguments": st.just("{}") | JSON,
        "output": JSON | st.lists(PART, max_size=2),
        "id": JSON,
        "status": JSON,
        "summary": JSON,
    },
)
FIELDS = ["text", "tools", "tool_choice", "reasoning", "include", "metadata", "temperature", "store", "top_logprobs"]


@settings(max_examples=60)
@example(given=[{"role": "user", "content": "a", "status": 5, "id": None}], fields={})
@example(given=[{"type": "function_call", "call_id": "c", "name": "f", "arguments": "[1]"}], fields={})
@example(given="a\ud800", fields={"metadata": {"a": "\ud800"}})
@given(given=JSON | st.lists(ITEM, max_size=3), fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2))
def test_whatever_comes_is_answered_or_refused_in_form(server, given, fields):
    body = json.dumps({"model": "tiny", "input": given, "max_output_tokens": 1, **fields})
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/responses", content=body, headers=headers, timeout=100)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    else:
        assert answer.json()["status"] in ("completed", "incomplete")
