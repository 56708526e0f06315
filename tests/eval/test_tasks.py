"""The tasks: their answers and reasoning are right, their questions natural, and teaching never meets examination."""

import functools
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.eval.graders import grade
from axk1.eval.tasks import TASKS
from axk1.eval.tasks.phrasing import fill, with_particle
from axk1.eval.tasks.task import LANGUAGES, examination_problems, fingerprint, teaching_problems

_EQUALITY = re.compile(r"(?<![\d.])(-?\d+)([-+*%])(\d+)=(-?\d+)")
_COMPARISON = re.compile(r"(\d+)([<>=])(\d+)(?=[ ,]|$)")
_OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "%": lambda a, b: a % b,
}


@functools.cache
def problems(name: str, count: int = 200):
    return [TASKS[name].problem(number) for number in range(count)]


def problem_where(name: str, **wanted):
    """The first problem whose metadata say this."""
    return next(p for p in problems(name, 5000) if wanted.items() <= p.entry["metadata"].items())


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_our_answers_get_full_marks_with_and_without_thinking(name, language):
    for problem in problems(name):
        answer = problem.answer(language)
        assert grade(problem.entry, answer).exact_match
        assert grade(problem.entry, f"{problem.reasoning(language)}</think>{answer}", thinking=True).exact_match


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sum_and_comparison_in_the_reasoning_is_true(name, language):
    for problem in problems(name):
        text = problem.reasoning(language)
        for left, sign, right, result in _EQUALITY.findall(text):
            assert _OPERATIONS[sign](int(left), int(right)) == int(result), text
        for left, sign, right in _COMPARISON.findall(_EQUALITY.sub("", text)):
            assert {"<": int(left) < int(right), ">": int(left) > int(right), "=": left == right}[sign], text


@pytest.mark.parametrize("name", TASKS)
def test_the_same_operands_have_the_same_answer_whatever_the_wording(name):
    answers: dict[str, str] = {}
    for problem in problems(name, 600):
        assert answers.setdefault(problem.identity, problem.entry["answer"]) == problem.entry["answer"]


@pytest.mark.parametrize("name", TASKS)
def test_questions_are_short_whole_and_in_their_language(name):
    for problem in problems(name, 50):
        for language in LANGUAGES:
            phrasings = problem.phrasings(language)
            assert len(set(phrasings)) >= 2
            for question in phrasings:
                assert len(question) < 140
                assert "{" not in question.replace("{}", "") and "None" not in question
                assert bool(re.search("[가-힣]", question)) == (language == "ko")


@pytest.mark.parametrize("name", TASKS)
def test_no_seed_brings_an_examination_problem_into_the_teaching(name):
    taught = {p.identity for seed in (0, 1, 7) for p in itertools.islice(teaching_problems(TASKS[name], seed), 400)}
    asked = {p.identity for seed in (0, 1, 7) for p in itertools.islice(examination_problems(TASKS[name], seed), 60)}
    assert taught and asked
    assert not taught & asked


def test_a_seed_gives_fresh_problems():
    first, second = ([p.identity for p in itertools.islice(examination_problems(TASKS["rotate_matrix"], seed), 40)]
                     for seed in (0, 1))  # fmt: skip
    assert len(set(first) & set(second)) < 10


@pytest.mark.parametrize(
    ("name", "metadata", "korean", "english"),
    [
        ("chain_sum", {"expression": "3 - 5"}, "5-3=2, 3<5, 답은 -2", "5-3=2, 3<5, so -2"),
        ("chain_sum", {"expression": "8 + 9"}, "8+9=17", "8+9=17"),
        ("gcd", {"numbers": [12, 18]}, "18%12=6, 12%6=0, 답은 6", "18%12=6, 12%6=0, so 6"),
        ("count_primes", {"start": 5, "end": 12}, "1) 5, 2) 7, 3) 11, 답은 3", "1) 5, 2) 7, 3) 11, so 3"),
        ("leg_counting", {"animals": {"ant": 3}}, "개미 1마리 6, 3*6=18", "1 ant 6, 3*6=18"),
        ("leg_counting", {"animals": {"human": 2}}, "사람 1명 2, 2*2=4", "1 human 2, 2*2=4"),
    ],
)
def test_reasoning_by_example(name, metadata, korean, english):
    problem = problem_where(name, **metadata)
    assert (problem.reasoning("ko"), problem.reasoning("en")) == (korean, english)


@pytest.mark.parametrize(
    ("equation", "steps"),
    [("x+5=12", "=12-5=7"), ("x-3=4", "=4+3=7"), ("x-8=-2", "=8-2=6"), ("7-x=2", "=7-2=5"), ("3-x=-4", "=3+4=7")],
)
def test_equations_are_solved_in_each_form(equation, steps):
    problem = next(p for p in problems("simple_equations", 5000) if p.identity.endswith(f":{equation}"))
    assert problem.reasoning("en").endswith(steps)


def test_weekdays_are_counted_one_by_one_and_answered_in_the_language_of_the_question():
    problem = next(p for p in problems("calendar_arithmetic", 500) if p.identity.endswith(":5-3"))
    assert problem.reasoning("ko") == "1 금요일, 2 목요일, 3 수요일"
    assert (problem.answer("ko"), problem.answer("en")) == ("수요일", "Wednesday")
    assert problem.phrasings("ko")[0] == "오늘은 토요일입니다. 3일 전은 무슨 요일이었나요?"
    assert problem.phrasings("en")[0] == "Today is Saturday. What day was it 3 days ago?"


def test_a_square_is_turned_as_its_numbers_say():
    problem = problem_where("rotate_matrix", num_rotations=1)
    (a, b), (c, d) = problem.entry["metadata"]["matrix"]
    assert problem.answer("ko") == f"{c} {a}\n{d} {b}"
    assert problem.reasoning("ko") == f"{a} {b} {d} {c}"


def test_a_fingerprint_changes_with_the_tasks():
    tasks = list(TASKS.values())
    assert fingerprint(tasks) == fingerprint(tasks)
    assert fingerprint(tasks) != fingerprint(tasks[:-1])


@pytest.mark.parametrize(
    ("word", "forms", "whole"),
    [
        ("개", "은/는", "개는"), ("양", "은/는", "양은"), ("12", "을/를", "12를"), ("10", "을/를", "10을"),
        ("3", "과/와", "3과"), ("4", "과/와", "4와"), ("서울", "으로/로", "서울로"), ("부산", "으로/로", "부산으로"),
        ("7", "으로/로", "7로"), ("6", "으로/로", "6으로"), ("x", "은/는", "x는"), ("m", "은/는", "m은"),
        ("l", "으로/로", "l로"), ("(2 + 3i)", "은/는", "(2 + 3i)는"), ("'집'", "이/가", "'집'이"), ("", "을/를", "를"),
    ],
)  # fmt: skip
def test_particles_follow_the_sound(word, forms, whole):
    assert with_particle(word, forms) == whole
    assert fill("{word:%s}" % forms, word=word) == whole  # noqa: UP031 - braces of the template


@given(st.text(), st.sampled_from(["은/는", "이/가", "을/를", "과/와", "으로/로"]))
def test_any_word_takes_one_of_the_two_forms(word, forms):
    assert with_particle(word, forms) in {word + form for form in forms.split("/")}
