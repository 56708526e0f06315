"""What is wrong is refused in OpenAI's form, with the field, by name."""

import json

import httpx
import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "a"}]


def refused(server, path, status=400, **send):
    answer = httpx.post(server.url + path, timeout=100, **send)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str)
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    assert "Traceback" not in answer.text
    return error


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"functions": [{"name": "f"}]}, "functions"),
        (CHAT, {"function_call": "auto"}, "function_call"),
        (CHAT, {"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools"),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f g"}}]}, "name"),
        (CHAT, {"tools": 2 * [{"type": "function", "function": {"name": "f"}}]}, None),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "returns": {}}}]}, "returns"),
        (CHAT, {"tool_choice": "required"}, None),
        (CHAT, {"tool_choice": {"type": "function", "function": {"name": "f"}}}, None),
        (CHAT, {"tool_choice": "sometimes"}, "tool_choice"),
        (CHAT, {"response_format": {"type": "xml"}}, "response_format"),
        (CHAT, {"response_format": {"type": "json_schema"}}, "response_format"),
        (CHAT, {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}, "response_format"),
        (CHAT, {"structured_outputs": {"regex": "(a"}}, "structured_outputs"),
        (CHAT, {"structured_outputs": {"json": {"type": "objct"}}}, "structured_outputs"),
        (CHAT, {"structured_outputs": {"grammar": "start: stop"}}, "structured_outputs"),
        (CHAT, {"structured_outputs": {"choice": []}}, "structured_outputs"),
        (CHAT, {"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
        (CHAT, {"structured_outputs": {"structural_tag": "a"}}, "structural_tag"),
        (TEXT, {"guided_json": "{"}, "guided_json"),
        (CHAT, {"reasoning_effort": "some"}, "reasoning_effort"),
        (CHAT, {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}, None),
        (CHAT, {"thinking_token_budget": -2}, "thinking_token_budget"),
        (CHAT, {"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "function_call"),
        (CHAT, {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]}, None),
        (
            CHAT,
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}]},
            None,
        ),
        (CHAT, {"temprature": 1}, "temprature"),
        (CHAT, {"chat_template_kwargs": {"thinking": True}}, "thinking"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, None),
        (CHAT, {"messages": [{"role": "wizard", "content": "a"}]}, None),
        (CHAT, {"messages": [{"content": "a"}]}, None),
        (CHAT, {"messages": []}, None),
        (CHAT, {"messages": "a"}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, None),
        (CHAT, {"max_tokens": 0}, "max_tokens"),
        (CHAT, {"max_tokens": "many"}, "max_tokens"),
        (CHAT, {"top_logprobs": 3}, "top_logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (CHAT, {"temperature": -1}, "temperature"),
        (CHAT, {"top_p": 0}, "top_p"),
        (CHAT, {"n": 0}, "n"),
        (CHAT, {"stop": [""]}, "stop"),
        (CHAT, {"stream_options": {"include_usage": True}}, None),
        (CHAT, {"logit_bias": {"5": 101}}, "logit_bias"),
        (CHAT, {"logit_bias": {"100000": 1}}, None),
        (TEXT, {"prompt": ""}, "prompt"),
        (TEXT, {"prompt": []}, "prompt"),
        (TEXT, {"prompt": [[]]}, "prompt"),
        (TEXT, {"prompt": [100000]}, None),
        (TEXT, {"prompt": [-1]}, None),
        (TEXT, {"prompt": {"a": 1}}, None),
        (TEXT, {"best_of": 4}, "best_of"),
        (TEXT, {"suffix": "b"}, "suffix"),
        (TEXT, {"echo": True, "logprobs": 1, "stream": True}, "echo"),
        (TEXT, {"max_tokens": -1}, "max_tokens"),
    ],
)
def test_wrong_and_unsupported_fields_are_named(server, path, fields, param):
    needed = {"messages": USER} if path == CHAT else {"prompt": "a"}
    error = refused(server, path, json={"model": "tiny", **needed, **fields})
    assert error["message"]
    if param is not None:
        assert param in str(error["param"])


def test_fields_that_ask_for_nothing_are_accepted(server):
    nothing = {"tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "stop": None, "n": None}
    nothing |= {"user": "me", "metadata": {"a": "b"}, "store": False, "seed": None, "logit_bias": None}
    answer = httpx.post(server.url + CHAT, json={"messages": USER, "max_tokens": 1, **nothing}, timeout=100)
    assert answer.status_code == 200, answer.text


def test_a_prompt_that_is_too_long_says_by_how_much(server):
    error = refused(server, TEXT, json={"prompt": [5] * 520})
    assert error["code"] == "context_length_exceeded"
    assert "520 tokens, 9 more than fit into the context of 512 tokens" in error["message"]
    with pytest.raises(openai.BadRequestError, match="more than fit"):
        server.client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "조" * 3000}])


def test_unknown_models_and_paths_are_404(server):
    with pytest.raises(openai.NotFoundError, match="'tiny'"):
        server.client.chat.completions.create(model="big", messages=USER)
    with pytest.raises(openai.NotFoundError):
        server.client.models.retrieve("big")
    refused(server, "/v1/audio/speech", 404, json={})
    assert [each.id for each in server.client.models.list()] == ["tiny"]
    assert server.client.models.retrieve("tiny").max_model_len == 512


def test_bodies_that_are_no_json_and_wrong_methods(server):
    json = {"Content-Type": "application/json"}
    assert refused(server, CHAT, content=b"{", headers=json)["code"] == "invalid_json"
    assert refused(server, CHAT, content=b"[]", headers=json)["code"] == "invalid_json"
    assert "application/json" in refused(server, CHAT, content=b"{}")["message"]
    assert refused(server, CHAT, content=b"", headers=json)
    assert refused(server, CHAT, content=b"\xff\xfe", headers=json)
    assert httpx.get(server.url + CHAT).json()["error"]["type"] == "invalid_request_error"


def test_tokens_and_texts(server):
    tokenizer = server.llm.tokenizer
    answer = httpx.post(f"{server.url}/tokenize", json={"prompt": "예산 a", "return_token_strs": True}).json()
    assert answer["tokens"] == tokenizer.encode("예산 a") and answer["count"] == len(answer["token_strs"])
    back = httpx.post(f"{server.url}/detokenize", json={"tokens": answer["tokens"]}).json()
    assert back == {"prompt": "예산 a"}
    refused(server, "/detokenize", json={"tokens": [10**6]})
    refused(server, "/tokenize", json={"text": "a"})
    assert httpx.get(f"{server.url}/health").status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["prompt", "messages", "n", "stop", "logit_bias", "seed", "max_tokens", "logprobs", "temperature", "stream"]


@settings(max_examples=150)
@example(path=CHAT, fields={"temperature": float("inf")})
@example(path=CHAT, fields={"temperature": float("nan"), "seed": float("inf")})
@example(path=TEXT, fields={"logit_bias": {"1": float("nan")}, "prompt": float("inf")})
@given(path=st.sampled_from([CHAT, TEXT, "/tokenize"]), fields=st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_comes_is_answered_or_refused_in_form(server, path, fields):
    needed = {"messages": USER, "max_tokens": 1} if path == CHAT else {"prompt": "a"}
    if isinstance(fields.get("n"), int):
        fields["n"] = min(fields["n"], 3)
    body = json.dumps({**needed, **fields})  # which writes Infinity and NaN too, as some clients do
    answer = httpx.post(server.url + path, content=body, headers={"content-type": "application/json"}, timeout=100)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
