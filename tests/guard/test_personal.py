"""Personal data: found where they are, and nowhere else; spans and redaction lead back exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axk1.guard import find_personal, redact, restore
from axk1.guard.find_personal import KINDS
from axk1.guard.letters import plain
from axk1.guard.personal import check_digits

FOUND = [
    ("resident_number", "주민번호는 |900101-1234567|입니다."),
    ("resident_number", "|011231-3******|"),
    ("foreigner_number", "외국인등록번호 |900101-5234567|"),
    ("passport", "여권번호: |M12345678|"),
    ("passport", "여권번호 |M123A4567|"),
    ("passport", "His passport number is |X1234567|."),
    ("driver_licence", "면허번호 |11-12-123456-12|"),
    ("business_number", "사업자등록번호 |124-81-00998|"),
    ("corporate_number", "법인등록번호 |130111-0006246|"),
    ("phone", "전화는 |010-1234-5678|로 주세요"),
    ("phone", "|０１０－１２３４－５６７８|"),
    ("phone", "|010\u200b1234\u200b5678|"),
    ("phone", "|010 – 1234 – 5678|".replace(" – ", "–")),
    ("phone", "|공일공 일이삼사 오육칠팔|로 전화해"),
    ("phone", "제 번호는 |영일영-구팔칠육-오사삼이|예요"),
    ("phone", "|+82 10-1234-5678|"),
    ("phone", "사무실 |02-345-6789|"),
    ("phone", "|031) 123-4567|"),
    ("phone", "call me at |(415) 555-2671|"),
    ("phone", "|+44 20 7946 0958|"),
    ("email", "메일은 |hong.gd+news@example.co.kr|입니다"),
    ("email", "|kim at example dot com|"),
    ("account", "국민은행 |123456-04-123456|으로"),
    ("account", "계좌번호: |110-123-456789|"),
    ("card", "카드번호 |4111-1111-1111-1111|"),
    ("card", "|5500005555555559|"),
    ("address", "집은 |서울특별시 강남구 테헤란로 152, 101동 1203호|입니다"),
    ("address", "|경기도 성남시 분당구 정자동 178-1번지|"),
    ("address", "주소: |전주시 완산구 전라감영5길 12|"),
    ("address", "She lives at |1600 Pennsylvania Avenue|."),
    ("name", "|홍길동| 님께"),
    ("name", "예금주: |김민수|"),
    ("name", "제 이름은 |박지현|입니다."),
    ("name", "Dear Mr. |Smith|, thank you"),
    ("date_of_birth", "생년월일: |1990년 3월 4일|"),
    ("date_of_birth", "born on |March 3, 1990|"),
    ("ssn", "SSN |123-45-6789|"),
    ("iban", "|GB82 WEST 1234 5698 7654 32|"),
    ("ip_address", "접속 주소 |8.8.8.8|"),
    ("ip_address", "|2001:4860:4860::8888|"),
    ("secret", "비밀번호는 |hunter2!|입니다"),
    ("secret", 'api_key = |"Zk3f9x02Lq"|'),
    ("secret", "|ghp_" + "a1B2c3D4e5" * 4 + "|"),
    ("vehicle", "차량번호 |12가 3456|"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "marked"), FOUND)
def test_what_is_personal_is_found_exactly(kind, marked):
    before, it, _ = marked.split("|")
    text = marked.replace("|", "")
    assert [(one.kind, text[one.start : one.end]) for one in find_personal(text)] == [(kind, it)]
    assert text.startswith(before)


@pytest.mark.parametrize(
    "text",
    [
        "고객님, 이용자님, 회원님 안녕하세요. 함께한 선생님, 이 기자, 한 의원.",
        "제3조 제2항에 따라 2024년 3월 4일 오전 10시부터 12시까지 시행한다.",
        "매출은 1234567890원이고 주문번호는 20240304123456이다.",
        "버전 1.2.3.4, ISBN 978-89-01-23456-7, 확률 0.12345678",
        "모두가 함께 갈 길 3년, 앞으로 5개월",
        "The version is 10.2.3 and the total is 4,111,111. Dear Customer, password: required",
        "전화는 1588-1234로 하세요",
        "일이 삼사일 걸리고 오륙 명이 필요하다. 영일만 친구, 공이 공중에 떴다.",
        "4111-1111-1111-1112 는 카드 아님".replace("카드", "번호가"),
        "991332-1234567",
        "SHA 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_what_is_not_personal_is_left(text):
    assert find_personal(text) == []


def test_a_resident_number_of_random_digits_counts_and_a_right_check_digit_makes_it_surer():
    numbers = [f"900101-{n:07d}" for n in range(1000000, 1000011)]
    right = [number for number in numbers if check_digits.is_resident(number.replace("-", ""))]
    sure = {number: find_personal(number)[0].confidence for number in numbers}
    assert right and set(sure) == set(numbers)
    assert all(sure[number] > max(sure[other] for other in numbers if other not in right) for number in right)


LETTERS = st.text("가나다abc010-1234 ０１２－\u200b.@", max_size=6)
TEXTS = st.lists(st.sampled_from([it.replace("|", "") for _, it in FOUND]) | LETTERS | st.text(max_size=5), max_size=8)


@given(TEXTS.map("".join))
def test_spans_lead_back_and_redaction_is_undone(text):
    for one in find_personal(text):
        assert 0 <= one.start < one.end <= len(text) and one.kind in KINDS and 0.5 <= one.confidence <= 1
    without, mapping = redact(text)
    assert restore(without, mapping) == text
    assert all(placeholder in without for placeholder in mapping)


@given(st.text(max_size=60))
def test_every_letter_of_the_plain_text_knows_where_it_came_from(text):
    read = plain(text)
    ends = 0
    for at in range(len(read.text)):
        start, end = read.span(at, at + 1)
        assert 0 <= start < end <= len(text) and end >= ends
        assert plain(text[start:end]).text.find(read.text[at]) >= 0
        ends = end
    if text and not read._stages:
        assert read.text == text


def test_the_same_datum_gets_the_same_placeholder_and_none_that_stands_in_the_text():
    without, mapping = redact("[PHONE_1] 010-1234-5678, 다시 010-1234-5678")
    assert without == "[PHONE_1] [PHONE_2], 다시 [PHONE_2]"
    assert mapping == {"[PHONE_2]": "010-1234-5678"}


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (check_digits.is_luhn, "4111111111111111"),
        (check_digits.is_business, "1248100998"),
        (check_digits.is_corporate, "1301110006246"),
    ],
)
def test_check_digits_reject_every_single_wrong_digit(check, right):
    assert check(right)
    wrong = {right[:at] + str(d) + right[at + 1 :] for at in range(len(right)) for d in range(10)} - {right}
    assert sum(map(check, wrong)) <= len(wrong) // 10
