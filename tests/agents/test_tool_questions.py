"""A tool that asks in the middle of its work: the run pauses in the database, and goes on elsewhere."""

import asyncio

from axk1.agents.loop import Runner
from axk1.agents.run import CallState, Input, Status
from axk1.agents.store import RunStore
from axk1.agents.tool import Effect, InputRequired, Outcome, Slot, ToolContext, tool
from axk1.core.chat_model import ChatReply, ToolCall
from axk1.serve.database import open_database


@tool(effect=Effect.WRITE)
def order(context: ToolContext, dish: str) -> Outcome:
    """Orders food."""
    if "street" not in context.answers:
        raise InputRequired(
            "where to", questions={"street": Slot(ko="어느 길인가요?", en="Which street?")}, state="one"
        )
    if "number" not in context.answers:
        questions = {"number": Slot(ko="몇 번지인가요?", en="Which number?")}
        raise InputRequired("where to", questions=questions, state=context.state + " two")
    where = f"{context.answers['street']} {context.answers['number']}"
    return Outcome(f"{dish} to {where} ({context.state})")


class Script:
    """A model that says one thing behind the other."""

    def __init__(self, *replies):
        self.replies = list(replies)

    async def chat(self, messages, **_):
        return self.replies.pop(0)


def test_each_question_pauses_the_run_and_another_process_goes_on(tmp_path):
    replies = [ChatReply("", (ToolCall("a", "order", {"dish": "bibimbap"}),)), ChatReply("Ordered.")]
    model = Script(*replies)

    def runner():
        store = RunStore(open_database(f"sqlite:///{tmp_path}/axk1.db"))
        return Runner(model, {"order": order}, store, workspace=tmp_path)

    run = asyncio.run(runner().start("Order bibimbap"))
    assert run.status is Status.INPUT_REQUIRED and run.question.text == "Which street?"
    run = asyncio.run(runner().give(run.id, Input(text="Sejong-daero")))
    assert run.status is Status.INPUT_REQUIRED and run.question.text == "Which number?"
    run = asyncio.run(runner().give(run.id, Input(slots={"number": "175"})))
    assert run.status is Status.COMPLETED and run.answer == "Ordered."
    (done,) = [call for call in run.calls if call.state is CallState.DONE]
    assert done.content == "bibimbap to Sejong-daero 175 (one two)" and done.arguments == {"dish": "bibimbap"}
