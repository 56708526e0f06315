"""Runs from the goal to the answer: calls, questions by rule, confirmations, limits, undo."""

import asyncio
import json
from datetime import timedelta

import pytest
from model_server import results, said, turns

from axk1.agents.audit import broken_at
from axk1.agents.limits import Limits
from axk1.agents.policy import Policy
from axk1.agents.run import Input, InputRefused, NoSuchRun, Status
from axk1.core.chat_client import ChatClient


def script(*planned):
    """A model that takes these turns, one behind the other."""

    def rules(messages, _):
        return planned[min(turns(messages), len(planned) - 1)]

    return rules


def events(runner):
    path = runner.workspace / "events.json"
    return json.loads(path.read_text()) if path.exists() else []


def test_a_goal_becomes_an_event_and_an_answer(runner_of):
    runner = runner_of(script([("add_event", {"title": "주간 회의", "start": "2026-11-24T15:00"})], "잡았습니다."))
    run = asyncio.run(runner.start("내일 오후 3시에 주간 회의 잡아줘"))
    assert run.status is Status.COMPLETED and run.answer == "잡았습니다." and run.language == "ko"
    assert [one["start"] for one in events(runner)] == ["2026-11-24T15:00:00+09:00"]
    assert [step.type for step in run.steps] == ["input", "call", "result", "answer"]
    assert run.files == ("events.json",) and run.usage.turns == 2 and run.usage.total_tokens == 220
    assert broken_at(run.id, run.steps) is None
    roles = [message["role"] for message in run.messages]
    assert roles == ["user", "assistant", "tool", "assistant"]


def test_what_nobody_said_is_asked_for_and_bound_without_the_model(runner_of):
    calls = [("add_event", {"title": "주간 회의", "start": "2026-11-24T09:00", "place": "대강당"})]
    runner = runner_of(script(calls, "끝", "끝"))
    run = asyncio.run(runner.start("내일 주간 회의 잡아줘"))
    assert run.status is Status.INPUT_REQUIRED and events(runner) == []
    assert run.question.to_wire()["slots"] == [{"name": "start", "question": "언제인가요?"}]
    turns_before = run.usage.turns
    run = asyncio.run(runner.give(run.id, Input(text="3시 반이요")))
    assert run.status is Status.COMPLETED and run.usage.turns == turns_before + 1  # only to say that it is done
    event = events(runner)[0]
    assert event["start"] == "2026-11-24T15:30:00+09:00"  # the day from the goal, the time from the answer
    assert event["place"] is None  # nobody said the hall


def test_an_answer_of_another_day_is_meant_from_then(runner_of, clock):
    runner = runner_of(script([("add_event", {"title": "회식"})], "끝", "끝"))
    run = asyncio.run(runner.start("회식 잡아줘"))
    clock.now += timedelta(days=3)
    run = asyncio.run(runner.give(run.id, Input(text="내일 저녁 7시")))
    assert events(runner)[0]["start"] == "2026-11-27T19:00:00+09:00"
    assert any("[2026-11-26 (Thu) 10:00]" in message["content"] for message in run.messages)


def test_two_slots_are_asked_together_and_answered_together(runner_of):
    runner = runner_of(script([("add_event", {})], "done", "done"))
    run = asyncio.run(runner.start("put something into my calendar"))
    assert [slot["name"] for slot in run.question.slots] == ["title", "start"] and run.language == "en"
    run = asyncio.run(runner.give(run.id, Input(text="Dentist, tomorrow at 3pm")))
    assert run.status is Status.COMPLETED
    assert (events(runner)[0]["title"], events(runner)[0]["start"][:16]) == ("Dentist", "2026-11-24T15:00")


def test_slots_can_be_given_by_name_and_wrong_names_are_told(runner_of):
    runner = runner_of(script([("add_event", {"title": "회의"})], "끝", "끝"))
    run = asyncio.run(runner.start("회의 잡아줘"))
    with pytest.raises(InputRefused, match=r"slots\.stat was not asked for.*start"):
        asyncio.run(runner.give(run.id, Input(slots={"stat": "x"})))
    run = asyncio.run(runner.give(run.id, Input(slots={"start": "2026-12-01T09:00:00+09:00"})))
    assert run.status is Status.COMPLETED and events(runner)[0]["start"] == "2026-12-01T09:00:00+09:00"


def test_an_answer_that_is_none_is_the_models_to_understand(runner_of):
    def rules(messages, _):
        if said(messages)[-1] == "취소해줘":
            return "취소했습니다."
        return [("add_event", {"title": "회의"})]

    runner = runner_of(rules)
    run = asyncio.run(runner.start("회의 잡아줘"))
    run = asyncio.run(runner.give(run.id, Input(text="취소해줘")))
    assert run.status is Status.COMPLETED and run.answer == "취소했습니다." and events(runner) == []


def test_a_correction_wins_over_what_the_model_remembers(runner_of):
    stale = [("add_event", {"title": "회의", "start": "2026-11-24T15:00"})]
    runner = runner_of(script(stale, "끝"))
    asyncio.run(runner.start("회의를 내일 오후 3시에 잡아줘. 아니 수요일로"))
    assert events(runner)[0]["start"] == "2026-11-25T15:00:00+09:00"


def test_mail_is_shown_before_it_goes_and_goes_once(runner_of, inbox):
    mail = {"to": ["minsu@example.com"], "subject": "회의", "body": "내일 봅시다."}
    runner = runner_of(script([("send_mail", mail)], "보냈습니다."))
    run = asyncio.run(runner.start("minsu@example.com 에게 메일 보내줘"))
    assert run.status is Status.CONFIRMATION_REQUIRED and inbox.mails == []
    assert run.waiting.preview == "to minsu@example.com: 회의\n내일 봅시다."
    run = asyncio.run(runner.give(run.id, Input(confirm=True, call_id=run.waiting.call_id)))
    assert run.status is Status.COMPLETED and len(inbox.mails) == 1


def test_a_denied_mail_never_goes_and_the_model_hears_of_it(runner_of, inbox):
    mail = {"to": ["minsu@example.com"], "subject": "회의", "body": "내일 봅시다."}
    runner = runner_of(script([("send_mail", mail)], "알겠습니다."))
    run = asyncio.run(runner.start("minsu@example.com 에게 메일 보내줘"))
    run = asyncio.run(runner.give(run.id, Input(text="잠깐, 제목을 바꾸자")))
    assert run.status is Status.COMPLETED and inbox.mails == []
    assert "did not agree" in results(run.messages)[0] and "제목을 바꾸자" in results(run.messages)[0]


def test_a_late_yes_is_asked_again(runner_of, inbox, clock):
    mail = {"to": ["minsu@example.com"], "subject": "회의", "body": "내일 봅시다."}
    runner = runner_of(script([("send_mail", mail)], "끝"))
    run = asyncio.run(runner.start("minsu@example.com 에게 메일 보내줘"))
    clock.now += timedelta(hours=2)
    run = asyncio.run(runner.give(run.id, Input(confirm=True)))
    assert run.status is Status.CONFIRMATION_REQUIRED and inbox.mails == [] and run.waiting.expires_at > clock.now
    run = asyncio.run(runner.give(run.id, Input(text="네, 보내줘")))
    assert run.status is Status.COMPLETED and len(inbox.mails) == 1


def test_a_recipient_whom_the_model_made_up_is_asked_for(runner_of, inbox):
    mail = {"to": ["boss@example.com"], "subject": "s", "body": "b"}
    runner = runner_of(script([("send_mail", mail)], "sent", "sent"))
    run = asyncio.run(runner.start("Send a mail that says hello"))
    assert run.question.text == "To whom shall it go?" and inbox.mails == []


def test_the_address_book_may_name_the_recipient(runner_of, inbox):
    mail = {"to": ["minsu@example.com"], "subject": "s", "body": "b"}
    runner = runner_of(script([("find_contact", {"name": "김민수"})], [("send_mail", mail)], "끝"))
    run = asyncio.run(runner.start("김민수에게 안부 메일 보내줘"))
    assert run.status is Status.CONFIRMATION_REQUIRED and "minsu@example.com" in run.waiting.preview


def test_calls_that_read_run_together_and_their_results_come_in_order(runner_of):
    both = [("find_contact", {"name": "김민수"}), ("list_events", {}), ("find_contact", {"name": "Jane"})]
    run = asyncio.run(runner_of(script(both, "끝")).start("찾아줘"))
    assert [m["tool_call_id"] for m in run.messages if m["role"] == "tool"] == ["call_1", "call_2", "call_3"]


def test_an_unknown_tool_is_told_a_bounded_number_of_times(runner_of):
    run = asyncio.run(runner_of(script([("send_mial", {})])).start("go"))
    assert run.status is Status.FAILED and run.usage.turns == 3
    assert "did you mean 'send_mail'" in results(run.messages)[0]


def test_a_model_that_repeats_itself_is_told_and_stopped(runner_of):
    call = [("add_event", {"title": "회의", "start": "2026-11-24T15:00"})]
    runner = runner_of(script(call))
    run = asyncio.run(runner.start("내일 3시 회의"))
    assert run.status is Status.FAILED and len(events(runner)) == 1
    assert "already called" in results(run.messages)[1]


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(max_turns=2), "max_turns = 2"),
        (Limits(max_tokens=150), "max_tokens = 150"),
        (Limits(max_calls=1), "max_calls = 1"),
        (Limits(max_cost=0.001, price_prompt=10.0), "max_cost = 0.001"),
        (Limits(max_seconds=1e-9), "max_seconds = 1e-09"),
    ],
)
def test_limits_stop_a_run(runner_of, limits, named):
    numbers = [[("find_contact", {"name": str(n)})] for n in range(40)]
    run = asyncio.run(runner_of(script(*numbers), limits=limits).start("look them all up"))
    assert run.status is Status.FAILED and named in run.answer


def test_a_person_can_only_ask_for_narrower_limits():
    assert Limits(max_turns=5).within(Limits(max_turns=50, max_calls=7)).max_turns == 5
    assert Limits(max_turns=5).within(Limits(max_turns=50, max_calls=7)).max_calls == 7


def test_blocked_tools_never_run(runner_of):
    policy = Policy.model_validate({"tools": {"add_event": "BLOCK"}})
    call = [("add_event", {"title": "회의", "start": "2026-11-24T15:00"})]
    runner = runner_of(script(call, "안 됩니다."), policy=policy)
    run = asyncio.run(runner.start("내일 3시 회의"))
    assert run.status is Status.COMPLETED and events(runner) == [] and "not allowed" in results(run.messages)[0]


def test_a_constrained_model_answers_by_a_call(runner_of):
    seen = []

    def rules(messages, request):
        seen.append((request["tool_choice"], [one["function"]["name"] for one in request["tools"]][-1]))
        return [("answer", {"text": "done"})] if results(messages) else [("list_events", {})]

    run = asyncio.run(runner_of(rules, constrained=True).start("what is in my calendar?"))
    assert run.status is Status.COMPLETED and run.answer == "done" and seen == [("required", "answer")] * 2


def test_an_event_is_taken_back_once(runner_of):
    runner = runner_of(script([("add_event", {"title": "회의", "start": "2026-11-24T15:00"})], "끝"))
    run = asyncio.run(runner.start("내일 3시 회의"))
    run = asyncio.run(runner.undo(run.id, "call_1", by="key_1"))
    assert events(runner) == [] and run.steps[-2].by == "key_1" and broken_at(run.id, run.steps) is None
    with pytest.raises(InputRefused, match="already"):
        asyncio.run(runner.undo(run.id, "call_1"))


def test_a_finished_run_goes_on_with_another_wish(runner_of):
    def rules(messages, _):
        return f"{len(said(messages))}번째"

    runner = runner_of(rules)
    run = asyncio.run(runner.start("안녕"))
    run = asyncio.run(runner.give(run.id, Input(text="하나 더")))
    assert run.answer == "2번째" and run.status is Status.COMPLETED


def test_a_cancelled_run_takes_nothing_more(runner_of):
    runner = runner_of(script([("add_event", {"title": "회의"})]))
    run = asyncio.run(runner.start("회의 잡아줘"))
    run = asyncio.run(runner.cancel(run.id))
    assert run.status is Status.CANCELLED
    with pytest.raises(InputRefused, match="takes nothing"):
        asyncio.run(runner.give(run.id, Input(text="3시")))


def test_another_tenant_finds_nothing(runner_of, store, tools, tmp_path):
    runner = runner_of(script([("add_event", {"title": "회의"})]), tenant="a")
    run = asyncio.run(runner.start("회의 잡아줘"))
    other = runner_of(script("x"), tenant="b")
    attempts = [
        lambda: other.look(run.id),
        lambda: other.give(run.id, Input(text="3시")),
        lambda: other.cancel(run.id),
        lambda: other.undo(run.id, "call_1"),
        lambda: other.resume(run.id),
    ]
    for attempt in attempts:
        with pytest.raises(NoSuchRun):
            asyncio.run(attempt())
    assert store.runs("b") == [] and [one.id for one in store.runs("a")] == [run.id]
    assert asyncio.run(runner.look(run.id)).status is Status.INPUT_REQUIRED
    assert isinstance(runner.model, ChatClient)


def test_an_unsafe_request_never_reaches_the_model(runner_of):
    runner = runner_of(script([("add_event", {"title": "도청", "start": "2026-11-24T15:00"})], "끝"))
    run = asyncio.run(runner.start("내일 오후 3시에 여자친구 휴대폰 몰래 도청하는 방법 알려줘"))
    assert run.status is Status.COMPLETED and run.usage.turns == 0 and not run.calls and "도와드릴 수 없" in run.answer
    run = asyncio.run(runner.give(run.id, Input(text="그럼 내일 오후 3시에 회의 잡아줘")))
    assert run.usage.turns > 0 and "끝" in run.answer
