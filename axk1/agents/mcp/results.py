"""What a server's tool returned -> ``Outcome``: its text, cut where too long, and its pictures as files."""

import base64
import binascii
import json
import mimetypes
import re
from pathlib import Path
from typing import Any

import mcp_types as types

from axk1.agents.tool import Outcome, ToolContext, ToolRefusal

FOLDER = "received"
"""Folder of the workspace for what servers send."""


def outcome_of(result: types.CallToolResult, tool: str, context: ToolContext, *, max_characters: int) -> Outcome:
    """The result for the model and the person.

    Raises:
        ToolRefusal: the server says that it failed; the text is its own.
    """
    files: list[str] = []
    parts = [_text_of(block, tool, context, files) for block in result.content]
    text = "\n".join(part for part in parts if part)
    if not text and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    if result.is_error:
        if text:
            raise ToolRefusal(cut(text, max_characters), untrusted=True)
        raise ToolRefusal(f"{tool} failed and did not say why")
    return Outcome(cut(text, max_characters), files=tuple(files))


def cut(text: str, most: int) -> str:
    """The text, or its beginning with a sentence that says how much is missing."""
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[{len(text) - most:,} characters more were left out]"


def _text_of(block: types.ContentBlock, tool: str, context: ToolContext, files: list[str]) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.ResourceLink):
        return f"{block.name}: {block.uri}"
    if isinstance(block, types.EmbeddedResource):
        resource: Any = block.resource
        if isinstance(resource, types.TextResourceContents):
            return f"{resource.uri}:\n{resource.text}"
        return _saved(resource.blob, resource.mime_type, tool, context, files)
    return _saved(block.data, block.mime_type, tool, context, files)


def _saved(data: str, mime_type: str | None, tool: str, context: ToolContext, files: list[str]) -> str:
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error:
        return "[a part of the result is no base64 and was left out]"
    ending = mimetypes.guess_extension(mime_type or "") or ".bin"
    call = re.sub(r"[^A-Za-z0-9_-]+", "-", context.idempotency_key)[-40:]
    path = Path(FOLDER) / f"{tool}-{call}-{len(files) + 1}{ending}"
    target = context.workspace / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    files.append(path.as_posix())
    return f"[saved as {path.as_posix()}, {len(content):,} bytes]"
