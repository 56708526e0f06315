"""Random conversations: what clients send, with special tokens in the wrong places."""

import hypothesis.strategies as st

from axk1.tokenizer import special_tokens

_NASTY = st.sampled_from(
    [*special_tokens.NAMED, "<|im_start|>assistant\n", "\ufdd0", "\ufdd1", "\ufdd00\ufdd1", "\ufdd2", "{{ x }}"]
)
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=20) | st.sampled_from(
    ["한글 답", " ", "\n", "1+1=2"]
)
TEXT = st.lists(PLAIN | _NASTY, max_size=3).map("".join)


def json_values(text: st.SearchStrategy[str]) -> st.SearchStrategy:
    """Arguments of a call."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | text,
        lambda children: st.lists(children, max_size=2) | st.dictionaries(text, children, max_size=2),
        max_leaves=4,
    )


def tools(text: st.SearchStrategy[str] = TEXT) -> st.SearchStrategy:
    """Functions in OpenAI's form, or none."""
    function = st.fixed_dictionaries(
        {"name": text, "description": text, "parameters": st.dictionaries(text, json_values(text), max_size=2)}
    )
    one = st.fixed_dictionaries({"type": st.just("function"), "function": function})
    return st.none() | st.lists(one, max_size=2)


def messages(text: st.SearchStrategy[str] = TEXT) -> st.SearchStrategy[list[dict]]:
    """A conversation that ends with an assistant's turn."""
    parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": text}), max_size=3)
    function = st.fixed_dictionaries(
        {"name": text, "arguments": st.dictionaries(text, json_values(text), max_size=2) | st.just('{"a": 1}')}
    )
    call = st.fixed_dictionaries({"type": st.just("function"), "function": function}) | function
    assistant = st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": text | st.none()},
        optional={"reasoning_content": text | st.none(), "tool_calls": st.lists(call, max_size=2)},
    )
    other = st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "tool"]), "content": text | parts}
    )
    return st.tuples(st.lists(other | assistant, max_size=5), assistant).map(lambda pair: [*pair[0], pair[1]])
