"""Words that are cut from what stands before them have the same tokens behind a space and behind a quotation mark."""

from hypothesis import given
from hypothesis import strategies as st

from axk1.tokenizer.training import learn

_TEXTS = ['send "budget plan" to Kim, the budget plan', 'the "예산 보고" of 예산 보고'] * 20


def _tokens(tokenizer, word, before):
    ids = tokenizer.encode(f"{before}{word}")
    assert tokenizer.decode(ids) == f"{before}{word}"
    return ids


def test_a_word_is_the_same_wherever_it_stands():
    apart = learn(iter(_TEXTS), vocab_size=400, reserved_tokens=0, separate_words=True)
    joined = learn(iter(_TEXTS), vocab_size=400, reserved_tokens=0)
    for word in ("budget", "예산"):
        assert _tokens(apart, word, " ")[1:] == _tokens(apart, word, '"')[1:]
    assert _tokens(joined, "budget", " ")[-1] != _tokens(joined, "budget", '"')[-1]


@given(st.text(max_size=60))
def test_every_text_comes_back(text):
    tokenizer = learn(iter(_TEXTS), vocab_size=300, reserved_tokens=0, separate_words=True)
    text = text.encode("utf-8", "ignore").decode()
    assert tokenizer.decode(tokenizer.encode(text, special=False)) == text
