"""Applications reach a model as a ``ChatModel``: by HTTP or in this process they get the same turns and errors."""

import asyncio

import pytest

from axk1.core.errors import AXK1Error
from axk1.named_model import open_chat_model

QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
    },
}
VARIANTS = [
    {"max_tokens": 8},
    {"max_tokens": 8, "temperature": 1.0, "seed": 4},
    {"max_tokens": 60, "tools": [TOOL], "tool_choice": "required"},
]


def ask(address: str, **options):
    async def once():
        async with open_chat_model(address) as model:
            return await model.chat(QUESTION, **options)

    return asyncio.run(once())


@pytest.mark.parametrize("options", VARIANTS, ids=["plain", "sampled", "call"])
def test_by_http_and_in_process(server, checkpoint, options):
    here, there = ask(str(checkpoint), **options), ask(f"{server.url}/v1", **options)
    assert (here.content, here.reasoning, here.finish_reason) == (there.content, there.reasoning, there.finish_reason)
    assert here.completion_tokens == there.completion_tokens > 0
    calls = [[(call.name, call.arguments) for call in reply.tool_calls] for reply in (here, there)]
    assert calls[0] == calls[1] and bool(calls[0]) == ("tools" in options)


def test_refusals_are_errors_of_ours(server, checkpoint):
    for address in (str(checkpoint), f"{server.url}/v1"):
        with pytest.raises(AXK1Error, match="max_tokens"):
            ask(address, max_tokens=0)
