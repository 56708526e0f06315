"""Server-sent events, however they are cut and ended; and what text counts where nobody counted it."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.serve.protocol import ChatRequest, CompletionRequest
from axk1.serve.upstream.counting import Tally, TokenRates
from axk1.serve.upstream.events import EventTooLong, event_data


async def parse(pieces: list[bytes], **options) -> list[bytes]:
    async def body():
        for piece in pieces:
            yield piece

    return [data async for data in event_data(body(), **options)]


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("\u2028\u0085\x0b\r\n\x00"))


@given(texts=st.lists(TEXT, max_size=5), end=st.sampled_from(["\n", "\r\n", "\r"]), data=st.data())
def test_json_comes_through_however_the_bytes_are_cut(texts, end, data):
    written = [json.dumps(text, ensure_ascii=False) for text in texts]
    body = "".join(f": silence{end}{end}event: x{end}data:{' ' * (i % 2)}{w}{end}{end}" for i, w in enumerate(written))
    raw = body.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert [json.loads(each) for each in asyncio.run(parse(pieces))] == texts


def test_lines_of_an_event_are_joined_and_an_unfinished_event_is_left_out():
    assert asyncio.run(parse([b"data: a\ndata: b\n\ndata: c\n"])) == [b"a\nb"]


@pytest.mark.parametrize("pieces", [[b"data: " + b"a" * 30], [b"data: aaaaaaaa\n"] * 3])
def test_an_event_that_never_ends_is_given_up(pieces):
    with pytest.raises(EventTooLong):
        asyncio.run(parse(pieces, limit=20))


@pytest.mark.parametrize(("prompt", "ids"), [("ab", None), (["ab", "c"], None), ([1, 2], 2), ([[1, 2], [3]], 3)])
def test_prompts_of_ids_are_counted_and_those_of_text_estimated(prompt, ids):
    tally = Tally(CompletionRequest(prompt=prompt))
    assert tally.prompt_ids == ids
    if ids is not None:
        assert tally.estimate(TokenRates())["prompt_tokens"] == ids


def test_an_estimate_comes_near_what_the_upstream_counts():
    rates, asked = TokenRates(), ChatRequest(messages=[{"role": "user", "content": "예산은 며칠에 놓이는가?" * 9}])
    for _ in range(200):
        rates.learn({"prompt_tokens": 50, "completion_tokens": 30}, Tally(asked).prompt_bytes, 90)
    tally = Tally(asked)
    for _ in range(10):
        tally.add({"choices": [{"index": 0, "delta": {"content": "a" * 9}}]})
    assert tally.estimate(rates) == {
        "prompt_tokens": pytest.approx(50, abs=1),
        "completion_tokens": pytest.approx(30, abs=1),
        "total_tokens": pytest.approx(80, abs=2),
        "estimated": True,
    }
