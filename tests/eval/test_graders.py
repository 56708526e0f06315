"""The grader: right answers, wrong answers, and text that is no answer at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.core.errors import ConfigError
from axk1.eval.graders import LONGEST_ANSWER, grade, split_answer
from axk1.eval.tasks import TASKS

ENTRIES = {name: task.problem(1).entry for name, task in TASKS.items()}
SUM = next(p.entry for p in map(TASKS["chain_sum"].problem, range(500)) if p.entry["metadata"]["expression"] == "4 + 3")
LIST = next(
    p.entry
    for p in map(TASKS["number_filtering"].problem, range(500))
    if len(p.entry["metadata"]["result"]) == 2
)  # fmt: skip

texts = st.text(
    st.one_of(st.characters(), st.sampled_from(list("0123456789+-*/.,:'\"[](){}ijeE \n월화수목금토일요"))), max_size=60
)
pieces = st.lists(
    st.one_of(
        texts, st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "<|im_end|>", "7", "nan", "inf"])
    ),
    max_size=8,
).map("".join)


@given(st.sampled_from(sorted(ENTRIES)), pieces, st.booleans())
def test_any_text_gets_a_grade(name, text, thinking):
    mark = grade(ENTRIES[name], text, thinking=thinking)
    assert 0.0 <= mark.score <= 1.0
    assert mark.exact_match == (mark.score == 1.0)
    assert mark.answer or mark.score == 0.0


@given(st.sampled_from(sorted(ENTRIES)), st.sampled_from(["", " ", "\n\t", "<|im_end|>", "</think>", "<think>  "]))
def test_no_answer_gets_no_point(name, text):
    for thinking in (False, True):
        mark = grade(ENTRIES[name], text, thinking=thinking)
        assert (mark.score, mark.answer, mark.format_ok) == (0.0, "", False)


@pytest.mark.parametrize(
    ("text", "thinking", "exact", "format_ok"),
    [
        ("7", False, True, True),
        (" 7\n", False, True, True),
        ("7<|im_end|>\n<|im_start|>user", False, True, True),
        ("4+3=7</think>7", True, True, True),
        ("<think>4+3=7</think>\n\n7", False, True, True),
        ("4+3=8</think>8", True, False, True),
        ("7", True, False, False),  # the thought never ended, so nothing was answered
        ("<think>7", False, False, False),
        ("7</think>", True, False, False),
        ("7</think>8</think>7", True, True, False),
        ("<think>a</think>7", True, True, False),
        ("It is <answer>7</answer>.", False, True, True),
        ("<answer>8</answer> no, <answer>7</answer>", False, True, True),
        ("The answer is 7", False, False, True),
        ("seven", False, False, True),
    ],
)
def test_answers_to_four_plus_three(text, thinking, exact, format_ok):
    mark = grade(SUM, text, thinking=thinking)
    assert (mark.exact_match, mark.format_ok) == (exact, format_ok)


def test_part_of_a_point_is_no_exact_match():
    assert 0 < grade(SUM, "The answer is 7").score < 1
    first, second = LIST["metadata"]["result"]
    assert grade(LIST, f"['{first}', '{second}']").exact_match
    assert not grade(LIST, f"['{second}', '{first}']").exact_match


def test_korean_weekdays_count_as_the_words_of_the_scorer():
    entry = next(p.entry for p in map(TASKS["calendar_arithmetic"].problem, range(99)) if p.entry["answer"] == "Friday")
    assert grade(entry, "금요일").exact_match and grade(entry, "Friday").exact_match
    assert not grade(entry, "목요일").exact_match and not grade(entry, "금").exact_match


def test_an_endless_answer_is_wrong_unread():
    assert grade(SUM, "7" + " " * 10 + "0" * LONGEST_ANSWER).score == 0.0


def test_an_entry_that_went_through_json_is_graded_alike():
    for name, task in TASKS.items():
        problem = task.problem(3)
        entry = json.loads(json.dumps(problem.entry))
        assert grade(entry, problem.answer("en")).exact_match, name


@pytest.mark.parametrize("entry", [{}, {"metadata": None}, {"metadata": {"source_dataset": "countdown"}}])
def test_an_entry_of_another_dataset_is_refused(entry):
    with pytest.raises(ConfigError, match=r"source_dataset.*allowed: aiw, "):
        grade(entry, "7")


def test_the_answer_stands_behind_the_thought():
    assert split_answer("a, b</think> c ", thinking=True) == ("c", True)
