"""Our MCP server in processes of its own, seen by our client and by the SDK's."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import mcp_types as types
import pytest
from mcp import Client
from programs import free_port, listening_program
from small_tools import add_event

from axk1.agents.host import AgentHost, Equipment
from axk1.agents.mcp.client import open_mcp_tools
from axk1.agents.mcp.config import McpServer
from axk1.agents.mcp.offered import offered
from axk1.agents.mcp.served import Offer
from axk1.agents.mcp.served_tools import ServedTool, annotations_of
from axk1.agents.mcp.server import mcp_server
from axk1.agents.policy import Policy
from axk1.agents.store import RunStore
from axk1.agents.tool import Effect, InputRequired, Outcome, Slot, ToolContext, ToolRefusal, tool
from axk1.core.chat_model import ChatReply, ToolCall
from axk1.serve.database import open_database
from axk1.serve.tenants.directory import Directory

REPOSITORY = Path(__file__).parents[2]
HERE = ["-m", "axk1", "mcp", "serve"]
REFUSALS = [{"action": "decline"}, {"action": "cancel"}, {"action": "accept", "content": {"confirm": False}}]


@pytest.fixture
def context(tmp_path):
    return ToolContext(workspace=tmp_path, idempotency_key="call-1", now=datetime.now(UTC), language="en")


def command(tmp_path: Path) -> list[str]:
    return [*HERE, "--workspace", str(tmp_path / "work"), "--database", f"sqlite:///{tmp_path}/axk1.db"]


def test_the_command_serves_our_tools_to_our_client(context, tmp_path):
    server = McpServer(command=sys.executable, args=tuple(command(tmp_path)), cwd=REPOSITORY, trusted=True)

    async def main():
        async with open_mcp_tools({"axk1": server}) as tools:
            assert tools["axk1__list_files"].effect == Effect.READ
            assert tools["axk1__delete_file"].effect == Effect.DELETE
            assert (await tools["axk1__calculate"].function(context, expression="6 * 7")).content
            written = tools["axk1__write_file"]
            await written.function(context, path="note.txt", text="안녕")
            delete = tools["axk1__delete_file"]
            with pytest.raises(InputRequired) as asked:  # our own server asks before it deletes
                await delete.function(context, path="note.txt")
            no = ToolContext(tmp_path, "call-2", context.now, answers={"confirm": "no"}, state=asked.value.state)
            with pytest.raises(ToolRefusal, match="did not agree"):
                await delete.function(no, path="note.txt")
            assert (tmp_path / "work/everybody/note.txt").read_text() == "안녕"
            yes = ToolContext(tmp_path, "call-2", context.now, answers={"confirm": "yes"}, state=asked.value.state)
            with pytest.raises(ToolRefusal, match=r"[Ii]nvalid"):  # what was shown was another call
                await delete.function(yes, path="other.txt")
            await delete.function(yes, path="note.txt")
            assert not (tmp_path / "work/everybody/note.txt").exists()

    asyncio.run(main())


def served(tools, tmp_path, policy=None):
    options = {"workspace": lambda _: tmp_path, "clock": lambda: datetime.now(UTC)}
    return mcp_server(Offer(*(ServedTool(one, policy or Policy(), **options).served() for one in tools)))


@tool(effect=Effect.SEND)
def greet(context: ToolContext, to: Annotated[list[str], Slot(ko="누구에게?", en="To whom?")], text: str) -> Outcome:
    """Greets people."""
    with (context.workspace / "greeted").open("a") as file:
        file.write(f"{context.idempotency_key} {','.join(to)} {text}\n")
    return Outcome({"greeted": to})


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_what_is_missing_is_asked_and_what_cannot_be_taken_back_is_shown(tmp_path, mode):
    seen = []

    async def person(_, params):
        seen.append(params.message)
        if "to" in params.requested_schema["properties"]:
            return types.ElicitResult(action="accept", content={"to": "kim@example.com, lee@example.com"})
        return types.ElicitResult(action="accept", content={"confirm": True})

    async def main():
        async with Client(served([greet], tmp_path), elicitation_callback=person, mode=mode) as client:
            return await client.call_tool("greet", {"text": "hello"})

    result = asyncio.run(main())
    assert result.structured_content == {"greeted": ["kim@example.com", "lee@example.com"]}
    assert seen[0] == "To whom?" and "kim@example.com" in seen[1] and len(seen) == 2
    (line,) = (tmp_path / "greeted").read_text().splitlines()
    assert line.startswith("mcp-") and line.endswith("kim@example.com,lee@example.com hello")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    "answer", [{"action": "decline"}, {"action": "cancel"}, {"action": "accept", "content": {"confirm": False}}]
)
def test_without_consent_nothing_is_done(tmp_path, mode, answer):
    async def person(*_):
        return types.ElicitResult(**answer)

    async def main():
        async with Client(served([greet], tmp_path), elicitation_callback=person, mode=mode) as client:
            return await client.call_tool("greet", {"text": "hello", "to": ["kim@example.com"]})

    result = asyncio.run(main())
    assert result.is_error and not (tmp_path / "greeted").exists()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_that_cannot_ask_does_nothing_that_needs_consent(tmp_path, mode):
    async def main():
        async with Client(served([greet], tmp_path), mode=mode) as client:
            missing = await client.call_tool("greet", {"text": "hello"})
            assert missing.is_error and "To whom?" in missing.content[0].text
            with pytest.raises(Exception, match="consent"):
                await client.call_tool("greet", {"text": "hello", "to": ["kim@example.com"]})

    asyncio.run(main())
    assert not (tmp_path / "greeted").exists()


def test_what_the_policy_blocks_is_neither_shown_nor_run(tmp_path):
    policy = Policy.model_validate({"tools": {"greet": "BLOCK"}})
    equipment = Equipment({"greet": greet, "add_event": add_event}, tmp_path, policy)
    assert list(offered(equipment).tools) == ["add_event"]

    async def main():
        async with Client(served([greet], tmp_path, policy)) as client:
            return await client.call_tool("greet", {"text": "x", "to": ["a@example.com"]})

    assert asyncio.run(main()).is_error


def test_wrong_arguments_are_named(tmp_path):
    async def main():
        async with Client(served([greet], tmp_path)) as client:
            return await client.call_tool("greet", {"text": 5, "to": ["a@example.com"]})

    result = asyncio.run(main())
    assert result.is_error and "$.text" in result.content[0].text


class Script:
    """A model that says one thing behind the other."""

    def __init__(self, *replies):
        self.replies = list(replies)

    async def chat(self, messages, **_):
        return self.replies.pop(0)


def test_a_run_asks_through_the_protocol_and_is_confirmed_by_the_person_alone(tmp_path):
    calls = ToolCall("1", "add_event", {"title": "회의"})
    model = Script(ChatReply("", (calls,)), ChatReply("넣었습니다."))
    equipment = Equipment({"add_event": add_event}, tmp_path)
    forms = []

    async def person(_, params):
        forms.append(params)
        return types.ElicitResult(action="accept", content={"start": "2026-12-01T09:00:00+09:00"})

    async def main():
        host = AgentHost(RunStore(open_database(f"sqlite:///{tmp_path}/axk1.db")), lambda _: model, equipment)
        server = mcp_server(offered(equipment, agents=host))
        async with Client(server, elicitation_callback=person) as client:
            done = await client.call_tool("start_run", {"goal": "회의를 넣어 줘", "tools": ["add_event"]})
            status = await client.call_tool("run_status", {"run_id": done.structured_content["id"]})
            unknown = await client.call_tool("run_status", {"run_id": "run_none"})
            await host.work.stop()
            return done, status, unknown

    done, status, unknown = asyncio.run(main())
    assert done.structured_content["status"] == "completed" and "넣었습니다." in done.content[0].text
    assert forms[0].message == "언제인가요?" and list(forms[0].requested_schema["properties"]) == ["start"]
    assert status.structured_content["answer"] == "넣었습니다." and unknown.is_error
    assert json.loads((tmp_path / "everybody/events.json").read_text())[0]["title"] == "회의"


def test_hints_tell_what_a_tool_does():
    assert annotations_of(Effect.READ).read_only_hint and annotations_of(Effect.DELETE).destructive_hint
    assert annotations_of(Effect.SEND).open_world_hint and not annotations_of(Effect.WRITE).destructive_hint


def test_over_http_an_organisation_needs_its_key(tmp_path):
    database = f"sqlite:///{tmp_path}/axk1.db"
    directory = Directory(open_database(database))
    directory.add("acme", time_zone="Asia/Seoul")
    _, key = directory.add_key("acme")
    port = free_port()
    with listening_program([sys.executable, *command(tmp_path), "--port", str(port)], port, cwd=REPOSITORY):
        url = f"http://127.0.0.1:{port}/mcp"
        mine = McpServer(url=url, headers={"Authorization": f"Bearer {key}"})

        async def names(server):
            async with open_mcp_tools({"axk1": server}) as tools:
                outcome = await tools["axk1__write_file"].function(
                    ToolContext(tmp_path, "k", datetime.now(UTC)), path="a.txt", text="x"
                )
                return outcome

        asyncio.run(names(mine))
        (written,) = tmp_path.glob("work/*/a.txt")
        assert written.parent.name != "everybody"  # the organisation's own folder
        with pytest.raises(Exception, match=r"cannot be reached"):
            asyncio.run(names(McpServer(url=url, start_seconds=5)))
