"""One turn of the model: calls that it wrote as text, turns that lead nowhere, and how its work ends."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_server import results, turns
from small_tools import add_event

from axk1.agents.brief import BriefChat
from axk1.agents.run import Input, Status
from axk1.agents.turn import written_calls
from axk1.core.chat_model import ChatReply

EVENT = {"title": "주간 회의", "start": "2026-11-24T15:00"}
NAMES = ["add_event", "read_file"]
written = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(NAMES),
            "arguments": st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3),
        }
    ),
    min_size=1,
    max_size=4,
)


@given(written, st.booleans(), st.sampled_from(["\n", " ", ",\n"]))
def test_calls_come_back_as_they_were_written(calls, tagged, between):
    parts = [json.dumps(one, ensure_ascii=False) for one in calls]
    text = between.join(f"<tool_call>\n{one}\n</tool_call>" if tagged else one for one in parts)
    assert [{"name": one.name, "arguments": one.arguments} for one in written_calls(text, NAMES)] == calls


@given(written)
def test_calls_in_blocks_may_have_words_around_them(calls):
    calls = [one for one in calls if "`" not in json.dumps(one)]
    text = "Sure.\n" + "\n".join(f"```json\n{json.dumps(one)}\n```" for one in calls) + "\nDone."
    assert len(written_calls(text, NAMES)) == len(calls)
    assert written_calls(text, NAMES, alone=True) == (), "in a page that is quoted it may be anybody's"
    blocks = "\n".join(f"```json\n{json.dumps(one)}\n```" for one in calls)
    assert len(written_calls(blocks, NAMES, alone=True)) == len(calls)


@given(st.text(max_size=80))
def test_other_text_is_no_call(text):
    assert written_calls(text, NAMES) == ()


@pytest.mark.parametrize(
    "text",
    [
        'I would call {"name": "add_event", "arguments": {}}',
        '{"name": "send_money", "arguments": {}}',
        '{"name": "add_event", "arguments": {}} and {"name": "send_money", "arguments": {}}',
        '{"name": "add_event", "arguments": "none"}',
        '{"name": "add_event", "arguments": {',
        '["add_event"]',
        "```json\n[1, 2]\n```",
        "[" * 5000,
    ],
)
def test_what_is_not_wholly_a_call_of_an_offered_tool_is_text(text):
    assert written_calls(text, NAMES) == ()


def test_a_written_call_runs_and_reads_as_a_call_afterwards(runner_of):
    def rules(messages, _):
        call = json.dumps({"name": "add_event", "arguments": EVENT}, ensure_ascii=False)
        return f"```json\n{call}\n```" if not turns(messages) else "잡았습니다."

    run = asyncio.run(runner_of(rules).start("내일 오후 3시에 주간 회의 잡아줘"))
    assert run.status is Status.COMPLETED and run.answer == "잡았습니다."
    assert [step.type for step in run.steps] == ["input", "call", "result", "answer"]
    assert run.messages[1]["content"] == "" and run.messages[1]["tool_calls"][0]["function"]["name"] == "add_event"


def test_json_that_the_person_asked_for_is_an_answer(runner_of):
    run = asyncio.run(runner_of(lambda *_: '{"name": "Kim", "arguments": {}}').start("give me a JSON object"))
    assert run.status is Status.COMPLETED and run.answer == '{"name": "Kim", "arguments": {}}'


def test_a_model_that_repeats_itself_is_held_to_its_answer(runner_of):
    choices = []

    def rules(_, request):
        choices.append(request["tool_choice"])
        held = isinstance(request["tool_choice"], dict)
        return [("answer", {"text": "잡았습니다."})] if held else [("add_event", EVENT)]

    run = asyncio.run(runner_of(rules, constrained=True).start("내일 오후 3시에 주간 회의 잡아줘"))
    assert run.status is Status.COMPLETED and run.answer == "잡았습니다."
    assert choices == ["required"] * 3 + [{"type": "function", "function": {"name": "answer"}}]
    assert sum(call.state == "done" for call in run.calls) == 1


def test_other_mistakes_do_not_end_as_if_all_were_well(runner_of):
    choices = []

    def rules(_, request):
        choices.append(request["tool_choice"])
        return [("add_evnt", EVENT)]

    run = asyncio.run(runner_of(rules, constrained=True).start("내일 오후 3시에 주간 회의 잡아줘"))
    assert run.status is Status.FAILED and set(choices) == {"required"}


def test_after_nothing_came_the_next_words_are_drawn(runner_of):
    temperatures = []

    def rules(_, request):
        temperatures.append(request["temperature"])
        return "" if len(temperatures) == 1 else "여기 있습니다."

    run = asyncio.run(runner_of(rules).start("안녕"))
    assert run.answer == "여기 있습니다." and temperatures[0] == 0 and temperatures[1] > 0


def test_a_question_in_vain_is_asked_twice_at_most(runner_of):
    def rules(messages, _):
        gave_up = messages[-1]["role"] == "tool" and "has not said it" in messages[-1]["content"]
        if results(messages) and '"added"' in results(messages)[-1]:
            return "끝"
        return "언제인지 몰라서 잡지 않았습니다." if gave_up else [("add_event", {"title": "회의"})]

    runner = runner_of(rules)
    run = asyncio.run(runner.start("회의 잡아줘"))
    for _ in range(2):
        assert run.status is Status.INPUT_REQUIRED
        run = asyncio.run(runner.give(run.id, Input(text="모르겠어요")))
    assert run.status is Status.COMPLETED and run.answer == "언제인지 몰라서 잡지 않았습니다."
    run = asyncio.run(runner.give(run.id, Input(text="내일 오후 3시")))  # their next wish begins anew
    assert [call.arguments["start"] for call in run.calls if call.state == "done"] == ["2026-11-24T15:00:00+09:00"]


@pytest.mark.parametrize("constrained", [True, False])
def test_only_a_model_that_must_call_is_told_of_the_answer_tool(runner_of, constrained):
    told = []

    def rules(messages, request):
        told.append((messages[0]["content"], [one["function"]["name"] for one in request["tools"]]))
        return [("answer", {"text": "네."})] if constrained else "네."

    asyncio.run(runner_of(rules, constrained=constrained).start("안녕"))
    assert ("answer" in told[0][0]) is ("answer" in told[0][1]) is constrained


def test_brief_form_keeps_to_the_tool_that_a_choice_names():
    asked = []

    class Server:
        async def chat(self, messages, *, response_format, **_):
            asked.append(response_format["json_schema"]["schema"]["anyOf"])
            return ChatReply('{"name": "add_event", "arguments": {}}')

    tools = [add_event.described(), {"type": "function", "function": {"name": "answer", "parameters": {}}}]
    choice = {"type": "function", "function": {"name": "answer"}}
    asyncio.run(BriefChat(Server()).chat([], tools=tools, tool_choice=choice))
    assert [one["properties"]["name"] for one in asked[0]] == [{"const": "answer"}]


def test_tools_are_told_without_titles_and_nulls():
    parameters = add_event.described()["function"]["parameters"]
    assert "title" in parameters["properties"]  # the parameter, not pydantic's word for it
    shown = json.dumps(parameters)
    assert "anyOf" not in shown and "null" not in shown and '"title": "' not in shown


def test_what_the_person_refused_is_not_shown_again_until_they_speak(runner_of, inbox):
    mail = {"to": ["minsu@example.com"], "subject": "회의", "body": "내일 봅시다."}

    def rules(messages, _):
        refused = messages[-1]["role"] == "tool" and "has refused this call" in messages[-1]["content"]
        sent = messages[-1]["role"] == "tool" and '"sent"' in messages[-1]["content"]
        return "알겠습니다." if refused or sent else [("send_mail", mail)]

    runner = runner_of(rules)
    run = asyncio.run(runner.start("minsu@example.com 에게 메일 보내줘"))
    run = asyncio.run(runner.give(run.id, Input(confirm=False)))
    assert run.status is Status.COMPLETED and run.answer == "알겠습니다."
    assert sum(step.type == "confirmation" for step in run.steps) == 1
    run = asyncio.run(runner.give(run.id, Input(text="minsu@example.com 에게 그 메일 보내줘")))  # they ask again
    assert run.status is Status.CONFIRMATION_REQUIRED and inbox.mails == []
