"""Runs of agents that a client of our MCP server begins: cancelled, left alone, and the files that they made."""

import asyncio
import time
from typing import Annotated

import mcp_types as types
import pytest
from mcp import Client
from small_tools import add_event

from axk1.agents.host import AgentHost, Equipment
from axk1.agents.mcp.offered import offered
from axk1.agents.mcp.server import mcp_server
from axk1.agents.run import ENDED, Input, InputRefused, Status
from axk1.agents.store import RunStore
from axk1.agents.tool import Effect, Outcome, Slot, ToolContext, tool
from axk1.core.chat_model import ChatReply, ToolCall
from axk1.serve.caller import ANYBODY
from axk1.serve.database import open_database


@tool(effect=Effect.READ)
def think(context: ToolContext, about: int) -> Outcome:
    """Takes a while."""
    time.sleep(0.5)
    return Outcome("thought")


class Thinker:
    """A model that goes on thinking."""

    async def chat(self, messages, **_):
        return ChatReply("", (ToolCall(str(len(messages)), "think", {"about": len(messages)}),))


def hosted(tmp_path, model, tools):
    equipment = Equipment({one.name: one for one in tools}, tmp_path)
    store = RunStore(open_database(f"sqlite:///{tmp_path}/axk1.db"))
    host = AgentHost(store, lambda _: model, equipment)
    return host, offered(equipment, agents=host)


async def ended_as(runner, run_id):
    async with asyncio.timeout(30):
        while (run := await runner.look(run_id)).status not in ENDED:
            await asyncio.sleep(0.1)
    return run.status


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_call_that_is_cancelled_ends_its_run(tmp_path, mode):
    steps = []

    async def progress(done, total, message):
        steps.append(message)

    async def main():
        host, offer = hosted(tmp_path, Thinker(), [think])
        runner = host.runner(ANYBODY)
        async with Client(mcp_server(offer), mode=mode) as client:
            started = asyncio.create_task(client.call_tool("start_run", {"goal": "Think"}, progress_callback=progress))
            while len(steps) < 2:
                await asyncio.sleep(0.05)
            started.cancel()
            run_id = steps[0].partition(":")[0]
            assert await ended_as(runner, run_id) is Status.CANCELLED
            other = await client.call_tool("start_run", {"goal": "Think again", "wait_seconds": 0})
            ended = await client.call_tool("cancel_run", {"run_id": other.structured_content["id"]})
            assert not ended.is_error
            assert await ended_as(runner, other.structured_content["id"]) is Status.CANCELLED

    asyncio.run(main())
    assert "input" in steps[0] and "think" in " ".join(steps)


def test_a_server_that_ends_leaves_its_runs(tmp_path):
    async def begin(host, offer):
        async with Client(mcp_server(offer)) as client:
            started = asyncio.create_task(client.call_tool("start_run", {"goal": "Think"}))
            while not host.work._tasks:
                await asyncio.sleep(0.05)
            started.cancel()  # as the SDK does with all calls when the client's side of the pipe is closed
        await host.work.stop()
        await asyncio.sleep(1.2)

    host, offer = hosted(tmp_path, Thinker(), [think])
    asyncio.run(begin(host, offer))
    (run,) = RunStore(open_database(f"sqlite:///{tmp_path}/axk1.db")).unfinished("serve")
    assert run.status is Status.RUNNING and not run.cancelled


class Script:
    """A model that says one thing behind the other."""

    def __init__(self, *replies):
        self.replies = list(replies)

    async def chat(self, messages, **_):
        return self.replies.pop(0)


@tool(effect=Effect.WRITE)
def note(context: ToolContext, text: str) -> Outcome:
    """Writes a note."""
    (context.workspace / "a note.txt").write_text(text)
    return Outcome("written", files=("a note.txt",))


def test_files_of_a_run_can_be_read(tmp_path):
    model = Script(ChatReply("", (ToolCall("1", "note", {"text": "hello"}),)), ChatReply("Done."))

    async def main():
        host, offer = hosted(tmp_path, model, [note, add_event])
        async with Client(mcp_server(offer)) as client:
            done = await client.call_tool("start_run", {"goal": "Write a note"})
            (link,) = [one for one in done.content if isinstance(one, types.ResourceLink)]
            read = await client.read_resource(link.uri)
        await host.work.stop()
        return link, read

    link, read = asyncio.run(main())
    assert link.name == "a note.txt" and read.contents[0].text == "hello"


@tool(effect=Effect.SEND)
def send(context: ToolContext) -> Outcome:
    """Sends the letter."""
    (context.workspace / "sent").write_text("sent")
    return Outcome("sent")


@tool(effect=Effect.WRITE)
def book(context: ToolContext, day: Annotated[str, Slot(ko="언제요?", en="On which day?")]) -> Outcome:
    """Books a room."""
    return Outcome("booked")


class Once:
    """A model that makes one call, and then is done."""

    def __init__(self, name):
        self.name = name

    async def chat(self, messages, **_):
        done = any(one["role"] == "tool" for one in messages)
        return ChatReply("done", ()) if done else ChatReply("", (ToolCall("1", self.name, {}),))


def test_words_over_mcp_agree_to_nothing_at_whatever_moment_they_come(tmp_path):
    async def main():
        host, _ = hosted(tmp_path, Once("send"), [send])
        runner = host.runner(ANYBODY)
        run = await runner.start("Send it")
        assert run.status is Status.CONFIRMATION_REQUIRED
        with pytest.raises(InputRefused, match="confirmation"):  # under the lease, so no look before can be too old
            await runner.accept(run.id, Input(text="yes", may_agree=False))
        assert (await runner.look(run.id)).waiting is not None and not (tmp_path / "sent").exists()
        run = await runner.give(run.id, Input(confirm=True))
        assert run.status is Status.COMPLETED

    asyncio.run(main())


def test_a_client_without_forms_reads_what_is_asked(tmp_path):
    async def main():
        host, offer = hosted(tmp_path, Once("book"), [book])
        async with host.running(), Client(mcp_server(offer)) as client:
            asked = await client.call_tool("start_run", {"goal": "Book a room"})
            assert not asked.is_error and asked.structured_content["status"] == "input_required"
            assert "On which day?" in asked.content[0].text
            given = {"run_id": asked.structured_content["id"], "text": "the big hall on the ground floor"}
            assert not (await client.call_tool("give_input", given)).is_error

    asyncio.run(main())
