"""The parser of Hermes' tool calls: texts of calls come back as calls however they are cut, other texts as they are."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from axk1.serve.tool_calls import ToolCallParser, joined

NAMES = ("find", "now")
MARKS = [
    "<tool_call>",
    "</tool_call>",
    '{"name": "find", "arguments": ',
    '{"q": "a"}',
    "}",
    "\n",
    "<",
    "tool_call>",
    '"',
    "{",
]


def parse(pieces, names=NAMES):
    """Content and (name, arguments) of each call, put together as a client does; checks the form of the deltas."""
    parser, content, calls = ToolCallParser(names), "", []
    for text, deltas in [*map(parser.add, pieces), parser.finish()]:
        content += text
        for delta in deltas:
            if delta["index"] == len(calls):
                assert delta["type"] == "function" and delta["id"].startswith("call_") and delta["function"]["name"]
                calls.append([delta["function"]["name"], ""])
            else:
                assert delta["index"] == len(calls) - 1 and set(delta) == {"index", "function"}
            calls[-1][1] += delta["function"]["arguments"]
        assert len({delta["index"] for delta in joined(deltas)}) == len(joined(deltas))
    assert [[c["function"]["name"], c["function"]["arguments"]] for c in parser.calls] == calls
    return content, [tuple(call) for call in calls]


def call(name, arguments):
    return f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n</tool_call>'


@st.composite
def cut(draw, texts):
    """A text and the pieces into which it is cut."""
    text = draw(texts)
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return text, [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@given(cut(st.lists(st.sampled_from(MARKS) | st.text(max_size=6), max_size=12).map("".join)))
@example((call("find", '{"q": "</tool_call>"}'), list(call("find", '{"q": "</tool_call>"}'))))
def test_cuts_change_nothing(text_and_pieces):
    text, pieces = text_and_pieces
    assert parse(pieces) == parse([text]) == parse(text)


@given(cut(st.text() | st.lists(st.sampled_from(["\n", "<", "tool", "<tool_call", ">", "</tool_call>"])).map("".join)))
def test_texts_without_calls_stay_as_they_are(text_and_pieces):
    text, pieces = text_and_pieces
    if "<tool_call>" not in text:
        assert parse(pieces) == (text, [])


ARGUMENTS = st.dictionaries(
    st.text(max_size=5) | st.sampled_from(MARKS),
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
        | st.sampled_from(MARKS),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


@given(
    before=st.text().filter(lambda text: text.strip() and "<" not in text),
    asked=st.lists(st.tuples(st.sampled_from(NAMES), ARGUMENTS, st.sampled_from([None, 2])), min_size=1, max_size=3),
    data=st.data(),
)
def test_calls_are_found_with_whatever_arguments(before, asked, data):
    """As the chat template writes them; the arguments may hold the marks themselves."""
    texts = [json.dumps(arguments, indent=indent, ensure_ascii=bool(indent)) for _, arguments, indent in asked]
    calls = [(name, text) for (name, _, _), text in zip(asked, texts, strict=True)]
    _, pieces = data.draw(cut(st.just("\n".join([before, *(call(*each) for each in calls)]))))
    assert parse(pieces) == (before, calls)


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (call("find", "{}"), "", [("find", "{}")]),
        (f"\n\n{call('now', '{}')}\n", "", [("now", "{}")]),
        (f"a\n{call('now', '{}')}\nb", "a\nb", [("now", "{}")]),
        (call("now", "{}") * 2, "", [("now", "{}")] * 2),
        ('<tool_call>{"arguments": {"q": 1}, "name": "find"}</tool_call>', "", [("find", '{"q": 1}')]),
        ('<tool_call>{"name": "find", "parameters": {"q": 1}}</tool_call>', "", [("find", '{"q": 1}')]),
        ('<tool_call>{"name": "find", "arguments": "{\\"q\\": 1}"}</tool_call>', "", [("find", '{"q": 1}')]),
        ('<tool_call>{"name": "find", "arguments": {"q": 1}, "id": 3}</tool_call>x', "x", [("find", '{"q": 1}')]),
        # the end forgotten
        ('<tool_call>\n{"name": "find", "arguments": {"q": 1}}', "", [("find", '{"q": 1}')]),
        ('<tool_call>\n{"name": "find", "arguments": {"q": 1}\n</tool_call>', "", [("find", '{"q": 1}')]),
        ('<tool_call>{"name": "now", "arguments": {}}\n' + call("now", "{}"), "", [("now", "{}")] * 2),
        # no calls
        (call("shout", "{}"), call("shout", "{}"), []),
        ("<tool_call>what</tool_call> else", "<tool_call>what</tool_call> else", []),
        ('<tool_call>{"name": "find"}</tool_call>', '<tool_call>{"name": "find"}</tool_call>', []),
        ('<tool_call>["find"]</tool_call>', '<tool_call>["find"]</tool_call>', []),
        ('<tool_call>{"name": ["find"], "arguments": {}}</tool_call>',) * 2 + ([],),
        # cut
        ('a\n<tool_call>\n{"name": "fi', "a", []),
        (call("now", "{}") + '\n<tool_call>\n{"name": "find", "arguments": ', "", [("now", "{}")]),
        ("a <tool_call>", "a ", []),
        ("a <tool_call> opens a call", "a <tool_call> opens a call", []),
        ('<tool_call>{"name": "shout", "arguments": {"q', '<tool_call>{"name": "shout", "arguments": {"q', []),
        ('<tool_call>\n{"name": "find", "arguments": {"q": "b', "", [("find", '{"q": "b')]),
        # arguments that stop being JSON
        (call("find", '{"q": "a\nb"}') + "c", "c", [("find", '{"q": "a\nb"}}\n')]),
        (call("find", '{"q": [1}') + "c", "c", [("find", '{"q": [1}}\n')]),
    ],
)
def test_calls_of_many_kinds(text, content, calls):
    assert parse([text]) == parse(text) == (content, calls)
