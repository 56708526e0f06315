"""A small MCP server, made with the official SDK, that tests start as a program of its own.

python mcp_sample_server.py               # standard input and output
python mcp_sample_server.py --port 8123   # streamable HTTP
"""

import argparse
import asyncio
import base64
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

from mcp.server.mcpserver import Elicit, Image, MCPServer, Resolve, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CreateMessageResult, SamplingMessage, TextContent, ToolAnnotations
from pydantic import BaseModel

server = MCPServer("sample")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def remove(name: str) -> str:
    """Removes something."""
    return f"removed {name}"


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False))
def note(text: str) -> str:
    """Adds a line to the notes."""
    return f"noted {text}"


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ToolError(why)


@server.tool()
def picture() -> Image:
    """Draws a point."""
    return Image(data=base64.b64decode(PIXEL), format="png")


@server.tool()
async def wait(seconds: float) -> str:
    """Waits."""
    await asyncio.sleep(seconds)
    return "waited"


@server.tool()
def die(marker: str) -> str:
    """Leaves a mark, and ends the whole server before it can answer."""
    with Path(marker).open("a") as file:
        file.write("died\n")
    print("the roof is on fire", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def die_once(marker: str) -> str:
    """Ends the server at the first call, and answers the second."""
    return "alive" if Path(marker).exists() else die(marker)


class Table(BaseModel):
    people: int
    outside: bool


async def ask_table(restaurant: str) -> Elicit[Table]:
    return Elicit(f"A table at {restaurant}?", Table)


@server.tool()
def reserve(restaurant: str, table: Annotated[Table, Resolve(ask_table)]) -> str:
    """Reserves a table."""
    return json.dumps({"restaurant": restaurant, "people": table.people, "outside": table.outside})


async def ask_poem(subject: str) -> Sample:
    message = SamplingMessage(role="user", content=TextContent(text=f"A poem about {subject}"))
    return Sample([message], max_tokens=50)


@server.tool()
def write_poem(subject: str, poem: Annotated[CreateMessageResult, Resolve(ask_poem)]) -> str:
    """Has the caller's model write a poem."""
    return f"poem: {poem.content.text}"


@server.tool()
def environment() -> list[str]:
    """The names of the environment variables."""
    return sorted(os.environ)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    port = parser.parse_args().port
    if port is None:
        server.run()
    else:
        server.run("streamable-http", host="127.0.0.1", port=port)
