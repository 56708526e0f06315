"""Tools of real MCP servers in processes of their own: one made with the SDK, one in the protocol of 2025."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from programs import free_port, listening_program

from axk1.agents.mcp.client import open_mcp_tools, tool_name
from axk1.agents.mcp.config import McpServer, read_servers
from axk1.agents.mcp.connection import ServerLost
from axk1.agents.tool import Effect, InputRequired, OutcomeUnknown, Tool, ToolContext, ToolRefusal
from axk1.core.chat_model import ChatReply
from axk1.core.config import from_dict
from axk1.core.errors import AXK1Error, ConfigError

SAMPLE = Path(__file__).with_name("mcp_sample_server.py")
OLD = Path(__file__).with_name("mcp_old_server.py")


def sample(**options) -> dict[str, McpServer]:
    return {"sample": McpServer(command=sys.executable, args=(str(SAMPLE),), **options)}


@pytest.fixture
def context(tmp_path):
    return ToolContext(workspace=tmp_path, idempotency_key="run_1-call-1", now=datetime.now(UTC), language="en")


def called(tool: Tool, context: ToolContext, **arguments):
    return tool.function(context, **tool.checked(arguments))


def again(context: ToolContext, required: InputRequired, answers: dict) -> ToolContext:
    """The context of the next attempt, as a loop makes it in whatever process."""
    return ToolContext(
        workspace=context.workspace,
        idempotency_key=context.idempotency_key,
        now=context.now,
        language=context.language,
        answers=answers,
        state=required.state,
    )


def test_a_server_program_is_called_and_says_of_itself_only_what_we_believe(context, monkeypatch):
    async def main():
        async with open_mcp_tools(sample()) as tools:
            assert (await called(tools["sample__add"], context, a=2, b=40)).content == "42"
            with pytest.raises(ToolRefusal, match="a: 'x' is not of type 'integer'"):
                called(tools["sample__add"], context, a="x")
            with pytest.raises(ToolRefusal, match="'a' is a required property"):
                called(tools["sample__add"], context)
            with pytest.raises(ToolRefusal, match="it broke"):
                await called(tools["sample__fail"], context, why="it broke")
            described = tools["sample__add"].described()["function"]
            assert described["name"] == "sample__add" and described["description"] == "Adds two numbers."
            assert described["parameters"]["required"] == ["a"]
            assert tools["sample__add"].preview(context, a=2).endswith('```json\n{\n  "a": 2\n}\n```')
            assert all(tool.untrusted for tool in tools.values())
            effects = {name.removeprefix("sample__"): tool.effect for name, tool in tools.items()}
            assert effects["remove"] == Effect.DELETE
            assert effects["add"] == effects["note"] == effects["fail"] == Effect.SEND
            variables = (await called(tools["sample__environment"], context)).content
            assert "PATH" in variables and "AXK1_TEST_SECRET" not in variables

    monkeypatch.setenv("AXK1_TEST_SECRET", "x")
    asyncio.run(main())


def test_hints_count_where_the_user_trusts_the_server_and_the_user_goes_before_them():
    async def main():
        async with open_mcp_tools(sample(trusted=True, effects={"note": Effect.PAY})) as tools:
            effects = {name.removeprefix("sample__"): tool.effect for name, tool in tools.items()}
            assert (effects["add"], effects["remove"], effects["note"]) == (Effect.READ, Effect.DELETE, Effect.PAY)
            assert effects["fail"] == Effect.SEND

    asyncio.run(main())


def test_a_picture_becomes_a_file_of_the_workspace(context, tmp_path):
    async def main():
        async with open_mcp_tools(sample(tools=("picture",))) as tools:
            assert list(tools) == ["sample__picture"]
            return await called(tools["sample__picture"], context)

    outcome = asyncio.run(main())
    assert len(outcome.files) == 1 and (tmp_path / outcome.files[0]).read_bytes().startswith(b"\x89PNG")


def test_a_slow_call_is_given_up_and_the_server_goes_on(context):
    async def main():
        async with open_mcp_tools(sample(timeout_seconds=0.5, effects={"add": Effect.READ})) as tools:
            with pytest.raises(OutcomeUnknown, match=r"did not answer within 0\.5 seconds"):
                await called(tools["sample__wait"], context, seconds=30)
            assert (await called(tools["sample__add"], context, a=1)).content == "2"

    asyncio.run(main())


def test_a_server_that_dies_is_reported_started_again_and_never_asked_twice_to_act(context, tmp_path):
    marker = tmp_path / "died"

    async def main():
        async with open_mcp_tools(sample()) as tools:
            with pytest.raises(OutcomeUnknown, match=r"the roof is on fire.*Whether die was carried out is not known"):
                await called(tools["sample__die"], context, marker=str(marker))
            assert marker.read_text() == "died\n"
            assert (await called(tools["sample__add"], context, a=1)).content == "2"

    asyncio.run(main())


def test_a_call_that_only_reads_is_made_again(context, tmp_path):
    async def main():
        async with open_mcp_tools(sample(trusted=True)) as tools:
            return await called(tools["sample__die_once"], context, marker=str(tmp_path / "died"))

    assert asyncio.run(main()).content == "alive"


def test_what_a_server_asks_pauses_the_call_and_its_own_state_brings_it_back(context):
    async def main():
        async with open_mcp_tools(sample()) as tools:
            reserve = tools["sample__reserve"]
            with pytest.raises(InputRequired) as first:
                await called(reserve, context, restaurant="Hanok")
            assert set(first.value.questions) == {"people", "outside"}
            assert "A table at Hanok?" in first.value.questions["people"].en
            wrong = again(context, first.value, {"people": "many", "outside": "예"})
            with pytest.raises(InputRequired) as second:
                await called(reserve, wrong, restaurant="Hanok")
            assert "'many' is not a number" in second.value.questions["people"].ko
            right = again(context, second.value, {"people": "4", "outside": "예"})
            outcome = await called(reserve, right, restaurant="Hanok")
            assert json.loads(outcome.content) == {"restaurant": "Hanok", "people": 4, "outside": True}
            declined = again(context, first.value, {"people": None, "outside": None})
            with pytest.raises(ToolRefusal) as refused:
                await called(reserve, declined, restaurant="Hanok")
            assert not isinstance(refused.value, InputRequired)

    asyncio.run(main())


def test_an_older_server_that_asks_in_the_middle_pauses_too_and_acts_once(context, tmp_path):
    done = tmp_path / "done"
    servers = {"old": McpServer(command=sys.executable, args=(str(OLD), str(done)))}

    async def attempt(context):
        async with open_mcp_tools(servers) as tools:  # each attempt in another life of the server
            return await called(tools["old__order"], context, dish="bibimbap")

    with pytest.raises(InputRequired) as street:
        asyncio.run(attempt(context))
    assert street.value.questions["value"].en == "Which street?"
    with pytest.raises(InputRequired) as number:
        asyncio.run(attempt(again(context, street.value, {"value": "Sejong-daero"})))
    assert list(number.value.questions) == ["2.value"]
    with pytest.raises(InputRequired, match="Which number") as too_small:
        asyncio.run(attempt(again(context, number.value, {"2.value": "0"})))
    assert not done.exists()
    outcome = asyncio.run(attempt(again(context, too_small.value, {"2.value": "175"})))
    assert outcome.content == "bibimbap to Sejong-daero 175" and done.read_text() == "bibimbap\n"


class Poet:
    """A model that answers every conversation with its last words."""

    async def chat(self, messages, **_):
        return ChatReply(messages[-1]["content"].upper())


def test_a_server_has_texts_written_only_where_it_may(context):
    async def main(allow):
        async with open_mcp_tools(sample(allow_sampling=allow), model=Poet()) as tools:
            return await called(tools["sample__write_poem"], context, subject="the sea")

    assert asyncio.run(main(True)).content == "poem: A POEM ABOUT THE SEA"
    with pytest.raises(ToolRefusal, match="sampl"):
        asyncio.run(main(False))


def test_a_server_with_an_address(context):
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"

    program = [sys.executable, str(SAMPLE), "--port", str(port)]

    async def main():
        async with AsyncExitStack() as stack:
            with listening_program(program, port):
                tools = await stack.enter_async_context(open_mcp_tools({"far": McpServer(url=url)}))
                assert (await called(tools["far__add"], context, a=1)).content == "2"
            with pytest.raises(ToolRefusal, match="the MCP server far"):
                await called(tools["far__add"], context, a=1)
            with listening_program(program, port):
                assert (await called(tools["far__add"], context, a=2)).content == "3"

    asyncio.run(main())
    with pytest.raises(ServerLost, match=r"the MCP server far .*") as lost:
        asyncio.run(_opened({"far": McpServer(url=url)}))
    assert url in lost.value.repair


async def _opened(servers):
    async with open_mcp_tools(servers):
        pass


def test_a_program_that_is_no_server_is_reported_with_its_last_words(tmp_path):
    broken = McpServer(command=sys.executable, args=("-c", "import sys; sys.exit('no licence key')"))
    with pytest.raises(ServerLost, match=r"the MCP server broken .*; it wrote last: no licence key"):
        asyncio.run(_opened({"broken": broken}))
    silent = McpServer(command=sys.executable, args=("-c", "import time; time.sleep(60)"), start_seconds=0.5)
    with pytest.raises(ServerLost, match=r"did not answer within 0\.5 seconds"):
        asyncio.run(_opened({"silent": silent}))
    missing = McpServer(command=str(tmp_path / "nothing"))
    with pytest.raises(ServerLost, match="nothing"):
        asyncio.run(_opened({"missing": missing}))


def test_tools_that_the_server_lacks_are_named():
    with pytest.raises(ConfigError, match="has no tool 'ad', did you mean 'add'"):
        asyncio.run(_opened(sample(tools=("ad",))))
    with pytest.raises(ConfigError, match="no parameter 'c'"):
        server = read_server({"slots": {"add": {"c": {"ko": "?", "en": "?"}}}})
        asyncio.run(_opened({"sample": server}))


def read_server(values: dict) -> McpServer:
    return from_dict(McpServer, {"command": sys.executable, "args": [str(SAMPLE)], **values})


def test_slots_are_not_required_of_the_model():
    async def main():
        server = read_server({"slots": {"remove": {"name": {"ko": "무엇을 지울까요?", "en": "Remove what?"}}}})
        async with open_mcp_tools({"sample": server}) as tools:
            remove = tools["sample__remove"]
            assert remove.slots["name"].ko == "무엇을 지울까요?" and remove.required == ("name",)
            assert remove.described()["function"]["parameters"]["required"] == []

    asyncio.run(main())


def test_the_file_that_users_know(tmp_path, monkeypatch):
    path = tmp_path / "mcp.json"
    servers = {
        "files": {"command": "npx", "args": ["-y", "x"], "env": {"A": "${AXK1_TEST_A:-b}"}},
        "wiki": {"type": "http", "url": "https://wiki/mcp", "effects": {"edit": "write"}},
        "off": {"command": "x", "disabled": True},
    }
    path.write_text(json.dumps({"mcpServers": servers}))
    read = read_servers(path)
    assert set(read) == {"files", "wiki"} and read["wiki"].effects == {"edit": Effect.WRITE}
    toml = tmp_path / "mcp.toml"
    toml.write_text('[mcpServers.files]\ncommand = "npx"\nargs = ["-y", "x"]\nenv = {A = "${AXK1_TEST_A:-b}"}\n')
    assert read_servers(toml) == {"files": read["files"]}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "a command or a url"),
        ({"command": "x", "url": "http://x"}, "a command or a url"),
        ({"url": "ftp://x"}, "http or https"),
        ({"command": "x", "arg": []}, "unknown key 'arg', did you mean 'args'"),
        ({"command": "x", "effects": {"a": "nice"}}, "read, write, send"),
        ({"command": "x", "type": "http"}, "stdio with a command"),
        ({"command": "x", "timeout_seconds": 0}, "above 0"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, values, says):
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"one": values}}))
    with pytest.raises(ConfigError, match=says):
        read_servers(path)
    path.write_text(json.dumps({"servers": {}}))
    with pytest.raises(ConfigError, match="no table mcpServers"):
        read_servers(path)


def test_names_fit_what_models_may_call():
    assert tool_name("files", "read.file") == "files__read_file"
    long = tool_name("files", "x" * 80)
    assert len(long) == 64 and long != tool_name("files", "x" * 81)


def test_an_unset_variable_is_named():
    with pytest.raises(ConfigError, match="AXK1_NOT_THERE is not set"):
        asyncio.run(_opened({"x": McpServer(command="${AXK1_NOT_THERE}")}))


def test_errors_are_the_users(tmp_path):
    with pytest.raises(AXK1Error, match="does not exist"):
        read_servers(tmp_path / "none.json")
