"""Our MCP server over the tools that the conformance suite looks for, as a program of its own.

    python mcp_suite_server.py --port 8123

The suite calls tools by fixed names. These are plain ``Tool``s, offered as ``axk1 mcp serve`` offers ours; what they
test is our server, not the tools.
"""

import argparse
import asyncio
import tempfile
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import uvicorn
from starlette.applications import Starlette

from axk1.agents.mcp.http import Endpoint
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
def test_input_required_result_elicitation(
    context: ToolContext, name: Annotated[str, Slot(ko="이름이 무엇인가요?", en="What is your name?")]
) -> Outcome:
    """Greets by a name that only the person knows."""
    return Outcome(f"Hello, {name}!")


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


@tool(effect=Effect.SEND)
def test_missing_capability(context: ToolContext) -> Outcome:
    """Needs the person's consent, so a client that can ask."""
    return Outcome("sent")


def made(context: ToolContext, name: str, content: bytes) -> str:
    (context.workspace / name).write_bytes(content)
    return name


@tool(effect=Effect.READ)
def test_logging_tool(context: ToolContext) -> Outcome:
    """Does something that is worth a line of log, which stays with us."""
    return Outcome("done")


@tool(effect=Effect.READ)
def test_streaming_elicitation(context: ToolContext, name: Annotated[str, Slot(ko="이름?", en="Name?")]) -> Outcome:
    """Asks while its answer is streamed."""
    return Outcome(f"Hello, {name}!")


@tool(effect=Effect.READ)
def test_input_required_result_capabilities(
    context: ToolContext, name: Annotated[str, Slot(ko="이름?", en="Name?")]
) -> Outcome:
    """Asks only clients that can ask."""
    return Outcome(f"Hello, {name}!")


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


TOOLS = [
    test_simple_text,
    test_error_handling,
    test_input_required_result_elicitation,
    test_input_required_result_request_state,
    test_input_required_result_tampered_state,
    test_input_required_result_multi_round,
    test_elicitation,
    test_missing_capability,
    test_logging_tool,
    test_streaming_elicitation,
    test_input_required_result_capabilities,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
]


async def main(port: int) -> None:
    folder = Path(tempfile.mkdtemp())
    options = {"workspace": lambda _: folder, "clock": lambda: datetime.now(UTC)}
    served = [ServedTool(one, Policy(), **options).served() for one in TOOLS]
    endpoint = Endpoint(mcp_server(served), local=True)
    app = Starlette(routes=[endpoint.route], lifespan=lambda _: endpoint.running())
    await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(main(parser.parse_args().port))
