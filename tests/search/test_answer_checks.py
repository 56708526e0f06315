"""What the checks let pass and what they strike; numbers, dates and negations in Korean and English."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.search.answers.checks import check_sentence, find_support
from axk1.search.answers.polarity import contradiction
from axk1.search.answers.quantities import missing, quantities
from axk1.search.answers.words import sentences
from axk1.search.passage import Passage


def passage(text: str, id: str = "one", section: str = "") -> Passage:
    return Passage(id, f"{id}.md", "규정", section, None, 0, len(text), text)


REPORT = (
    "제12조 연구개발비는 과제당 3억 5천만 원을 초과할 수 없다. 연구기관은 연구가 끝난 날부터 60일 이내에 최종보고서를 "
    "제출하여야 한다. 김민수 박사는 2020년 3월 5일 서울에서 이영희 교수와 계약하였다."
)


@pytest.mark.parametrize(
    "sentence",
    [
        "연구기관은 연구가 끝난 날부터 60일 이내에 최종보고서를 제출하여야 한다.",
        "최종보고서는 연구가 끝난 날부터 60일 이내에 제출해야 합니다.",
        "연구개발비는 과제당 350,000,000원을 초과할 수 없습니다.",
        "제12조에 따르면 연구개발비는 과제당 3.5억 원을 초과할 수 없다.",
        "김민수 박사는 2020-03-05 이영희 교수와 계약하였다.",
        "김민수 박사는 이영희 교수와 2020년 3월에 계약했습니다.",
    ],
)
def test_faithful_sentences_stand(sentence):
    verdict = check_sentence(sentence, [passage(REPORT)])
    assert verdict.passed, verdict.reason


@pytest.mark.parametrize(
    ("sentence", "check"),
    [
        ("최종보고서는 연구가 끝난 날부터 90일 이내에 제출해야 합니다.", "numbers"),
        ("최종보고서는 연구가 끝난 날부터 60개월 이내에 제출해야 합니다.", "numbers"),
        ("제13조에 따르면 연구개발비는 과제당 3.5억 원을 초과할 수 없다.", "numbers"),
        ("연구개발비는 과제당 3억 6천만 원을 초과할 수 없다.", "numbers"),
        ("김민수 박사는 2021년 3월 5일 이영희 교수와 계약하였다.", "numbers"),
        ("연구기관은 연구가 끝난 날부터 60일 이내에 최종보고서를 제출하지 않아야 한다.", "polarity"),
        ("김민수 박사는 2020년 3월 5일 서울에서 이영희 교수와 계약하지 않았다.", "polarity"),
        ("박철수 박사는 2020년 3월 5일 서울에서 이영희 교수와 계약하였다.", "names"),
        ("이영희 박사는 2020년 3월 5일 서울에서 김민수 교수와 계약하였다.", "order"),
        ("대학은 매년 봄에 축제를 열고 학생에게 장학금을 준다.", "words"),
    ],
)
def test_wrong_sentences_are_struck_by_name(sentence, check):
    verdict = check_sentence(sentence, [passage(REPORT)])
    assert check in {one.name for one in verdict.checks if not one.passed}, verdict.checks


@pytest.mark.parametrize(
    ("sentence", "passes"),
    [
        ("The Kestrel engine was tested in Oslo on March 5, 2020 with 30,000 users.", True),
        ("The Kestrel engine was tested with thirty thousand users.", True),
        ("The Kestrel engine was tested in Oslo on 2020-03-05.", True),
        ("The Kestrel engine was tested with 40,000 users.", False),
        ("The Kestrel engine was not tested in Oslo.", False),
        ("The Kestrel engine was tested in Bergen on March 5, 2020.", False),
    ],
)
def test_english(sentence, passes):
    text = "The Kestrel engine was tested in Oslo on March 5, 2020 with 30,000 users. It does not run on phones."
    assert check_sentence(sentence, [passage(text)]).passed == passes


def test_across_languages_numbers_still_count():
    text = "The engine was tested on March 5, 2020 with 30,000 users."
    assert check_sentence("이 엔진은 2020년 3월 5일 3만 명에게 시험되었다.", [passage(text)]).passed
    assert not check_sentence("이 엔진은 2020년 3월 5일 4만 명에게 시험되었다.", [passage(text)]).passed


def test_a_number_from_elsewhere_in_the_passage_proves_nothing():
    far = "가격은 500원이다. " + "이 문장은 다른 이야기를 한다. " * 6 + "창고에는 상자 30개가 있다."
    assert not check_sentence("창고에는 상자 500개가 있다.", [passage(far)]).passed


def test_a_wrong_citation_is_moved_to_the_passage_that_carries_it():
    other = passage("이 문장은 다른 이야기를 한다.", "other")
    verdict = find_support("최종보고서는 60일 이내에 제출하여야 한다.", [other], [other, passage(REPORT)])
    assert verdict.passed
    assert [window.passage.id for window in verdict.windows] == ["one"]


def test_what_cites_nothing_and_nobody_carries_is_struck():
    verdict = find_support("달은 치즈로 되어 있다.", [], [passage(REPORT)])
    assert not verdict.passed
    assert verdict.reason


def test_a_passage_that_is_not_in_its_document_carries_nothing():
    verdict = check_sentence("60일 이내에 제출하여야 한다.", [passage(REPORT)], lambda _: "다른 글")
    assert "span" in {one.name for one in verdict.checks if not one.passed}


@pytest.mark.parametrize(
    ("written", "value", "unit"),
    [
        ("3만 5천 원", "35000", "won"), ("30,000원", "30000", "won"), ("1.5억", "150000000", ""),
        ("1억 2,000만 원", "120000000", "won"), ("12조 5천억 원", "12500000000000", "won"), ("제12조", "12", "article"),
        ("삼백만 원", "3000000", "won"), ("열두 명", "12", "person"), ("세 번", "3", "time"), ("20%", "20", "%"),
        ("20 퍼센트", "20", "%"), ("3.5 million dollars", "3500000", "dollar"), ("$30", "30", "dollar"),
        ("twenty-one people", "21", "person"), ("Article 12", "12", "article"), ("3개월", "3", "months"),
    ],
)  # fmt: skip
def test_numerals(written, value, unit):
    assert [(found.value, found.unit) for found in quantities(written)] == [(Decimal(value), unit)]


@pytest.mark.parametrize(
    "written",
    ["2020년 3월 5일", "2020-03-05", "2020.3.5.", "2020/03/05", "March 5, 2020", "5 March 2020", "Mar 5 2020"],
)
def test_dates(written):
    assert not missing(written, "2020년 3월 5일")
    assert not missing("2020년 3월 5일", written)
    assert missing(written, "2020년 3월 6일")


def test_articles_of_a_law_are_no_sum():
    assert [(q.value, q.unit) for q in quantities("제12조 3항")] == [(12, "article"), (3, "paragraph")]


@given(st.integers(min_value=1, max_value=10**12))
def test_a_number_is_the_same_with_commas_and_in_myriads(number):
    eok, rest = divmod(number, 10**8)
    man, ones = divmod(rest, 10**4)
    parts = ((eok, "억"), (man, "만"), (ones, ""))
    korean = " ".join(f"{part}{name}" for part, name in parts if part)
    assert [found.value for found in quantities(f"{number:,}원")] == [number]
    assert [found.value for found in quantities(f"{korean} 원")] == [number]


@given(st.text(alphabet="가나다 한두십백천만억조원일월년제호.,-/0123456789abc$%\n", max_size=60))
def test_any_text_can_be_read_and_agrees_with_itself(text):
    assert not missing(text, text)
    for start, end in sentences(text):
        assert 0 <= start < end <= len(text)


@pytest.mark.parametrize(
    ("one", "other", "opposed"),
    [
        ("값이 증가했다", "값이 감소했다", True), ("그는 서명하지 않았다", "그는 서명하였다", True),
        ("신고를 안 했다", "신고를 했다", True), ("그는 서명하였다", "그는 서명하였다", False),
        ("He did not sign", "He signed", True), ("Prices increased", "Prices decreased", True),
        ("He never signs", "He never signs", False),
    ],
)  # fmt: skip
def test_contradictions(one, other, opposed):
    assert (contradiction(one, other) is not None) == opposed
