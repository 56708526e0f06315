"""Our MCP server over the tools, resources and prompts that the conformance suite looks for, as a program of its own.

    python mcp_suite_server.py --port 8123

The suite calls them by fixed names. They are plain ``Tool``s, ``Served``, ``ServedResource``s and ``ServedPrompt``s in
an ``Offer``, as ``axk1 mcp serve`` offers ours; what they test is our server, not the tools.
"""

import argparse
import asyncio
import json
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import mcp_types as types
import uvicorn
from pydantic import Field
from starlette.applications import Starlette

from axk1.agents.mcp.asks import Ask, Folders, Form, Text
from axk1.agents.mcp.http import Endpoint
from axk1.agents.mcp.our_prompts import one_of
from axk1.agents.mcp.served import (
    Argument,
    Call,
    Content,
    Offer,
    Served,
    ServedPrompt,
    ServedResource,
    embedded,
    said,
    text_result,
)
from axk1.agents.mcp.served_tools import ServedTool
from axk1.agents.mcp.server import mcp_server
from axk1.agents.policy import Policy
from axk1.agents.tool import Effect, InputRequired, Outcome, Slot, ToolContext, ToolRefusal, tool


@tool(effect=Effect.READ)
def test_simple_text(context: ToolContext) -> Outcome:
    """Says something simple."""
    return Outcome("This is a simple text response for testing.")


@tool(effect=Effect.READ)
def test_error_handling(context: ToolContext) -> Outcome:
    """Always refuses."""
    raise ToolRefusal("This tool intentionally returns an error for testing")


@tool(effect=Effect.READ)
def test_input_required_result_elicitation(context: ToolContext) -> Outcome:
    """Greets by a name that only the person knows."""
    if "name" not in context.answers:
        question = Slot(ko="이름이 무엇인가요?", en="What is your name?")
        raise InputRequired("What is your name?", questions={"name": question}, name="user_name")
    return Outcome(f"Hello, {context.answers['name']}!")


@tool(effect=Effect.READ)
def test_input_required_result_request_state(
    context: ToolContext, ok: Annotated[bool, Slot(ko="계속할까요?", en="Please confirm")]
) -> Outcome:
    """Needs a confirmation, and its own state back."""
    return Outcome(f"state-ok: confirmed {ok}")


@tool(effect=Effect.READ)
def test_input_required_result_tampered_state(
    context: ToolContext, ok: Annotated[bool, Slot(ko="계속할까요?", en="Please confirm")]
) -> Outcome:
    """The same, for a client that changes the state."""
    return Outcome(f"confirmed {ok}")


@tool(effect=Effect.READ)
def test_input_required_result_multi_round(context: ToolContext) -> Outcome:
    """Asks twice, the second time in the light of the first."""
    if "color" in context.answers:
        return Outcome(f"{context.state} likes {context.answers['color']}")
    if "name" in context.answers:
        question = Slot(ko="무슨 색을 좋아하나요?", en="What is your favorite color?")
        raise InputRequired("Step 2", questions={"color": question}, state=str(context.answers["name"]))
    raise InputRequired("Step 1", questions={"name": Slot(ko="이름이 무엇인가요?", en="What is your name?")})


@tool(effect=Effect.READ)
def test_elicitation(
    context: ToolContext,
    message: str,
    username: Annotated[str, Slot(ko="사용자 이름은?", en="User's response")],
    email: Annotated[str, Slot(ko="전자우편은?", en="User's email address")],
) -> Outcome:
    """Asks for a name and an address in the middle of a call."""
    return Outcome(f"User response: {username}, {email}")


def made(context: ToolContext, name: str, content: bytes) -> str:
    (context.workspace / name).write_bytes(content)
    return name


@tool(effect=Effect.READ)
def test_logging_tool(context: ToolContext) -> Outcome:
    """Does something that is worth a line of log, to those who want to hear it."""
    context.report("logged")
    return Outcome("done")


@tool(effect=Effect.READ)
def test_streaming_elicitation(context: ToolContext, name: Annotated[str, Slot(ko="이름?", en="Name?")]) -> Outcome:
    """Asks while its answer is streamed."""
    return Outcome(f"Hello, {name}!")


@tool(effect=Effect.READ)
def test_tool_with_logging(context: ToolContext) -> Outcome:
    """Says three times how far it is."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        context.report(line)
        time.sleep(0.05)
    return Outcome("done")


@tool(effect=Effect.READ)
def test_tool_with_progress(context: ToolContext) -> Outcome:
    """Comes from 0 to 100."""
    for done in (0, 50, 100):
        context.report(f"{done} of 100", done=done, total=100)
        time.sleep(0.05)
    return Outcome("done")


@tool(effect=Effect.READ)
def test_elicitation_sep1034_defaults(
    context: ToolContext,
    name: Annotated[str, Slot(ko="이름?", en="Name?", suggestion="John Doe")],
    age: Annotated[int, Slot(ko="나이?", en="Age?", suggestion=30)],
    score: Annotated[float, Slot(ko="점수?", en="Score?", suggestion=95.5)],
    status: Annotated[Literal["active", "inactive", "pending"], Slot(ko="상태?", en="Status?", suggestion="active")],
    verified: Annotated[bool, Slot(ko="확인됨?", en="Verified?", suggestion=True)],
) -> Outcome:
    """Asks with a form that is filled in."""
    return Outcome(f"Elicitation completed: {name}, {age}, {score}, {status}, {verified}")


class Value(StrEnum):
    """Something to choose."""

    VALUE1 = "value1"
    VALUE2 = "value2"
    VALUE3 = "value3"


Option = Literal["option1", "option2", "option3"]
TITLES = {"value1": ("첫째", "First Option"), "value2": ("둘째", "Second Option"), "value3": ("셋째", "Third Option")}
LEGACY = Field(json_schema_extra={"enumNames": ["Option One", "Option Two", "Option Three"]})


@tool(effect=Effect.READ)
def test_elicitation_sep1330_enums(
    context: ToolContext,
    untitledSingle: Annotated[Option, Slot(ko="?", en="One?")],
    titledSingle: Annotated[Value, Slot(ko="?", en="One?", titles=TITLES)],
    legacyEnum: Annotated[Literal["opt1", "opt2", "opt3"], Slot(ko="?", en="One?"), LEGACY],
    untitledMulti: Annotated[list[Option], Slot(ko="?", en="Some?")],
    titledMulti: Annotated[list[Value], Slot(ko="?", en="Some?", titles=TITLES)],
) -> Outcome:
    """Asks for choices of every kind."""
    chosen = (untitledSingle, titledSingle, legacyEnum, *untitledMulti, *titledMulti)
    return Outcome(f"Elicitation completed: {', '.join(chosen)}")


@tool(effect=Effect.READ)
def test_header_parameter(
    context: ToolContext, region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]
) -> Outcome:
    """Has a parameter by which proxies may route, so it travels as a header, too."""
    return Outcome(region)


PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
SOUND = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0D\xac\0\0\x88X\1\0\2\0\x10\0data\0\0\0\0"


@tool(effect=Effect.WRITE)
def test_image_content(context: ToolContext) -> Outcome:
    """Draws a point."""
    return Outcome("a point", files=(made(context, "point.png", PIXEL),))


@tool(effect=Effect.WRITE)
def test_audio_content(context: ToolContext) -> Outcome:
    """Records silence."""
    return Outcome("silence", files=(made(context, "silence.wav", SOUND),))


@tool(effect=Effect.WRITE)
def test_embedded_resource(context: ToolContext) -> Outcome:
    """Writes a document."""
    return Outcome("a document", files=(made(context, "document.pdf", b"%PDF-1.7"),))


@tool(effect=Effect.WRITE)
def test_multiple_content_types(context: ToolContext) -> Outcome:
    """Draws a point and writes a document."""
    files = (made(context, "point.png", PIXEL), made(context, "document.pdf", b"%PDF-1.7"))
    return Outcome("a point and a document", files=files)


async def sampled(call: Call) -> types.CallToolResult | Ask:
    """Has the client's model write something."""
    if "text" not in call.asked.answers:
        return Ask({"text": Text(call.arguments.get("prompt", "What is the capital of France?"), 100)})
    return text_result(f"LLM response: {call.asked.answers['text']}")


async def rooted(call: Call) -> types.CallToolResult | Ask:
    """Says in which folders the client works."""
    if "client_roots" not in call.asked.answers:
        return Ask({"client_roots": Folders()})
    return text_result(", ".join(call.asked.answers["client_roots"]))


NAME = Form("What is your name?", {"name": {"type": "string"}})


async def everything(call: Call) -> types.CallToolResult | Ask:
    """Asks for all that can be asked for at once."""
    said_of = call.asked.answers
    if not call.asked.state:
        wants = {"user_name": NAME, "greeting": Text("Generate a greeting", 50), "client_roots": Folders()}
        return Ask(wants, "begun")
    return text_result(f"{said_of['greeting']} {said_of['name']}, {said_of['client_roots']}")


async def what_is_possible(call: Call) -> types.CallToolResult | Ask:
    """Asks for as much as the client can be asked for."""
    if call.asked.state:
        return text_result(json.dumps(dict(call.asked.answers)))
    wants = {"user_name": NAME, "greeting": Text("Generate a greeting", 50)}
    return Ask({name: want for name, want in wants.items() if want.needs in call.can}, "begun")


ADDRESS = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}
KEYWORDS = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


async def keywords(call: Call) -> types.CallToolResult:
    """Takes arguments of a schema with all of JSON Schema's words."""
    return text_result(json.dumps(dict(call.arguments)))


NONE = {"type": "object", "properties": {}, "additionalProperties": False}
PROMPTED = {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}
ASKING = {
    "test_missing_capability": (NONE, sampled),
    "test_sampling": (PROMPTED, sampled),
    "test_input_required_result_sampling": (NONE, sampled),
    "test_input_required_result_list_roots": (NONE, rooted),
    "test_input_required_result_multiple_inputs": (NONE, everything),
    "test_input_required_result_capabilities": (NONE, what_is_possible),
    "json_schema_2020_12_tool": (KEYWORDS, keywords),
}


def changing(offer: Offer) -> list[Served]:
    """Tools that make the offer grow while a client listens."""

    async def more_tools(call: Call) -> types.CallToolResult:
        offer.add(Served(name=f"added_{len(offer.tools)}", description="Added.", schema=NONE, call=keywords))
        return text_result("added")

    async def more_prompts(call: Call) -> types.CallToolResult:
        offer.add(prompt(f"added_{len(offer.prompts)}", said("Added.")))
        return text_result("added")

    tools = {"test_trigger_tool_change": more_tools, "test_trigger_prompt_change": more_prompts}
    return [Served(name=name, description="Adds one.", schema=NONE, call=function) for name, function in tools.items()]


def fixed(uri: str, content: Content) -> ServedResource:
    """A resource that stays as it is."""
    return ServedResource(
        uri=uri, name=uri, description="For testing.", mime_type=content.mime_type, read=lambda *_: content
    )


def by_id(_: object, values: dict[str, str]) -> Content:
    """What the template gives for an id."""
    told = {"id": values["id"], "templateTest": True, "data": f"Data for ID: {values['id']}"}
    return Content(json.dumps(told), "application/json")


RESOURCES = [
    fixed("test://static-text", Content("This is the content of the static text resource.", "text/plain")),
    fixed("test://static-binary", Content(PIXEL, "image/png")),
    fixed("test://watched-resource", Content("watched", "text/plain")),
    ServedResource(uri="test://template/{id}/data", name="template", description="For testing.", read=by_id),
]


def prompt(name: str, *messages: types.PromptMessage, arguments: tuple[Argument, ...] = ()) -> ServedPrompt:
    """A prompt that is always the same."""

    async def get(call: Call) -> list[types.PromptMessage]:
        return list(messages)

    return ServedPrompt(name=name, description="For testing.", arguments=arguments, get=get)


def filled(name: str, arguments: list[str], get: Callable[..., list[types.PromptMessage]]) -> ServedPrompt:
    """A prompt of its arguments."""

    async def got(call: Call) -> list[types.PromptMessage]:
        return get(**call.arguments)

    told = tuple(Argument(name=one, description=f"{one}?", complete=one_of("paris", "test")) for one in arguments)
    return ServedPrompt(name=name, description="For testing.", arguments=told, get=got)


def with_resource(resourceUri: str) -> list[types.PromptMessage]:
    """A prompt about a resource."""
    content = embedded(resourceUri, Content("Embedded resource content for testing.", "text/plain"))
    return [types.PromptMessage(role="user", content=content), said("Please process the embedded resource above.")]


IMAGE = embedded("test://static-binary", Content(PIXEL, "image/png")).resource.blob
PROMPTS = [
    prompt("test_simple_prompt", said("This is a simple prompt for testing.")),
    filled(
        "test_prompt_with_arguments",
        ["arg1", "arg2"],
        lambda arg1, arg2: [said(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")],
    ),
    filled("test_prompt_with_embedded_resource", ["resourceUri"], with_resource),
    prompt(
        "test_prompt_with_image",
        types.PromptMessage(role="user", content=types.ImageContent(data=IMAGE, mime_type="image/png")),
        said("Please analyze the image above."),
    ),
    filled("test_input_required_result_prompt", ["context"], lambda context: [said(f"In the context of {context}.")]),
]


TOOLS = [
    test_simple_text,
    test_error_handling,
    test_input_required_result_elicitation,
    test_input_required_result_request_state,
    test_input_required_result_tampered_state,
    test_input_required_result_multi_round,
    test_elicitation,
    test_logging_tool,
    test_streaming_elicitation,
    test_tool_with_logging,
    test_tool_with_progress,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_header_parameter,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
]


async def main(port: int) -> None:
    folder = Path(tempfile.mkdtemp())
    options = {"workspace": lambda _: folder, "clock": lambda: datetime.now(UTC)}
    offer = Offer(*(ServedTool(one, Policy(), **options).served() for one in TOOLS), *RESOURCES, *PROMPTS)
    for name, (schema, function) in ASKING.items():
        offer.add(Served(name=name, description=function.__doc__, schema=schema, call=function))
    offer.add(*changing(offer))
    endpoint = Endpoint(mcp_server(offer), local=True)
    app = Starlette(routes=[endpoint.route], lifespan=lambda _: endpoint.running())
    await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(main(parser.parse_args().port))
