"""Numerals and units of Korean and English, as ``quantities`` reads them."""

MYRIADS = {"만": 10**4, "억": 10**8, "조": 10**12, "경": 10**16}
SMALL = {"십": 10, "백": 100, "천": 1000}
SINO = {"영": 0, "공": 0, **{form: value for value, form in enumerate("일이삼사오육칠팔구", 1)}}
NATIVE_ONES = {
    **{form: value for value, form in enumerate(("하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉"), 1)},
    **{form: value for value, form in enumerate(("한", "두", "세", "네"), 1)},
}
NATIVE_TENS = {
    **{
        form: 10 * value
        for value, form in enumerate(("열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"), 1)
    },
    "스무": 20,
}
_ONES = "one two three four five six seven eight nine ten eleven twelve"
_TEENS = "thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ENGLISH_ONES = {word: value for value, word in enumerate(f"{_ONES} {_TEENS}".split(), 1)}
ENGLISH_TENS = {word: value * 10 for value, word in enumerate(_TENS.split(), 2)}
ENGLISH_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MONTH_NAMES = (
    "january|jan february|feb march|mar april|apr may june|jun july|jul august|aug september|sep|sept october|oct "
    "november|nov december|dec"
)
MONTHS = {month: number for number, names in enumerate(_MONTH_NAMES.split(), 1) for month in names.split("|")}
"""Name of a month -> its number."""
_UNITS = """
% % ％ 퍼센트 percent
%p %p %포인트 퍼센트포인트
won 원 won krw ₩
dollar 달러 dollar dollars usd $
euro 유로 euro euros eur €
yen 엔 yen jpy ¥
year 년 연도 년도 year
years 년간 개년 years
month 월 month
day 일 day days 일간
months 개월 달 months 개월간
week 주 주간 주일 week weeks
hour 시간 hour hours
oclock 시
minute 분 minute minutes min
second 초 second seconds
person 명 인 사람 people persons person
article 조 article articles
paragraph 항 paragraph
item 호 item
chapter 장 chapter
section 절 section
km km 킬로미터 ㎞ kilometers kilometres
m m 미터 meters metres
cm cm 센티미터 ㎝
mm mm 밀리미터 ㎜
kg kg 킬로그램 ㎏ kilograms
g g 그램
ton t 톤 tons tonnes
time 회 번 차례 times 차
century 세기 century
age 세 살
degree 도 degrees ℃ °c
piece 개 건 점 대 권 곳 개소 종 가지
rank 위 등
square ㎡ 제곱미터
pyeong 평
"""
UNIT_OF = {form: line.split()[0] for line in _UNITS.split("\n") if line for form in line.split()[1:]}
"""How a unit is written -> its one name."""
CURRENCY_SIGNS = {"$": "dollar", "₩": "won", "€": "euro", "¥": "yen", "￦": "won"}
