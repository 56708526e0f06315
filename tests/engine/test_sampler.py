"""The sampler against distributions that are worked out by hand, and the detokenizer against whole texts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from axk1.core.errors import ConfigError
from axk1.engine.detokenizer import Detokenizer
from axk1.engine.sampler import sample
from axk1.engine.sampling_params import SamplingParams
from axk1.engine.sequence import Sequence

LOGITS = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()


def shares(params: dict, prompt=(0,), output=(), draws=4000, logits=LOGITS):
    """How often each token is drawn, by one batch of sequences with seeds of their own."""
    rows = []
    for seed in range(draws):
        row = Sequence("r", 0, list(prompt), SamplingParams(seed=seed, **params), None, 9)
        row.token_ids += output
        rows.append(row)
    tokens = sample(logits.expand(draws, -1), rows, logits.shape[0])
    return (torch.bincount(torch.tensor(tokens), minlength=logits.shape[0]) / draws).tolist()


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"temperature": 1e-9}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_k": 99}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_p": 0.65}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 1e-6}, [1, 0, 0, 0]),
        ({"min_p": 0.6}, [4 / 7, 3 / 7, 0, 0]),
        ({"min_p": 0.45, "top_p": 0.5}, [4 / 7, 3 / 7, 0, 0]),
        ({"logit_bias": {0: -100.0}}, [0, 3 / 6, 2 / 6, 1 / 6]),
    ],
)
def test_tokens_come_as_often_as_they_should(params, expected):
    assert shares(params) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("vocabulary", [1, 2, 30, 49, 50])
def test_a_race_in_two_rounds_draws_from_the_whole_distribution(vocabulary):
    """Chi-square, for tables of all shapes: a column wins first, then a row in it."""
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    draws = 20000
    counts = torch.tensor(shares({}, draws=draws, logits=logits), dtype=torch.float64) * draws
    expected = logits.double().softmax(0) * draws
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = vocabulary - 1
    assert statistic <= freedom + 4 * (2 * freedom) ** 0.5


def test_close_distributions_draw_the_same_token_by_the_same_numbers():
    """A draft model is believed nearly as often as its distribution overlaps with the model's."""
    generator, draws = torch.Generator().manual_seed(0), 4000
    one = torch.randn(60, generator=generator) * 2
    other = one + torch.randn(60, generator=generator) * 0.5
    rows = [Sequence("r", 0, [0], SamplingParams(seed=seed), None, 9) for seed in range(draws)]
    drawn = [sample(logits.expand(draws, -1), rows, 60) for logits in (one, other)]
    same = sum(a == b for a, b in zip(*drawn, strict=True)) / draws
    overlap = float(torch.minimum(one.softmax(0), other.softmax(0)).sum())
    assert overlap / (2 - overlap) - 0.05 < same < overlap + 0.03


@pytest.mark.parametrize(
    ("params", "logits"),
    [
        ({"presence_penalty": 1.0}, [2.0, 0.0, -1.0]),  # the text holds 1 twice and 2 once, the prompt 0
        ({"frequency_penalty": 0.5}, [2.0, 0.0, -0.5]),
        ({"repetition_penalty": 2.0}, [1.0, 0.5, 0.0]),
        ({"repetition_penalty": 2.0, "frequency_penalty": 0.5, "logit_bias": {2: 1.0}}, [1.0, -0.5, 0.5]),
    ],
)
def test_penalties_change_the_logits_as_vllm_does(params, logits):
    found = shares(params, prompt=(0,), output=(1, 1, 2), logits=torch.tensor([2.0, 1.0, 0.0]))
    assert found == pytest.approx(torch.tensor(logits).softmax(0).tolist(), abs=0.03)


def test_padding_of_the_vocabulary_is_never_chosen():
    row = Sequence("r", 0, [0], SamplingParams(temperature=0), None, 9)
    assert sample(torch.tensor([[0.0, 1.0, 9.0]]), [row], 2) == [1]


@pytest.mark.parametrize(
    "wrong",
    [{"n": 0}, {"temperature": -1}, {"top_p": 0}, {"min_p": 2}, {"logprobs": 101}, {"stop": ("",)}, {"top_k": -2}],
)
def test_parameters_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SamplingParams(**wrong)


@given(
    text=st.text(alphabet="ab제조 \U0001f642", max_size=30),
    stops=st.lists(st.text("ab제 ", min_size=1, max_size=4), max_size=3),
)
def test_text_appears_in_whole_characters_and_never_past_a_stop_string(tokenizer, text, stops):
    detokenizer, shown = Detokenizer(tokenizer, stops), ""
    ends = [text.index(stop) for stop in stops if stop in text]
    for token in tokenizer.encode(text):
        shown += detokenizer.add(token)
        assert text.startswith(shown) and len(shown) <= min(ends, default=len(text))
        if detokenizer.stopped_by is not None:
            break
    shown += detokenizer.finish()
    assert shown == detokenizer.text
    # A stop string may stand earlier in the whole text than the first that is complete: that one ends it.
    complete = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    assert bool(complete) == (detokenizer.stopped_by is not None)
    assert text.startswith(shown) and (complete or shown == text)


def test_control_tokens_can_be_left_out_but_marks_of_thinking_stay(tokenizer):
    ids = tokenizer.encode("a</think>b<|im_start|>c")
    for skip, expected in ((False, "a</think>b<|im_start|>c"), (True, "a</think>bc")):
        detokenizer = Detokenizer(tokenizer, skip_special=skip)
        assert "".join(map(detokenizer.add, ids)) + detokenizer.finish() == expected


@given(tokens=st.lists(st.integers(0, 639)), skip_special=st.booleans())
def test_tokens_one_by_one_give_the_text_of_all(tokenizer, tokens, skip_special):
    detokenizer = Detokenizer(tokenizer, skip_special=skip_special)
    pieces = [*map(detokenizer.add, tokens), detokenizer.finish()]
    assert "".join(pieces) == detokenizer.text == tokenizer.decode(tokens, skip_special=skip_special)


def test_a_character_appears_with_its_last_token(tokenizer):
    rare = tokenizer.encode("뷁")
    assert len(rare) > 1  # the syllable does not occur in the training text
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.add(token) for token in [*tokenizer.encode("a"), *rare, *tokenizer.encode("a")]]
    assert pieces == ["a", *[""] * (len(rare) - 1), "뷁", "a"]
