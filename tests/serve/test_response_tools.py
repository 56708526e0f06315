"""Function calls and forms of ``/v1/responses``; the grammar makes even a random model call rightly."""

import json

import openai
import pydantic
import pytest
from test_responses import events_of, plain, rebuilt, streamed

CITY = {"type": "object", "properties": {"city": {"enum": ["서울", "부산"]}}, "required": ["city"]}
CITY |= {"additionalProperties": False}
TIME = {
    "type": "object",
    "properties": {"hour": {"type": "integer", "minimum": 0, "maximum": 23}},
    "required": ["hour"],
}
WEATHER = {"type": "function", "name": "get_weather", "description": "날씨", "parameters": CITY, "strict": True}
CLOCK = {"type": "function", "name": "set_clock", "parameters": {**TIME, "additionalProperties": False}, "strict": True}
DIRECT = {"reasoning": {"effort": "none"}, "max_output_tokens": 150, "parallel_tool_calls": False}
QUESTION = "서울은?"


@pytest.fixture(scope="module")
def server(roomy):
    return roomy


def ask(server, given=QUESTION, **options):
    options = {**DIRECT, "tools": [WEATHER, CLOCK], "extra_body": {"seed": 2}, **options}
    return server.client.responses.create(model="tiny", input=given, **options)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "set_clock"}])
def test_a_call_is_an_item_and_its_deltas_add_up(server, choice):
    fields = {**DIRECT, "tools": [WEATHER, CLOCK], "tool_choice": choice, "seed": 2}
    events = events_of(server, QUESTION, **fields)
    response = events[-1]["response"]
    (call,) = response["output"]
    assert response["status"] == "completed" and call["type"] == "function_call" and call["status"] == "completed"
    arguments = json.loads(call["arguments"])
    assert set(arguments) == ({"city"} if call["name"] == "get_weather" else {"hour"})
    assert choice == "required" or call["name"] == "set_clock"
    assert [streamed(item) for item in rebuilt(events)] == [streamed(call)]
    assert "response.function_call_arguments.done" in [event["type"] for event in events]
    answer = ask(server, tool_choice=choice)
    same = [{**each, "output": [{**each["output"][0], "call_id": 0}]} for each in (plain(answer), plain(response))]
    assert same[0] == same[1]
    assert server.client.responses.retrieve(answer.id).to_dict() == answer.to_dict()
    described = {"description": None, **CLOCK}
    assert response["tools"] == [WEATHER, described] and response["tool_choice"] == choice


def test_only_allowed_tools_are_called(server):
    for seed in range(3):
        for name in ("get_weather", "set_clock"):
            choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": name}]}
            answer = ask(server, tool_choice=choice, extra_body={"seed": seed})
            assert [call.name for call in answer.output] == [name]
    assert answer.to_dict()["tool_choice"] == choice


def test_a_call_is_answered_and_the_conversation_goes_on(server):
    first = ask(server, tool_choice="required")
    call = first.output[0]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "비"}
    chained = ask(server, [output], previous_response_id=first.id, tool_choice="none", temperature=0)
    everything = [{"role": "user", "content": QUESTION}, call.to_dict(), output]
    whole = ask(server, everything, tool_choice="none", temperature=0)
    assert chained.output_text == whole.output_text and chained.usage.input_tokens == whole.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="no function call"):
        ask(server, [{**output, "call_id": "call_other"}], previous_response_id=first.id)


def test_several_calls_are_several_items(server):
    for seed in range(40):
        options = {"parallel_tool_calls": True, "temperature": 1.5, "extra_body": {"seed": seed}}
        calls = ask(server, tool_choice="required", max_output_tokens=300, **options).output
        if len(calls) > 1:
            break
    assert len(calls) > 1 and len({call.id for call in calls}) == len({call.call_id for call in calls}) == len(calls)
    assert all(call.type == "function_call" for call in calls)


class Sum(pydantic.BaseModel):
    left: int = pydantic.Field(ge=0, le=99)
    name: str = pydantic.Field(max_length=5)


def test_a_schema_holds(server):
    parsed = server.client.responses.parse(
        model="tiny", input="a", text_format=Sum, reasoning={"effort": "none"}, max_output_tokens=150
    )
    assert isinstance(parsed.output_parsed, Sum) and parsed.status == "completed"
    kept = server.client.responses.retrieve(parsed.id).to_dict()["text"]["format"]
    assert (
        kept["type"] == "json_schema"
        and kept["name"] == "Sum"
        and set(kept["schema"]["properties"]) == {"left", "name"}
    )
    with server.client.responses.stream(
        model="tiny", input="a", text_format=Sum, reasoning={"effort": "none"}, max_output_tokens=150
    ) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Sum)


def test_a_form_that_cannot_be_is_refused(server):
    for schema in ({"type": "thing"}, {"type": "string", "pattern": "("}):
        form = {"type": "json_schema", "name": "x", "schema": schema, "strict": True}
        with pytest.raises(openai.BadRequestError) as refused:
            ask(server, text={"format": form}, tools=[])
        assert refused.value.param
    with pytest.raises(openai.BadRequestError, match="required"):
        ask(server, tools=[], tool_choice="required")
