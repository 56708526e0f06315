"""Prompts, completions, forms, progress, logs and cancellation of our MCP server, seen by the SDK's client."""

import asyncio
import json
from enum import StrEnum
from typing import Annotated, Literal

import docx
import mcp_types as types
import pytest
from mcp import Client, MCPError

from axk1.agents.host import Equipment
from axk1.agents.mcp.asks import Ask, Folders, Form, Text
from axk1.agents.mcp.forms import asked_field, fields_of, filled_in
from axk1.agents.mcp.offered import offered
from axk1.agents.mcp.served import Argument, Offer, Served, ServedPrompt, said, text_result
from axk1.agents.mcp.server import mcp_server
from axk1.agents.tool import Effect, InputRequired, Outcome, Slot, ToolContext, tool
from axk1.search.build import BuildConfig, build
from axk1.search.documents.sources import Source
from axk1.search.index.index import Index

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
NONE = {"type": "object", "properties": {}}


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "work/everybody"
    folder.mkdir(parents=True)
    (folder / "plan.txt").write_text("Meet on 1 May.")
    document = docx.Document()
    document.add_paragraph("The budget is 5,000,000 won.")
    document.save(str(folder / "budget.docx"))
    (folder / "point.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    return tmp_path / "work"


def library(folder):
    (folder / "pages").mkdir()
    (folder / "pages/연금법.md").write_text("# 국민연금법\n\n노령연금은 60세가 된 때부터 지급한다.")
    return Index.open(build(BuildConfig(folder / "index", (Source(folder / "pages"),), threads=1)))


@MODES
def test_prompts_bring_what_they_are_about(tmp_path, workspace, mode):
    offer = offered(Equipment({}, workspace), library=library(tmp_path), language="ko")

    async def main():
        async with Client(mcp_server(offer), mode=mode) as client:
            listed = {one.name: one for one in (await client.list_prompts()).prompts}
            arguments = {
                "summarise_file": {"path": "plan.txt", "language": "en"},
                "summarise_document": {"document": "pages/연금법.md"},
                "ask_with_sources": {"question": "노령연금은 언제부터 지급하나요?"},
                "write_mail": {"to": "kim@example.com", "about": "the {budget}"},
            }
            got = {name: (await client.get_prompt(name, said_of)).messages for name, said_of in arguments.items()}
            got["docx"] = (await client.get_prompt("summarise_file", {"path": "budget.docx"})).messages
            for name, wrong in (
                ("none", {}),
                ("summarise_file", {"path": "point.png"}),
                ("summarise_file", {"path": "../x"}),
                ("summarise_file", {"path": "plan.txt", "language": "fr"}),
                ("write_mail", {"to": "x", "about": "y", "color": "red"}),
                ("summarise_document", {"document": "none"}),
            ):
                with pytest.raises(MCPError) as refused:
                    await client.get_prompt(name, wrong)
                assert refused.value.error.code == types.INVALID_PARAMS
            return listed, got

    listed, got = asyncio.run(main())
    assert set(listed) == {"summarise_file", "write_mail", "ask_with_sources", "summarise_document"}
    assert [(one.name, one.required) for one in listed["summarise_file"].arguments] == [
        ("path", True),
        ("language", False),
    ]
    file, asked = got["summarise_file"]
    assert file.content.resource.text == "Meet on 1 May." and file.content.resource.uri == "axk1://workspace/plan.txt"
    assert "Summarise" in asked.content.text and "plan.txt" in asked.content.text
    assert "5,000,000" in got["docx"][0].content.resource.text and "요약" in got["docx"][1].content.text
    assert "노령연금" in got["summarise_document"][0].content.resource.text
    assert got["ask_with_sources"][0].content.resource.text.startswith("[1] pages/연금법.md")
    assert "the {budget}" in got["write_mail"][0].content.text and "정중하게" in got["write_mail"][0].content.text


@MODES
def test_arguments_are_completed(tmp_path, workspace, mode):
    async def main():
        async with Client(mcp_server(offered(Equipment({}, workspace), language="ko")), mode=mode) as client:

            async def completed(prompt, name, value, others=None):
                reference = types.PromptReference(name=prompt)
                found = await client.complete(reference, {"name": name, "value": value}, others)
                return found.completion.values

            assert await completed("summarise_file", "path", "PLA") == ["plan.txt"]
            assert await completed("summarise_file", "language", "") == ["ko", "en"]
            assert await completed("write_mail", "tone", "친") == ["친근하게"]
            assert await completed("write_mail", "tone", "", {"language": "en"}) == ["polite", "friendly", "brief"]
            assert await completed("write_mail", "to", "kim") == []
            for prompt, name in (("none", "path"), ("write_mail", "none")):
                with pytest.raises(MCPError, match="no argument"):
                    await completed(prompt, name, "")

    asyncio.run(main())


async def greeting(call):
    return [said(f"Greet {call.arguments['name']}.")]


GREETING = ServedPrompt(
    name="greet", description="Greets.", arguments=(Argument(name="name", description="Whom?"),), get=greeting
)


@MODES
def test_what_a_prompt_lacks_is_asked_for(mode):
    async def person(_, params):
        assert params.message == "Whom?" and list(params.requested_schema["properties"]) == ["name"]
        return types.ElicitResult(action="accept", content={"name": "Kim"})

    async def refuses(*_):
        return types.ElicitResult(action="decline")

    async def main():
        async with Client(mcp_server(Offer(GREETING)), mode=mode, elicitation_callback=person) as client:
            got = await client.get_prompt("greet")
        async with Client(mcp_server(Offer(GREETING)), mode=mode, elicitation_callback=refuses) as client:
            with pytest.raises(MCPError, match="would not say"):
                await client.get_prompt("greet")
        async with Client(mcp_server(Offer(GREETING)), mode=mode) as client:
            with pytest.raises(MCPError, match="name: Whom"):
                await client.get_prompt("greet")
        return got

    assert asyncio.run(main()).messages[0].content.text == "Greet Kim."


class Size(StrEnum):
    """Of a cup."""

    SMALL = "s"
    LARGE = "l"


TITLES = {"s": ("작은 잔", "a small cup"), "l": ("큰 잔", "a large cup")}
Extra = Literal["milk", "sugar"]


@tool(effect=Effect.READ)
def order(
    context: ToolContext,
    drink: Annotated[Literal["coffee", "tea"], Slot(ko="무엇을?", en="What?", suggestion="tea")],
    size: Annotated[Size, Slot(ko="얼마나?", en="How much?", titles=TITLES)],
    extras: Annotated[list[Extra], Slot(ko="무엇을 더?", en="What else?", suggestion=["milk"])],
    cups: Annotated[int, Slot(ko="몇 잔?", en="How many?", suggestion=1)],
    names: Annotated[list[str], Slot(ko="누구에게?", en="For whom?")],
) -> Outcome:
    """Orders drinks."""
    return Outcome({"drink": drink, "size": str(size), "extras": extras, "cups": cups, "names": names})


@MODES
def test_choices_and_suggestions_reach_the_person(tmp_path, mode):
    forms = []

    async def person(_, params):
        forms.append(params.requested_schema["properties"])
        content = {"drink": "coffee", "size": "l", "extras": ["sugar"], "cups": 2, "names": "Kim, Lee"}
        return types.ElicitResult(action="accept", content=content)

    async def nonsense(*_):
        content = {"drink": "wine", "size": "l", "extras": [], "cups": 2, "names": "Kim"}
        return types.ElicitResult(action="accept", content=content)

    async def main(callback):
        equipment = Equipment({"order": order}, tmp_path)
        async with Client(mcp_server(offered(equipment)), mode=mode, elicitation_callback=callback) as client:
            return await client.call_tool("order", {})

    ordered = {"drink": "coffee", "size": "l", "extras": ["sugar"], "cups": 2, "names": ["Kim", "Lee"]}
    assert asyncio.run(main(person)).structured_content == ordered
    (form,) = forms
    assert form["drink"]["enum"] == ["coffee", "tea"] and form["drink"]["default"] == "tea"
    large = {"const": "l", "title": "a large cup"}
    assert form["size"]["oneOf"][1] == large and "enum" not in form["size"]
    assert form["extras"]["items"]["enum"] == ["milk", "sugar"] and form["extras"]["default"] == ["milk"]
    assert form["cups"] == {"type": "integer", "title": "Cups", "default": 1, "description": "How many?"}
    assert form["names"]["type"] == "string"
    if mode == "legacy":  # since 2026-07-28 the form is simply shown again
        assert asyncio.run(main(nonsense)).is_error


def test_korean_forms_have_korean_titles():
    fields = fields_of(order, ["size"], "ko")
    assert (
        fields["size"]["oneOf"][0] == {"const": "s", "title": "작은 잔"} and fields["size"]["description"] == "얼마나?"
    )
    assert filled_in(order, {"names": "a, b", "extras": ["milk"], "drink": "a, b"}) == {
        "names": ["a", "b"],
        "extras": ["milk"],
        "drink": "a, b",
    }
    choice = asked_field(Slot(ko="?", en="?", titles=TITLES, suggestion="s"), "en")
    assert choice["oneOf"][1]["title"] == "a large cup" and choice["default"] == "s"


@tool(effect=Effect.READ)
def count(context: ToolContext) -> Outcome:
    """Counts to three, in a thread of its own."""
    for number in (1, 2, 3, 2):  # the last is no progress
        context.report(f"at {number}", done=number, total=3)
    return Outcome("counted")


def test_progress_and_log_messages_are_heard_before_the_result(tmp_path):
    heard = []

    async def progress(done, total, message):
        heard.append((done, total, message))

    async def log(params):
        heard.append((params.level, params.logger, params.data))

    def client(mode, **options):
        offer = offered(Equipment({"count": count}, tmp_path))
        return Client(mcp_server(offer), mode=mode, logging_callback=log, **options)

    async def main(mode, level=None, **options):
        heard.clear()
        async with client(mode, **options) as one:
            if level:
                await one.set_logging_level(level)
            await one.call_tool("count", {}, progress_callback=progress)
            return list(heard)

    steps = [(1, 3, "at 1"), (2, 3, "at 2"), (3, 3, "at 3")]
    lines = [("info", "axk1", f"at {number}") for number in (1, 2, 3, 2)]
    assert asyncio.run(main("auto")) == steps  # who wants logs says so
    both = asyncio.run(main("auto", log_level="info"))
    assert sorted(both, key=str) == sorted(steps + lines, key=str)
    assert [one for one in asyncio.run(main("legacy")) if one[0] == "info"] == lines
    assert asyncio.run(main("auto", log_level="error")) == steps
    with pytest.warns(Warning, match="deprecated"):
        assert asyncio.run(main("legacy", level="error")) == steps
    with pytest.warns(Warning, match="deprecated"):
        assert len(asyncio.run(main("legacy", level="debug"))) == 7


def test_an_answer_tells_its_steps(tmp_path, workspace):
    heard = []

    async def progress(done, total, message):
        heard.append((done, total, message.partition(":")[0]))

    async def main():
        offer = offered(Equipment({}, workspace), library=library(tmp_path))
        async with Client(mcp_server(offer)) as client:
            question = {"question": "노령연금은 언제부터 지급하나요?"}
            await client.call_tool("answer", question, progress_callback=progress)

    asyncio.run(main())
    done, totals, names = zip(*heard, strict=True)
    assert names[:3] == ("rewrite", "search", "read") and names[-1] == "answer"
    assert sorted(set(done)) == list(done) and set(totals) == {done[-1]}


async def ask_everything(call):
    if not call.asked.state:
        wants = {"who": Form("Who?", {"name": {"type": "string"}}), "poem": Text("A poem, please"), "where": Folders()}
        return Ask(wants, "begun")
    return text_result(f"{call.asked.state} {call.asked.answers}")


async def ask_what_it_can(call):
    if call.asked.state:
        return text_result(str(dict(call.asked.answers)))
    return Ask({"poem": Text("A poem")} if "sampling" in call.can else {"where": Folders()}, "begun")


@MODES
def test_a_tool_may_ask_for_texts_and_folders(mode):
    async def person(*_):
        return types.ElicitResult(action="accept", content={"name": "Kim", "more": "left out"})

    async def model(_, params):
        assert params.messages[0].content.text.startswith("A poem")
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="Roses"), model="m")

    async def folders(_):
        return types.ListRootsResult(roots=[types.Root(uri="file:///home/kim")])

    tools = [
        Served(name="all", description="Asks for all.", schema=NONE, call=ask_everything),
        Served(name="some", description="Asks for some.", schema=NONE, call=ask_what_it_can),
    ]

    async def main():
        able = {"elicitation_callback": person, "sampling_callback": model, "list_roots_callback": folders}
        async with Client(mcp_server(Offer(*tools)), mode=mode, **able) as client:
            everything = await client.call_tool("all", {})
        async with Client(mcp_server(Offer(*tools)), mode=mode, sampling_callback=model) as client:
            some = await client.call_tool("some", {})
            with pytest.raises(MCPError) as refused:
                await client.call_tool("all", {})
        return everything.content[0].text, some.content[0].text, refused.value.error

    everything, some, error = asyncio.run(main())
    assert everything == "begun {'name': 'Kim', 'poem': 'Roses', 'where': ['file:///home/kim']}"
    assert some == "{'poem': 'Roses'}"
    assert error.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
    assert set(error.data["requiredCapabilities"]) == {"elicitation", "roots"}


def test_no_client_writes_the_state_itself():
    forged = Ask.form("?", {"name": {"type": "string"}}, consent=False).dumped()
    answer = {"form": types.ElicitResult(action="accept", content={"name": "Kim"})}

    async def main():
        async with Client(mcp_server(Offer(GREETING))) as client:
            for state in (json.dumps(forged), "{}", "null", ""):
                with pytest.raises(MCPError, match="requestState"):
                    await client.session.get_prompt(
                        "greet", input_responses=answer, request_state=state, allow_input_required=True
                    )

    asyncio.run(main())


def test_asks_keep_their_kinds():
    ask = Ask({"a": Form("?", {"x": {"type": "string"}}), "b": Text("t", 5), "c": Folders()}, "state", consent=False)
    assert Ask.loaded(ask.dumped()) == ask and ask.fields == {"x": {"type": "string"}}


@tool(effect=Effect.READ)
def ask_by_name(context: ToolContext) -> Outcome:
    """Asks under a name of its own."""
    if "size" in context.answers:
        return Outcome(context.answers["size"])
    raise InputRequired("Size?", questions={"size": Slot(ko="?", en="How much?", titles=TITLES)}, name="size_of_cup")


def test_a_request_has_the_name_that_its_tool_gives(tmp_path):
    offer = offered(Equipment({"ask_by_name": ask_by_name}, tmp_path))

    async def person(_, params):
        assert [one["const"] for one in params.requested_schema["properties"]["size"]["oneOf"]] == ["s", "l"]
        return types.ElicitResult(action="accept", content={"size": "l"})

    async def main():
        async with Client(mcp_server(offer), elicitation_callback=person) as client:
            first = await client.session.call_tool("ask_by_name", {}, allow_input_required=True)
            return first, await client.call_tool("ask_by_name", {})

    first, done = asyncio.run(main())
    assert list(first.input_requests) == ["size_of_cup"] and done.content[0].text == "l"
