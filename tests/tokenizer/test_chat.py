"""The chat template: training text continues generation prompts, and messages cannot write control tokens."""

import re

import pytest
from conversations_strategy import PLAIN, messages, tools
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, nodes

from axk1.core.errors import ArtifactError, ConfigError
from axk1.tokenizer import CHAT_TEMPLATE, Tokenizer, render, segments, spans

QUESTION = {"role": "user", "content": "1 더하기 1은?"}
WEATHER = {"type": "function", "function": {"name": "날씨", "parameters": {"type": "object", "properties": {}}}}


def test_think_mode() -> None:
    answer = {"role": "assistant", "content": "2", "reasoning_content": "손가락을 센다."}
    prompt = "<|im_start|>user\n1 더하기 1은?<|im_end|>\n<|im_start|>assistant\n<think>"
    assert render([QUESTION], add_generation_prompt=True) == prompt
    assert spans([QUESTION, answer]) == [(prompt, False), ("손가락을 센다.</think>2<|im_end|>", True), ("\n", False)]


def test_non_think_mode() -> None:
    answer = {"role": "assistant", "content": "2", "reasoning_content": "not shown"}
    prompt = "<|im_start|>user\n1 더하기 1은?<|im_end|>\n<|im_start|>assistant\n<think></think>"
    assert render([QUESTION], add_generation_prompt=True, enable_thinking=False) == prompt
    assert spans([QUESTION, answer], enable_thinking=False) == [(prompt, False), ("2<|im_end|>", True), ("\n", False)]


def test_tools_in_the_hermes_form() -> None:
    call = {"type": "function", "function": {"name": "날씨", "arguments": {"도시": "서울", "일": 2}}}
    turns = [
        {"role": "system", "content": "친절하게."},
        QUESTION,
        {"role": "assistant", "content": None, "reasoning_content": "찾아보자.", "tool_calls": [call, call]},
        {"role": "tool", "content": "맑음"},
        {"role": "tool", "content": "비"},
        {"role": "assistant", "content": "맑고 비.", "reasoning_content": "둘이다."},
    ]
    text = render(turns, tools=[WEATHER])
    system, rest = text.split("<|im_end|>\n", 1)
    assert system.startswith("<|im_start|>system\n친절하게.\n\n# Tools")
    assert '<tools>\n{"type": "function", "function": {"name": "날씨", ' in system
    calls = '<tool_call>\n{"name": "날씨", "arguments": {"도시": "서울", "일": 2}}\n</tool_call>'
    assert rest == (
        "<|im_start|>user\n1 더하기 1은?<|im_end|>\n"
        f"<|im_start|>assistant\n<think>찾아보자.</think>{calls}\n{calls}<|im_end|>\n"
        "<|im_start|>tool\n<tool_response>\n맑음\n</tool_response>\n<tool_response>\n비\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n<think>둘이다.</think>맑고 비.<|im_end|>\n"
    )


def test_reasoning_of_older_turns_is_dropped() -> None:
    old = {"role": "assistant", "content": "2", "reasoning_content": "old"}
    text = render([QUESTION, old, QUESTION, {**old, "reasoning_content": "new"}])
    assert "old" not in text and text.count("<think></think>2") == 1 and "<think>new</think>2" in text


@given(messages(), tools(), st.booleans())
def test_training_text_continues_the_generation_prompt(turns: list[dict], functions: list | None, think: bool) -> None:
    prompt = (
        render(turns[:-1], tools=functions, enable_thinking=think, add_generation_prompt=True) if turns[:-1] else ""
    )
    full = render(turns, tools=functions, enable_thinking=think)
    assert full.startswith(prompt)
    pieces = spans(turns, tools=functions, enable_thinking=think)
    assert "".join(text for text, _ in pieces) == full
    target, end = pieces[-2:]
    assert target[1] and target[0].endswith("<|im_end|>") and end == ("\n", False)
    if turns[:-1]:
        assert full == prompt + target[0] + "\n"
    assert sum(is_target for _, is_target in pieces) == sum(turn["role"] == "assistant" for turn in turns)


@given(messages(), tools(), st.booleans(), st.booleans())
def test_messages_write_no_control_tokens(
    tokenizer: Tokenizer, turns: list[dict], functions: list | None, think: bool, prompt: bool
) -> None:
    options = {"tools": functions, "enable_thinking": think, "add_generation_prompt": prompt}
    pieces = segments(turns, **options)
    assert "".join(piece.text for piece in pieces) == render(turns, **options)
    harmless = [_without_specials(turn) for turn in turns]
    expected = [
        piece.text
        for piece in segments(harmless, **{**options, "tools": _without_specials(functions)})
        if piece.is_control
    ]
    assert [piece.text for piece in pieces if piece.is_control] == expected
    encoded = tokenizer.encode_chat(turns, **options)
    special = set(tokenizer.special_tokens.values())
    assert [tokenizer.decode([index]) for index in encoded.ids if index in special] == expected
    assert tokenizer.decode(encoded.ids) == render(turns, **options)


@given(messages(PLAIN), st.booleans())
def test_ids_of_a_conversation_are_ids_of_its_text(tokenizer: Tokenizer, turns: list[dict], think: bool) -> None:
    turns = [_without_specials(turn) for turn in turns]
    ids, is_target = tokenizer.encode_chat(turns, enable_thinking=think)
    assert ids == tokenizer.encode(tokenizer.render_chat(turns, enable_thinking=think))
    targets = "".join(text for text, target in spans(turns, enable_thinking=think) if target)
    assert tokenizer.decode([index for index, target in zip(ids, is_target, strict=True) if target]) == targets


def test_a_token_split_over_two_parts_stays_plain(tokenizer: Tokenizer) -> None:
    parts = [{"type": "text", "text": "<|im_"}, {"type": "text", "text": "end|>"}]
    ids = tokenizer.encode_chat([{"role": "user", "content": parts}]).ids
    assert ids.count(tokenizer.im_end_id) == 1
    assert tokenizer.decode(ids) == "<|im_start|>user\n<|im_end|><|im_end|>\n"


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "there are no messages"),
        (
            [{"role": "robot", "content": "x"}],
            "role robot is unknown; allowed: system, developer, user, assistant, tool",
        ),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "content of type image_url is not supported"),
        ([{"role": "user", "content": 5}], "do not fit the chat template"),
    ],
)
def test_refused_messages(turns: list[dict], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        render(turns)
    with pytest.raises(ConfigError):
        segments(turns)


def test_broken_and_hostile_templates() -> None:
    with pytest.raises(ConfigError, match="not valid Jinja"):
        render([QUESTION], template="{% if %}")
    with pytest.raises(ConfigError, match="refuses these messages"):
        render([QUESTION], template="{{ messages.__class__.__mro__ }}")
    with pytest.raises(ConfigError):
        render([QUESTION], template="{{ messages.append(1) }}")


def test_the_template_keeps_to_what_other_runtimes_know() -> None:
    tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(
        re.sub(r"{%- (end)?generation %}", "", CHAT_TEMPLATE)
    )
    assert {node.name for node in tree.find_all(nodes.Filter)} == {"tojson"}
    assert {node.name for node in tree.find_all(nodes.Test)} <= {"defined", "none", "string"}


def test_call_without_arguments() -> None:
    for arguments in (None, "", {}):
        call = {"function": {"name": "now", "arguments": arguments}}
        text = render([QUESTION, {"role": "assistant", "tool_calls": [call]}], enable_thinking=False)
        assert '<think></think><tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>' in text


def test_tokenizer_without_template(tokenizer: Tokenizer) -> None:
    bare = Tokenizer(tokenizer.to_json(), bos_token="<|endoftext|>", eos_token="<|endoftext|>", chat_template=None)
    with pytest.raises(ArtifactError, match="has no chat template"):
        bare.render_chat([QUESTION])


def _without_specials(value: object) -> object:
    """The value with every special token broken, so that even naive encoding finds none."""
    if isinstance(value, str):
        return value.replace("<", "(")
    if isinstance(value, dict):
        return {_without_specials(key): _without_specials(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_specials(item) for item in value]
    return value
