"""Tool calls and forms of answers through the real client. A model with random weights calls no tool by itself, so
calls are brought about by grammars; the answers fit them whatever the weights say."""

import asyncio
import dataclasses
import json
import re
from typing import Literal

import httpx
import jsonschema_rs
import openai
import pydantic
import pytest
from openai.lib.streaming.chat import ChunkEvent
from running_server import start

from axk1.model.transformer import Transformer
from axk1.serve.protocol import ChatRequest

MESSAGES = [{"role": "user", "content": "예산은 14일에?"}]
DIRECT = {"chat_template_kwargs": {"enable_thinking": False}}
FIND = {
    "type": "object",
    "properties": {"q": {"type": "string", "maxLength": 6}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["q", "n"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "maxProperties": 0}


@pytest.fixture(scope="module")
def server(network, tokenizer):
    """The same model with a context that has room for the descriptions of tools."""
    longer = Transformer(dataclasses.replace(network.config, max_position_embeddings=2048)).double().eval()
    longer.load_state_dict(network.state_dict())
    yield from start(longer, tokenizer)


def tool(name, parameters=None, **more):
    described = {"name": name, "description": f"does {name}"} | ({"parameters": parameters} if parameters else {})
    return {"type": "function", "function": described | more}


TOOLS = [tool("find", FIND), tool("now")]
SCHEMAS = {"find": FIND, "now": NOTHING}


def named(name):
    return {"type": "function", "function": {"name": name}}


def ask(server, messages=MESSAGES, **options):
    options = {"max_tokens": 300, "seed": 3, "extra_body": DIRECT, **options}
    return server.client.chat.completions.create(model="tiny", messages=messages, **options)


def streamed(server, **options):
    """The choices of a stream as openai's own accumulator puts them together, and the deltas of their calls."""
    options = {"max_tokens": 300, "seed": 3, "extra_body": DIRECT, "messages": MESSAGES, **options}
    deltas = []
    with server.client.chat.completions.stream(model="tiny", **options) as stream:
        for event in stream:
            if isinstance(event, ChunkEvent):
                deltas += [call for choice in event.chunk.choices for call in choice.delta.tool_calls or ()]
        return stream.get_final_completion().choices, deltas


def told(choice):
    message = choice.message
    calls = [(call.type, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    thought = getattr(message, "reasoning_content", None) or ""
    return message.content or "", thought, calls, choice.finish_reason


@pytest.mark.parametrize(
    "options",
    [
        {"tool_choice": "required", "parallel_tool_calls": False, "n": 4},
        {"tool_choice": "required", "n": 2},
        {"tool_choice": named("find")},
        {"tool_choice": named("now"), "temperature": 0},
        {"tool_choice": named("find"), "extra_body": {"thinking_token_budget": 6}},
        {"tool_choice": "required", "parallel_tool_calls": False, "reasoning_effort": "none", "extra_body": {}},
    ],
)
def test_demanded_calls_are_valid_whole_and_in_a_stream(server, options):
    answer = ask(server, tools=TOOLS, **options)
    for choice in answer.choices:
        message = choice.message
        assert message.tool_calls and message.content is None
        for call in message.tool_calls if choice.finish_reason == "tool_calls" else message.tool_calls[:-1]:
            assert jsonschema_rs.is_valid(SCHEMAS[call.function.name], json.loads(call.function.arguments))
        if options["tool_choice"] != "required":
            assert [call.function.name for call in message.tool_calls] == [options["tool_choice"]["function"]["name"]]
        if not options.get("parallel_tool_calls", True):
            assert len(message.tool_calls) == 1
        thinks = "thinking_token_budget" in options.get("extra_body", {})
        assert bool(getattr(message, "reasoning_content", None)) == thinks
        assert choice.finish_reason in ("tool_calls", "length")
    assert (
        any(choice.finish_reason == "tool_calls" for choice in answer.choices) or options["tool_choice"] == "required"
    )
    again = server.client.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        tools=TOOLS,
        stream=True,
        **{"max_tokens": 300, "seed": 3, "extra_body": DIRECT, **options},
    )
    texts, reasons = {}, {}
    for chunk in again:
        for part in chunk.choices:
            assert not part.delta.content  # no letter of the calls' form
            reasons[part.index] = part.finish_reason or reasons.get(part.index)
            for delta in part.delta.tool_calls or ():
                calls = texts.setdefault(part.index, [])
                if delta.index == len(calls):
                    assert delta.id.startswith("call_")
                    calls.append([delta.type, delta.function.name, ""])
                else:
                    assert delta.index == len(calls) - 1 and delta.id is delta.type is delta.function.name is None
                calls[-1][2] += delta.function.arguments
    assert {index: [tuple(call) for call in calls] for index, calls in texts.items()} == {
        choice.index: told(choice)[2] for choice in answer.choices
    }
    assert reasons == {choice.index: choice.finish_reason for choice in answer.choices}


def test_arguments_come_piece_by_piece(server):
    choices, deltas = streamed(server, tools=TOOLS, tool_choice=named("find"))
    assert len(deltas) > 5 and deltas[0].function.name == "find" and deltas[0].type == "function"
    assert "".join(delta.function.arguments for delta in deltas) == choices[0].message.tool_calls[0].function.arguments
    assert told(choices[0]) == told(ask(server, tools=TOOLS, tool_choice=named("find")).choices[0])


def test_a_conversation_with_calls_and_their_results_goes_on(server):
    """The message as the client got it goes back, with the tool's answer; and the template shows both to the model."""
    first = ask(server, tools=TOOLS, tool_choice=named("find")).choices[0].message
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "제3조"}
    messages = [*MESSAGES, first.model_dump(), result]
    answer = ask(server, messages, tools=TOOLS, max_tokens=5)
    body = {"messages": messages, "tools": TOOLS, **DIRECT}
    tokens = httpx.post(f"{server.url}/tokenize", json=body, timeout=100).json()["tokens"]
    assert answer.usage.prompt_tokens == len(tokens)
    text = server.llm.tokenizer.decode(tokens)
    written = f'{{"name": "find", "arguments": {first.tool_calls[0].function.arguments}}}'
    assert f"<tool_call>\n{written}\n</tool_call>" in text
    assert "<tool_response>\n제3조\n</tool_response>" in text and '"description": "does find"' in text


def test_a_strict_tool_that_the_model_chooses_is_called_rightly(server):
    """A bias makes the model open a call; what it writes then is by the schema, although the choice was its own."""
    start = server.llm.tokenizer.special_tokens["<tool_call>"]
    strict = [tool("find", FIND, strict=True)]
    answer = ask(server, tools=strict, logit_bias={str(start): 100}, parallel_tool_calls=False, n=3)
    for choice in answer.choices:
        assert choice.finish_reason == "tool_calls"
        assert jsonschema_rs.is_valid(FIND, json.loads(choice.message.tool_calls[0].function.arguments))
    for choice in ask(server, tools=strict, logit_bias={str(start): 100}, tool_choice="none", max_tokens=40).choices:
        assert not choice.message.tool_calls and "<tool_call>" not in choice.message.content


def test_an_answer_by_a_schema_beside_tools(server):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["yes", "no"]}, "strict": True}}
    start = server.llm.tokenizer.special_tokens["<tool_call>"]
    for bias in (-100, 100):
        choice = ask(server, tools=TOOLS, response_format=form, logit_bias={str(start): bias}, n=2).choices[0]
        if bias > 0:
            assert choice.message.tool_calls
        else:
            assert json.loads(choice.message.content) in ("yes", "no") and choice.finish_reason == "stop"


def test_a_schema_of_a_tool_that_cannot_be_used_is_named(server):
    bad = [
        *TOOLS,
        tool("sum", {"type": "object", "properties": {"x": {"type": "array", "uniqueItems": True}}}, strict=True),
    ]
    with pytest.raises(openai.BadRequestError, match=r"tools\[2\].function.parameters cannot be used: .*uniqueItems"):
        ask(server, tools=bad, tool_choice="required")
    bad[-1]["function"]["strict"] = False  # not exact, then
    assert ask(server, tools=bad, tool_choice=named("sum")).choices[0].message.tool_calls


class Step(pydantic.BaseModel):
    kind: Literal["add", "drop"]
    amount: int = pydantic.Field(ge=0, le=99)


class Plan(pydantic.BaseModel):
    title: str = pydantic.Field(max_length=5)
    steps: list[Step] = pydantic.Field(max_length=2)
    done: bool


def test_pydantic_models_are_parsed(server):
    options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 400, "extra_body": DIRECT}
    parsed = 0
    for seed in range(4):
        try:
            answer = server.client.chat.completions.parse(response_format=Plan, seed=seed, **options)
        except openai.LengthFinishReasonError:
            continue
        assert isinstance(answer.choices[0].message.parsed, Plan)
        parsed += 1
    assert parsed
    one = server.client.chat.completions.parse(
        tools=[openai.pydantic_function_tool(Step)], tool_choice="required", parallel_tool_calls=False, **options
    )
    assert isinstance(one.choices[0].message.tool_calls[0].function.parsed_arguments, Step)


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"structured_outputs": {"regex": "[0-9]{3}조"}}, "[0-9]{3}조"),
        ({"structured_outputs": {"choice": ["예", "아니오"]}}, "예|아니오"),
        ({"structured_outputs": {"grammar": 'root ::= "a" [0-9]'}}, "a[0-9]"),
        ({"structured_outputs": {"json": {"const": 7}}}, "7"),
        ({"guided_choice": ["예"]}, "예"),
        ({"guided_regex": "[ab]{2}"}, "[ab]{2}"),
        ({"guided_json": '{"const": null}'}, "null"),
        ({"response_format": {"type": "json_object"}}, r"\{[\s\S]*"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": "x"}}}}, '"x"'),
    ],
)
def test_both_routes_know_vllm_s_forms(server, fields, pattern):
    chat = ask(server, max_tokens=40, extra_body={**DIRECT, **fields}).choices[0]
    text = server.client.completions.create(model="tiny", prompt="예산", max_tokens=40, extra_body=fields).choices[0]
    for written, reason in [(chat.message.content, chat.finish_reason), (text.text, text.finish_reason)]:
        assert reason == "stop" or "json_object" in str(fields)
        assert re.fullmatch(pattern, written) if reason == "stop" else written.startswith("{")


def test_budgets_for_thoughts(server):
    """The engine's tests say that a budget holds to the token; here, that each field reaches it."""
    close = {str(server.llm.tokenizer.special_tokens["</think>"]): -100}
    for fields, tokens in [({"thinking_token_budget": 5}, 5), ({"thinking_token_budget": 0}, 0)]:
        answer = ask(server, logit_bias=close, max_tokens=40, extra_body=fields)
        assert answer.usage.completion_tokens_details.reasoning_tokens == tokens + 1  # and the mark
        assert answer.choices[0].message.content
    kinds = {
        "none": (False, None),
        "minimal": (True, 512),
        "low": (True, 2048),
        "medium": (True, 8192),
        "high": (True, None),
    }
    for effort, (thinks, budget) in kinds.items():
        asked = ChatRequest(messages=MESSAGES, reasoning_effort=effort)
        params = asked.sampling_params(server.llm.tokenizer)
        assert (asked.enable_thinking, params.thinking_token_budget) == (thinks, budget)
    both = ChatRequest(messages=MESSAGES, reasoning_effort="low", thinking_token_budget=9)
    assert both.sampling_params(server.llm.tokenizer).thinking_token_budget == 9
    none = ChatRequest(messages=MESSAGES, reasoning_effort="low", thinking_token_budget=-1)
    assert none.sampling_params(server.llm.tokenizer).thinking_token_budget is None


def test_hostile_forms_are_refused_while_others_are_served(server):
    wide = {"type": "object", "properties": {f"k{i}": {"type": "string"} for i in range(3000)}}
    hostile = [{"regex": "(a{1000}){1000}"}, {"json": wide}, {"regex": "x[a-z]{9}(a{1000}){1000}"}]

    async def work():
        client = server.asynchronous
        options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 60, "seed": 3}
        bad = [
            client.chat.completions.create(**options, extra_body={**DIRECT, "structured_outputs": form})
            for form in hostile
        ]
        good = [client.chat.completions.create(**options) for _ in range(4)]
        return await asyncio.gather(*bad, *good, return_exceptions=True)

    results = asyncio.run(work())
    for error in results[:3]:
        assert isinstance(error, openai.BadRequestError) and "cannot be used" in str(error)
    assert len({result.choices[0].message.content for result in results[3:]}) == 1
    assert server.idle()
