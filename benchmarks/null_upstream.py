"""An upstream that costs next to nothing: it answers at once, so that what is measured is whoever stands before it.

python -m uvicorn --app-dir benchmarks null_upstream:app
"""

import json

MODEL = {"id": "null", "object": "model", "max_model_len": 4096}
PIECES = 64
_FRAME = {"id": "chatcmpl-null", "created": 0, "model": "null"}
_USAGE = {"prompt_tokens": 9, "completion_tokens": PIECES, "total_tokens": 9 + PIECES}


def _event(choices: list[dict], **more) -> bytes:
    return f"data: {json.dumps({**_FRAME, 'object': 'chat.completion.chunk', 'choices': choices, **more})}\n\n".encode()


_STREAM = [_event([{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]) for _ in range(PIECES)]
_STREAM += [_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]), _event([], usage=_USAGE), b"data: [DONE]\n\n"]
_MESSAGE = {"role": "assistant", "content": "word " * PIECES}
_CHOICES = [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}]
_WHOLE = json.dumps({**_FRAME, "object": "chat.completion", "choices": _CHOICES, "usage": _USAGE}).encode()


async def app(scope, receive, send) -> None:
    """Chat completions, whole or as a stream of ``PIECES`` pieces, and the list of one model."""
    if scope["type"] != "http":
        return
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    parts = [_WHOLE]
    if scope["path"] == "/v1/models":
        parts = [json.dumps({"object": "list", "data": [MODEL]}).encode()]
    streamed = bool(body) and json.loads(body).get("stream")
    kind = b"text/event-stream" if streamed else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    for part in _STREAM if streamed else parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
