"""Text <-> ids: nothing is lost, nothing is smuggled in."""

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from axk1.core.errors import ArtifactError
from axk1.tokenizer import Tokenizer, special_tokens
from axk1.tokenizer.tokenizer import scalar_values

HANGUL = st.text(st.characters(min_codepoint=0x1100, max_codepoint=0x11FF)) | st.text(
    st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
)
SPACES = st.text(st.sampled_from(" \t\n\r\v\f\u00a0\u2028\u3000\x00\x1c\x85"))
SPECIAL = st.sampled_from([*special_tokens.NAMED, special_tokens.reserved(0), "<|im_", "end|>", "<", "|>", "think>"])
EMOJI = st.sampled_from(["👩‍👩‍👧", "🇰🇷", "❤️", "é", "e\u0301", "각", "각", "ㄱㅏㄱ", "\ufffd", "\ufeff", "\ufdd0"])
TEXT = st.lists(st.text() | HANGUL | SPACES | SPECIAL | EMOJI | st.text("0123456789.,- ")).map("".join)


@given(TEXT, st.booleans())
@example("", True)
@example("<|im_end|>" * 3, False)
@example(" \n\n \t\n  ", True)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str, special: bool) -> None:
    ids = tokenizer.encode(text, special)
    assert tokenizer.decode(ids) == text
    assert all(0 <= index < tokenizer.vocab_size for index in ids)
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()


@given(TEXT)
def test_text_of_strangers_holds_no_special_token(tokenizer: Tokenizer, text: str) -> None:
    assert not set(tokenizer.encode(text, special=False)) & set(tokenizer.special_tokens.values())


@given(st.text(st.characters(codec="utf-8") | st.characters(categories=["Cs"])))
@example("\ud83d\ude00 and \ude00\ud83d")
def test_lone_surrogates_become_replacement_characters(tokenizer: Tokenizer, text: str) -> None:
    decoded = tokenizer.decode(tokenizer.encode(text))
    assert decoded == scalar_values(text)
    assert len(decoded) <= len(text)


def test_surrogate_pairs_are_joined(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("\ud83d\ude00, \ud83d alone")) == "😀, \ufffd alone"


@given(st.text("0123456789", min_size=1, max_size=40))
def test_digits_stand_alone(tokenizer: Tokenizer, digits: str) -> None:
    assert len(tokenizer.encode(digits)) == len(digits)
    assert len(tokenizer.encode(f"x{digits}년")) >= len(digits) + 2


def test_frequent_hangul_is_whole(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode(" 규정하고")) == 1
    assert tokenizer.encode("API를") == tokenizer.encode("API") + tokenizer.encode("를")


def test_special_tokens_stand_at_the_end(tokenizer: Tokenizer) -> None:
    ids = list(tokenizer.special_tokens.values())
    assert ids == list(range(tokenizer.vocab_size - len(ids), tokenizer.vocab_size))
    assert list(tokenizer.special_tokens)[:9] == list(special_tokens.NAMED)
    assert tokenizer.bos_id == tokenizer.eos_id == tokenizer.token_id("<|endoftext|>")
    assert tokenizer.stop_ids == [tokenizer.eos_id, tokenizer.im_end_id]


def test_decoding_keeps_markup_and_can_skip_control_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<think>음</think>답<|im_end|>")
    assert tokenizer.decode(ids, skip_special=True) == "<think>음</think>답"


def test_every_byte_has_a_token(tokenizer: Tokenizer) -> None:
    assert {tokenizer.token_bytes(index) for index in range(tokenizer.vocab_size)} >= {bytes([b]) for b in range(256)}


def test_unknown_token_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(ArtifactError, match="no token '<|nothing|>'".replace("|", r"\|")):
        tokenizer.token_id("<|nothing|>")
